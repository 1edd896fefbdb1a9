"""Your own picture in the generator: the latents whose sample comes nearest to a photo.

Random samples of all classes are compared with the photo, and Adam moves the latents of the best
ones (Abdal, Qin and Wonka, 2019, arXiv 1904.03189, without the step out of the latent space).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sagan.errors import SaganError
from sagan.images.decode import read_photo
from sagan.images.grid import captioned_grid, captions_for, visible_scale
from sagan.images.pixels import to_float, to_uint8
from sagan.images.rgb import as_rgb
from sagan.model import open_model
from sagan.nn.base import DiscriminatorBase, GeneratorBase
from sagan.nn.inputs import seeded_latents
from sagan.runtime.device import CPU
from sagan.types import Float32Array, UInt8Array

NUM_RANDOM = 256  # samples to start from
# How many of them are improved, always the nearest, and for which share of the steps.
STAGES = ((8, 1 / 6), (3, 1 / 3), (1, 1 / 2))
STEPS = 120  # of Adam for the nearest
FIRST_LEARNING_RATE, LAST_LEARNING_RATE = 0.1, 0.02  # from one to the other along half a cosine
PIXEL_WEIGHT = 0.5  # of the distance in pixels, beside that in features
NORM_WEIGHT = 0.02  # keeps latents about as long as random ones
_BATCH_SIZE = 64


@dataclass(frozen=True)
class Projection:
    """The sample that comes nearest to an image.

    Attributes:
        image: the sample, uint8 (H, W, C).
        latents: float32 (latent_size,).
        label: its class; None without classes.
        distance: between the features that D gives the sample and the image, over the length of
            the image's: 0 is equal.
        nearest_random: the nearest of the random samples, uint8 (H, W, C).
        random_distance: its distance.
    """

    image: UInt8Array
    latents: Float32Array
    label: int | None
    distance: float
    nearest_random: UInt8Array
    random_distance: float


def project(
    generator: GeneratorBase,
    discriminator: DiscriminatorBase,
    image: UInt8Array,
    labels: list[int] | None = None,
    steps: int = STEPS,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Projection:
    """Find the latents, and the class, whose sample comes nearest to an image.

    The distance is that of D's features (its last layer's input), relative to the image's, plus
    half of that in pixels.

    Args:
        generator: a trained generator, on the same device as the discriminator.
        discriminator: the network of the same model.
        image: uint8 (H, W, C), of the model's shape.
        labels: the classes to try; None for all.
        steps: of Adam.
        seed: decides the latents to start from.
        progress: called with the steps done and their number.

    Raises:
        SaganError: the image has another shape.
    """
    if image.shape != tuple(generator.shape[:]):
        raise SaganError(f"the image must have shape {generator.shape}, not {image.shape}")
    target = _Target(generator.eval(), discriminator.eval(), image)
    device = next(generator.parameters()).device
    latents = seeded_latents(NUM_RANDOM, generator.latent_size, seed).to(device)
    choices = labels if labels is not None else list(range(generator.num_classes))
    classes = None
    if choices:
        turns = [choices[i % len(choices)] for i in range(NUM_RANDOM)]
        classes = torch.tensor(turns, device=device)
    losses, distances = target.measure(latents, classes)
    nearest = int(distances.argmin())
    random_image = target.draw(latents, classes, nearest)
    random_distance = float(distances[nearest])
    done = 0
    for num, share in STAGES:
        kept = losses.argsort()[:num]
        latents = latents[kept]
        classes = classes[kept] if classes is not None else None
        end = steps if (num, share) == STAGES[-1] else done + round(steps * share)
        latents = target.improve(latents, classes, range(done, end), steps, progress)
        losses, distances = target.measure(latents, classes)
        done = end
    best = int(losses.argmin())
    return Projection(
        image=target.draw(latents, classes, best),
        latents=latents[best].cpu().numpy(),
        label=int(classes[best]) if classes is not None else None,
        distance=float(distances[best]),
        nearest_random=random_image,
        random_distance=random_distance,
    )


class _Target:
    """An image, and how far samples are from it."""

    def __init__(
        self, generator: GeneratorBase, discriminator: DiscriminatorBase, image: UInt8Array
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        device = next(generator.parameters()).device
        self.pixels = to_float(torch.from_numpy(image[None].copy()).to(device))
        with torch.no_grad():
            self.features = discriminator.embed(self.pixels)  # (1, D)

    def losses(self, latents: Tensor, classes: Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss (B,) and the distance in features (B,) of latents (B, L)."""
        images = self.generator(latents, classes)
        features = self.discriminator.embed(images)
        scale = self.features.square().sum().clamp_min(1e-12)
        squared = (features - self.features).square().sum(dim=1) / scale
        spread = self.pixels.var().clamp_min(1e-3)
        pixels = (images - self.pixels).square().mean(dim=(1, 2, 3)) / spread
        length = (latents.square().mean(dim=1) - 1).square()
        loss = squared + PIXEL_WEIGHT * pixels + NORM_WEIGHT * length
        return loss, squared.detach().sqrt()

    @torch.no_grad()
    def measure(self, latents: Tensor, classes: Tensor | None) -> tuple[Tensor, Tensor]:
        """`losses` in batches."""
        parts = [
            self.losses(part, classes[start : start + _BATCH_SIZE] if classes is not None else None)
            for start, part in zip(
                range(0, len(latents), _BATCH_SIZE), latents.split(_BATCH_SIZE), strict=True
            )
        ]
        losses, distances = zip(*parts, strict=True)
        return torch.cat(losses), torch.cat(distances)

    def improve(
        self,
        latents: Tensor,
        classes: Tensor | None,
        steps: range,
        total: int,
        progress: Callable[[int, int], None],
    ) -> Tensor:
        """Latents after some steps, of `total`, of Adam, each row by itself."""
        moved = latents.clone().requires_grad_()
        adam = torch.optim.Adam([moved])
        for step in steps:
            adam.param_groups[0]["lr"] = _learning_rate(step / total)
            adam.zero_grad()
            loss, _ = self.losses(moved, classes)
            loss.sum().backward(inputs=[moved])
            adam.step()
            progress(step + 1, total)
        return moved.detach()

    @torch.no_grad()
    def draw(self, latents: Tensor, classes: Tensor | None, index: int) -> UInt8Array:
        """One sample, uint8 (H, W, C)."""
        label = classes[index : index + 1] if classes is not None else None
        images = to_uint8(self.generator(latents[index : index + 1], label))
        return np.asarray(images)[0]


