"""Choose samples: labels in turn, and latents between two others."""

import torch
from torch import Tensor


def spherical_interpolation(start: Tensor, end: Tensor, num: int) -> Tensor:
    """Return `num` latents (num, size) from `start` to `end` (size,), at equal angles.

    A straight line would pass through latents with untypically small norms (White 2016,
    arXiv 1609.04468). Here, norms are interpolated linearly.
    """
    share = torch.linspace(0, 1, num).unsqueeze(1)  # (num, 1)
    start_unit, end_unit = start / start.norm(), end / end.norm()
    angle = torch.acos((start_unit @ end_unit).clamp(-1 + 1e-6, 1 - 1e-6))
    direction = torch.sin((1 - share) * angle) * start_unit + torch.sin(share * angle) * end_unit
    norm = torch.lerp(start.norm(), end.norm(), share)
    return norm * direction / torch.sin(angle)


def grid_labels(num: int, num_classes: int) -> list[int] | None:
    """Return labels for `num` images, the classes in turn; None for an unconditional model.

    The label of image i does not depend on `num`.
    """
    return [i % num_classes for i in range(num)] if num_classes else None
