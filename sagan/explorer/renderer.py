"""Images for the page: galleries, samples with their attention maps, the visitor's own picture."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from sagan.build import check_map_memory
from sagan.errors import SaganError
from sagan.explain.directions import latent_directions
from sagan.explain.front_views import front_sample
from sagan.explain.projection import Projection, project
from sagan.explorer.payload import Payload, to_safetensors
from sagan.images.rgb import as_rgb
from sagan.model import Model
from sagan.nn.base import AttentionMaps, GeneratorBase
from sagan.nn.inputs import seeded_latents
from sagan.runtime.device import CPU
from sagan.sampling import grid_labels, spherical_interpolation
from sagan.types import UInt8Array

GALLERY_SIZE = 24  # samples side by side
INTERPOLATION_STEPS = 64  # from one latent to another
NUM_DIRECTIONS = 5  # in which latents can be moved
MAX_MOVE = 5  # along each: in standard deviations of random latents
MAX_SEED = 2**32 - 1

MoveField = Annotated[float, Field(ge=-MAX_MOVE, le=MAX_MOVE, allow_inf_nan=False)]
SeedField = Annotated[int, Field(ge=0, le=MAX_SEED, description="Decides the latents.")]


class GalleryRequest(BaseModel):
    """Which samples to show side by side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: SeedField = 0
    label: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="A class; by default all in turn."
    )
    truncation: float = Field(
        default=1.0, ge=0, le=2, allow_inf_nan=False, description="Scales the latents."
    )


class SampleRequest(GalleryRequest):
    """One sample of a gallery, or one interpolated between it and that of another seed."""

    index: int = Field(default=0, ge=0, lt=GALLERY_SIZE, description="Its place in the gallery.")
    toward: SeedField | None = Field(default=None, description="The seed to interpolate toward.")
    blend: int = Field(
        default=0, ge=0, le=INTERPOLATION_STEPS, description="Steps toward it, out of 64."
    )
    gamma: float = Field(
        default=1.0,
        ge=-4,
        le=4,
        allow_inf_nan=False,
        description="Multiplies each attention layer's gamma.",
    )
    moves: tuple[MoveField, ...] = Field(
        default=(),
        max_length=NUM_DIRECTIONS,
        description="How far to move the latents along each of the model's directions.",
    )


def start_request(model: Model) -> SampleRequest:
    """Return the sample that a model's page opens with."""
    seed, index = front_sample(model)
    return SampleRequest(seed=seed, index=index)


class Renderer:
    """Both networks of a model, ready to generate and to judge. Not thread-safe.

    Raises:
        SaganError: the model's weights are damaged, or its attention maps are too large.
    """

    def __init__(self, model: Model, device: torch.device = CPU) -> None:
        self.generator = model.generator().to(device)
        self.discriminator = model.discriminator().to(device)
        self.directions = latent_directions(self.generator, NUM_DIRECTIONS)
        for network in (self.generator, self.discriminator):
            check_map_memory(network, 1, model.origin)

    def gallery(self, request: GalleryRequest) -> bytes:
        """Return samples as safetensors: `images` uint8 (24, H, W, 3).

        Raises:
            SaganError: the class does not exist.
        """
        labels = self._labels(request.label)
        images = self.generator.sample(GALLERY_SIZE, labels, request.seed, request.truncation)
        return to_safetensors({"images": as_rgb(images)}, {})

    def sample(self, request: SampleRequest) -> Payload:
        """Generate one sample with and without attention, and let D judge it.

        Raises:
            SaganError: the class does not exist, or there are more moves than directions.
        """
        labels = self._labels(request.label)
        label = labels[request.index] if labels is not None else None
        latents = request.truncation * self._latents(request)
        return self._drawn(latents, label, request.gamma)

    def project(
        self, image: UInt8Array, progress: Callable[[int, int], None]
    ) -> tuple[Payload, Projection]:
        """Return the sample that comes nearest to an image, and its projection.

        Args:
            image: uint8 (H, W, C).
            progress: called with the steps done and their number.
        """
        found = project(self.generator, self.discriminator, image, progress=progress)
        return self._drawn(torch.from_numpy(found.latents)[None], found.label), found

    def _drawn(self, latents: Tensor, label: int | None, gamma: float = 1) -> Payload:
        """The sample of latents (1, latent_size), with and without attention, as D judges it."""
        one = [label] if label is not None else None
        with scaled_gammas(self.generator, gamma):
            images, maps = self.generator.sample(1, one, latents=latents, return_attention=True)
        with scaled_gammas(self.generator, 0):
            without = self.generator.sample(1, one, latents=latents)
        scores, discriminator_maps = self.discriminator.scores_and_attention(images)
        return Payload(
            image=as_rgb(images[0]),
            maps=_first(maps | discriminator_maps),
            scores=scores[0],
            label=label,
            without_attention=as_rgb(without[0]),
        )

    def judge(self, image: UInt8Array) -> Payload:
        """Return an image, uint8 (H, W, C), with D's attention and scores."""
        scores, maps = self.discriminator.scores_and_attention(image[None])
        return Payload(image=as_rgb(image), maps=_first(maps), scores=scores[0])

    def gammas(self) -> dict[str, float]:
        """Return each attention layer's gamma: G's layers, then D's, small maps first."""
        layers = (
            *self.generator.attention_layers().items(),
            *reversed(self.discriminator.attention_layers().items()),
        )
        return {name: float(layer.gamma) for name, layer in layers}

    def _labels(self, label: int | None) -> list[int] | None:
        """The gallery's labels; the generator itself refuses a class that does not exist."""
        if label is not None:
            return [label] * GALLERY_SIZE
        return grid_labels(GALLERY_SIZE, self.generator.num_classes)

    def _latents(self, request: SampleRequest) -> Tensor:
        """Latents (1, latent_size).

        Raises:
            SaganError: there are more moves than directions.
        """
        if len(request.moves) > len(self.directions):
            raise SaganError(
                f"{len(request.moves)} moves, but the model has {len(self.directions)} directions: "
                "give one number for each"
            )
        moves = torch.tensor(request.moves, dtype=torch.float32)
        directions = torch.from_numpy(self.directions[: len(moves)])
        return self._unmoved_latents(request) + moves[None] @ directions

    def _unmoved_latents(self, request: SampleRequest) -> Tensor:
        start = self._latent(request.seed, request.index)
        if request.toward is None or request.blend == 0:
            return start[None]
        end = self._latent(request.toward, request.index)
        path = spherical_interpolation(start, end, INTERPOLATION_STEPS + 1)
        return path[request.blend : request.blend + 1]

    def _latent(self, seed: int, index: int) -> Tensor:
        return seeded_latents(index + 1, self.generator.latent_size, seed)[index]


def _first(maps: AttentionMaps) -> AttentionMaps:
    """Maps (B, N, M) -> those of the first image, (N, M)."""
    return {name: attention[0] for name, attention in maps.items()}


@contextmanager
def scaled_gammas(generator: GeneratorBase, factor: float) -> Iterator[None]:
    """Multiply every attention layer's gamma by `factor` within the context.

    With 0, attention plays no part in the result.
    """
    layers = generator.attention_layers().values()
    trained = [layer.gamma.clone() for layer in layers]
    with torch.no_grad():
        for layer in layers:
            layer.gamma.mul_(factor)
        try:
            yield
        finally:
            for layer, gamma in zip(layers, trained, strict=True):
                layer.gamma.copy_(gamma)