def _learning_rate(share: float) -> float:
    """Return Adam's learning rate after a share of the steps."""
    falling = (1 + math.cos(math.pi * share)) / 2
    return LAST_LEARNING_RATE + (FIRST_LEARNING_RATE - LAST_LEARNING_RATE) * falling


def project_photo(
    model: str,
    photo: Path,
    classes: str | None,
    steps: int,
    seed: int,
    progress: Callable[[int, int], None],
    device: torch.device = CPU,
) -> tuple[Projection, UInt8Array, str, str]:
    """Project an image file into a model.

    Args:
        model: a run directory, a model file, or a shipped or hub model.
        photo: the file, fitted as the training images were.
        classes: comma-separated names or numbers of classes to try; None for all.
        steps: of Adam.
        seed: decides the latents to start from.
        progress: called with the steps done and their number.
        device: where the networks compute.

    Returns:
        The projection; a picture of the photo, the nearest random sample and the projection side by
        side, uint8 (H, W, 3); the name of its class, "" without classes; the model's credits.

    Raises:
        SaganError: the model, the photo or a class cannot be used.
    """
    opened = open_model(model)
    image = read_photo(photo, opened.config.shape, opened.fit)
    labels = opened.labels(classes) if classes is not None else None
    generator, discriminator = opened.generator().to(device), opened.discriminator().to(device)
    found = project(generator, discriminator, image, labels, steps, seed, progress)
    images = as_rgb(np.stack([image, found.nearest_random, found.image]))
    captions = captions_for(["photo", "nearest random", "projection"], 3)
    side_by_side = captioned_grid(images, 3, visible_scale(opened.config.shape, 3), captions)
    name = opened.classes[found.label] if found.label is not None else ""
    return found, side_by_side, name, opened.credits
