"""Convert between images (uint8, NHWC) and the tensors of networks (float, NCHW, [-1, 1])."""

from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from sagan.types import UInt8Array


def to_device(values: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Copy a batch of images or labels to the device, without waiting for its earlier work."""
    tensor = torch.from_numpy(values)
    if device.type == "cuda":  # a copy from pageable memory would wait
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def to_float(images: Tensor) -> Tensor:
    """Scale images for a network: uint8 (B, H, W, C) -> float32 (B, C, H, W) in [-1, 1].

    The result is a channels_last tensor: NHWC is permuted without a copy, and convolutions are
    fastest in this layout.

    Raises:
        TypeError: the images are not uint8.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"images must be uint8, not {images.dtype}")
    return images.permute(0, 3, 1, 2).to(torch.float32).mul_(2 / 255).sub_(1)


def to_uint8(images: Tensor) -> UInt8Array:
    """Round a network's images to bytes: float (B, C, H, W) in [-1, 1] -> uint8 (B, H, W, C).

    Values outside the range are clamped. Others become the nearest byte, so that
    `to_uint8(to_float(x)) == x`.
    """
    scaled = images.detach().float().add(1).mul(255 / 2).round_().clamp_(0, 255)
    array: UInt8Array = scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array
