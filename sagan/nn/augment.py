"""Differentiable augmentation for small data sets, with a probability that adapts.

The transformations are those of Zhao et al. 2020 (arXiv 2006.10738): color, translation and cutout.
They are applied to both real and fake images and are differentiable, so that the generator learns
through them. Each is applied with probability p, which follows the overfitting heuristic of Karras
et al. 2020 (arXiv 2006.06676) and stays 0 if the discriminator does not overfit.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

TRANSLATION = 1 / 8  # largest shift, as a share of the image's side
CUTOUT = 1 / 2  # side of the square set to 0, as a share of the image's side
# Real images that take p from 0 to 1, as in the code of Karras et al. for CIFAR-10.
ADAPTIVE_IMAGES = 100_000


# Random numbers that each transformation needs of an image: whether, and how.
NUMBERS = 4


def mirrored(images: Tensor, uniform: Tensor) -> Tensor:
    """Mirror images (B, C, H, W) left to right where numbers (B,) in [0, 1) are below 1/2."""
    return torch.where(uniform[:, None, None, None] < 0.5, images, images.flip(3))


def augment(
    images: Tensor,
    p: float | Tensor,
    uniform: Tensor,
    transformations: Sequence[str] = ("color", "translation", "cutout"),
) -> Tensor:
    """Apply each transformation to every image with probability `p`.

    Args:
        images: float (B, C, H, W) in [-1, 1]; colors may leave the range.
        p: from 0, which returns `images` unchanged, to 1. A scalar tensor is not read: give numbers
            for 0.
        uniform: (B, T, NUMBERS) in [0, 1), random numbers for T transformations.
        transformations: T names from `TRANSFORMATIONS`, applied in this order.

    Returns:
        (B, C, H, W), differentiable with respect to `images`.
    """
    if not isinstance(p, Tensor) and p == 0:
        return images
    for name, numbers in zip(transformations, uniform.unbind(1), strict=True):
        images = TRANSFORMATIONS[name](images, numbers[:, 0] < p, numbers[:, 1:])
    return images


def color(images: Tensor, chosen: Tensor, uniform: Tensor) -> Tensor:
    """Shift brightness by up to 0.5, and scale saturation by 0 to 2 and contrast by 0.5 to 1.5.

    Opacity, the fourth channel if there is one, stays.

    Args:
        images: (B, C, H, W).
        chosen: bool (B,), the images to change.
        uniform: (B, 3) in [0, 1), random numbers that decide the change.
    """
    on = chosen.to(images.dtype)[:, None, None, None]
    numbers = uniform.to(images.dtype)[:, :, None, None, None]
    brightness, saturation, contrast = numbers.unbind(1)
    opacity = images[:, 3:]
    images = images[:, :3] + on * (brightness - 0.5)
    gray = images.mean(dim=1, keepdim=True)
    images = torch.lerp(gray, images, 1 + on * (2 * saturation - 1))
    level = images.mean(dim=(1, 2, 3), keepdim=True)
    images = torch.lerp(level, images, 1 + on * (contrast - 0.5))
    return torch.cat([images, opacity], dim=1) if opacity.shape[1] else images


def translation(images: Tensor, chosen: Tensor, uniform: Tensor) -> Tensor:
    """Shift by whole pixels, up to 1/8 of the side in each direction, and fill with 0 (gray,
    half transparent).

    The arguments are those of `color`.
    """
    height, width = images.shape[2:]
    down = _shift(height, chosen, uniform[:, :1])  # (B, 1)
    right = _shift(width, chosen, uniform[:, 1:2])
    # A border of zeros around the image: all indices outside the image are clamped to it.
    padded = F.pad(images, (1, 1, 1, 1)).permute(0, 2, 3, 1)  # (B, H + 2, W + 2, C)
    rows = torch.arange(height, device=images.device) + 1 + down  # (B, H)
    columns = torch.arange(width, device=images.device) + 1 + right  # (B, W)
    batch = torch.arange(len(images), device=images.device)
    moved: Tensor = padded[
        batch[:, None, None],
        rows.clamp(0, height + 1)[:, :, None],
        columns.clamp(0, width + 1)[:, None, :],
    ]
    return moved.permute(0, 3, 1, 2)


def _shift(side: int, chosen: Tensor, uniform: Tensor) -> Tensor:
    """Return shifts (B, 1) in whole pixels, all equally likely; 0 for images not chosen."""
    largest = round(side * TRANSLATION)
    return ((uniform * (2 * largest + 1)).long() - largest) * chosen.unsqueeze(1)


def cutout(images: Tensor, chosen: Tensor, uniform: Tensor) -> Tensor:
    """Set a square of half the image's side, centered anywhere in the image, to 0 (gray,
    half transparent).

    The arguments are those of `color`.
    """
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) + 0.5 - height * uniform[:, :1]  # (B, H)
    columns = torch.arange(width, device=images.device) + 0.5 - width * uniform[:, 1:2]  # (B, W)
    inside_rows = (rows.abs() < height * CUTOUT / 2) & chosen.unsqueeze(1)
    inside_columns = columns.abs() < width * CUTOUT / 2
    removed = inside_rows[:, None, :, None] & inside_columns[:, None, None, :]  # (B, 1, H, W)
    return images.masked_fill(removed, 0.0)


TRANSFORMATIONS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
}


class AdaptiveAugment:
    """The probability p of `augment`, adapted to how much the discriminator overfits.

    r = E[sign(D(real))] over the latest updates is 0 for a discriminator that cannot tell real from
    fake and 1 for one that has memorized its training set (Karras et al. 2020, equation 1). p rises
    while r is above the target and falls while it is below, at a rate that takes it from 0 to 1 in
    `images_to_full` real images; `math.inf` keeps p constant.

    Karras et al. adjust p every 4 updates, in the paper at a fifth of this rate. Like theirs, p may
    reach 1, although they found that augmentation then leaks into the samples.

    Attributes:
        p: the probability, in [0, 1].
        images_to_full: real images that take p from 0 to 1.
    """

    TARGET = 0.6
    ADJUST_EVERY = 16  # updates; not each one, since reading r waits for the device

    def __init__(self, p: float, images_to_full: float) -> None:
        self.p = p
        self.images_to_full = images_to_full
        self._signs: Tensor | float = 0.0  # sum over the images since the last adjustment
        self._images = 0
        self._updates = 0

    def observe(self, real_logits: Tensor) -> None:
        """Add D's logits (B,) or (B, P) on real, augmented images; does not wait for the device."""
        signs = real_logits.detach().float().sign().nan_to_num()
        self._signs = signs.sum().mul_(len(signs) / signs.numel()) + self._signs
        self._images += len(real_logits)

    def adjust(self, global_batch: int, mean: Callable[[Tensor], Tensor]) -> None:
        """Count an update of the discriminator, and adjust p after every `ADJUST_EVERY` of them.

        Args:
            global_batch: real images in the update, over all processes.
            mean: averages a tensor over the processes.
        """
        self._updates += 1
        if self._updates < self.ADJUST_EVERY:
            return
        if math.isfinite(self.images_to_full):
            r = float(mean(torch.as_tensor(self._signs))) / self._images
            direction = (r > self.TARGET) - (r < self.TARGET)
            change = direction * self._updates * global_batch / self.images_to_full
            self.p = min(max(self.p + change, 0.0), 1.0)
        self._signs, self._images, self._updates = 0.0, 0, 0

    def synchronize(self, mean: Callable[[Tensor], Tensor]) -> None:
        """Average the observations over the processes, so that any of them can save the state."""
        self._signs = float(mean(torch.as_tensor(self._signs)))

    def state_dict(self) -> dict[str, float]:
        """Return everything that the next steps depend on, as numbers that survive JSON exactly."""
        return {
            "p": self.p,
            "signs": float(self._signs),
            "images": self._images,
            "updates": self._updates,
        }

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: `state` is not such a dictionary.
        """
        p, signs = float(state["p"]), float(state["signs"])
        images, updates = int(state["images"]), int(state["updates"])
        if not (0 <= p <= 1 and math.isfinite(signs) and images >= 0 and updates >= 0):
            raise ValueError("not the state of an adaptive augmentation")
        self.p, self._signs, self._images, self._updates = p, signs, images, updates
