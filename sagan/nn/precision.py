"""The dtype that convolutions and matrix products compute in."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor

from sagan.errors import SaganError
from sagan.runtime.device import has_float16_cores, multiplies_bfloat16

Setting = TypeVar("Setting")


def resolve_precision(setting: str, device: torch.device) -> torch.dtype:
    """Return the dtype of convolutions and matrix products on a device.

    Args:
        setting: "float32", "bfloat16", "float16" or "auto": bfloat16 if the processor multiplies it
            natively, else float16 on GPUs with tensor cores, else float32.
        device: where the networks run.

    Raises:
        SaganError: bfloat16 on a processor where it would be slower than float32.
    """
    native = multiplies_bfloat16(device)
    if setting == "bfloat16" and not native:
        raise SaganError(
            f"this {device.type} does not multiply bfloat16 natively, so that it would be slower "
            "than float32: use --set precision=float32"
        )
    if setting == "auto" and not native:
        return torch.float16 if has_float16_cores(device) else torch.float32
    precision: torch.dtype = getattr(torch, setting if setting != "auto" else "bfloat16")
    return precision


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Compute convolutions and matrix products in this dtype within the context.

    float32 turns autocast off.
    """
    return torch.autocast(device.type, dtype=precision, enabled=precision != torch.float32)


def without_autocast(operand: Tensor) -> AbstractContextManager[None]:
    """Compute in the operand's own dtype within the context. (The meta device has no autocast.)"""
    if operand.is_meta:
        return nullcontext()
    return torch.autocast(operand.device.type, enabled=False)


def wide_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype in which to add up many numbers: float32, or float64 if x has it."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def times_scalar(x: Tensor, scalar: Tensor) -> Tensor:
    """Multiply x (B, C, H, W) by a float32 scalar, in x's dtype."""
    if x.dtype == torch.float16:
        # The scalar's gradient sums over all of x. Channel by channel it exceeds the largest number
        # of float16, 65,504, much later; over channels it is summed in float32.
        scalar = scalar.expand(x.shape[1], 1, 1)
    return scalar.to(x.dtype) * x


@contextmanager
def exact_float32(enabled: bool = True) -> Iterator[None]:
    """Compute float32 convolutions and matrix products in full float32 within the context.

    Otherwise convolutions on GPUs use TensorFloat-32, cuDNN's default, which keeps ten bits of the
    mantissa, and so may matrix products if the caller configured torch so. The caller's settings
    are restored on exit.

    Args:
        enabled: whether to do anything, as in `torch.autocast`.
    """
    if not enabled:
        yield
        return
    backends: Any = torch.backends  # its type stubs lack some of these
    places = (
        backends.cuda.matmul,
        backends.mkldnn.matmul,
        backends.mkldnn.conv,
        backends.cudnn.conv,
        backends.cudnn.rnn,
    )
    before = [place.fp32_precision for place in places]
    # The older switches must agree: torch complains if they say something else.
    products = _unless_mixed(torch.get_float32_matmul_precision)
    convolutions = _unless_mixed(lambda: backends.cudnn.allow_tf32)
    _set_older(products and "highest", convolutions and False)
    for place in places:
        place.fp32_precision = "ieee"
    try:
        yield
    finally:
        _set_older(products, convolutions)
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision


def _unless_mixed(read: Callable[[], Setting]) -> Setting | None:
    """Return the value of an older switch; None if newer ones were used, when torch refuses."""
    try:
        return read()
    except RuntimeError:
        return None


def _set_older(products: str | None, convolutions: bool | None) -> None:
    if products is not None:
        torch.set_float32_matmul_precision(products)
    if convolutions is not None:
        torch.backends.cudnn.allow_tf32 = convolutions
