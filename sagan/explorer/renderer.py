"""What the page asks of a model: galleries, samples with their maps, a look at a picture."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from sagan.explorer.payload import Scene, pack
from sagan.model import Model
from sagan.nn.base import GeneratorBase, Maps
from sagan.nn.inputs import seeded_latents
from sagan.sampling import grid_labels, spherical_interpolation
from sagan.types import UInt8Array

GALLERY = 24  # samples side by side
WAY = 64  # steps from one latent to another
MAX_SEED = 2**32 - 1

Seed = Annotated[int, Field(ge=0, le=MAX_SEED, description="Decides the latents.")]


class GalleryRequest(BaseModel):
    """Which samples to show side by side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: Seed = 0
    label: int | None = Field(
        default=None, ge=0, le=2**31 - 1, description="A class; all in turn without."
    )
    truncation: float = Field(
        default=1.0, ge=0, le=2, allow_inf_nan=False, description="Scales the latents."
    )


class SampleRequest(GalleryRequest):
    """One sample of a gallery, or one on the way from it to that of another seed."""

    index: int = Field(default=0, ge=0, lt=GALLERY, description="Which one of the gallery.")
    toward: Seed | None = Field(default=None, description="The seed at the end of the way.")
    blend: int = Field(default=0, ge=0, le=WAY, description="How far on the way, of 64.")
    gamma: float = Field(
        default=1.0,
        ge=-4,
        le=4,
        allow_inf_nan=False,
        description="Multiplies each attention layer's gamma.",
    )


class Studio:
    """A model, ready to draw and to look. Not for several threads at once.

    Raises:
        SaganError: the model's weights are damaged.
    """

    def __init__(self, model: Model) -> None:
        self.generator = model.generator()
        self.discriminator = model.discriminator()

    def gallery(self, request: GalleryRequest) -> bytes:
        """Samples, as safetensors: `pictures` uint8 (24, S, S, 3).

        Raises:
            SaganError: there is no such class.
        """
        labels = self._labels(request.label)
        pictures = self.generator.sample(GALLERY, labels, request.seed, request.truncation)
        return pack({"pictures": pictures}, {})

    def sample(self, request: SampleRequest) -> Scene:
        """Draw one sample with attention and without, and let D look at it.

        Raises:
            SaganError: there is no such class.
        """
        labels = self._labels(request.label)
        label = None if labels is None else labels[request.index]
        one = None if label is None else [label]
        latents = self._latents(request)
        with scaled_gammas(self.generator, request.gamma):
            pictures, maps = self.generator.sample(
                1, one, truncation=request.truncation, latents=latents, return_attention=True
            )
        with scaled_gammas(self.generator, 0):
            without = self.generator.sample(1, one, truncation=request.truncation, latents=latents)
        scores, seen = self.discriminator.look(pictures)
        return Scene(
            picture=pictures[0],
            maps=_first(maps | seen),
            scores=scores[0],
            label=label,
            without=without[0],
        )

    def look(self, picture: UInt8Array) -> Scene:
        """What D makes of a picture, uint8 (S, S, 3)."""
        scores, seen = self.discriminator.look(picture[None])
        return Scene(picture=picture, maps=_first(seen), scores=scores[0])

    def gammas(self) -> dict[str, float]:
        """Each attention layer's gamma, a network's layers from small maps to large ones."""
        drawing = self.generator.attention_layers().items()
        looking = reversed(self.discriminator.attention_layers().items())
        return {name: float(layer.gamma) for name, layer in (*drawing, *looking)}

    def _labels(self, label: int | None) -> list[int] | None:
        """The gallery's labels; whether there is such a class is for the generator to say."""
        if label is None:
            return grid_labels(GALLERY, self.generator.num_classes)
        return [label] * GALLERY

    def _latents(self, request: SampleRequest) -> Tensor:
        """Latents (1, latent_size)."""
        start = self._latent(request.seed, request.index)
        if request.toward is None or request.blend == 0:
            return start[None]
        end = self._latent(request.toward, request.index)
        way = spherical_interpolation(start, end, WAY + 1)
        return way[request.blend : request.blend + 1]

    def _latent(self, seed: int, index: int) -> Tensor:
        return seeded_latents(index + 1, self.generator.latent_size, seed)[index]


def _first(maps: Maps) -> Maps:
    """Maps (B, N, M) -> those of the first picture, (N, M)."""
    return {name: attention[0] for name, attention in maps.items()}


@contextmanager
def scaled_gammas(generator: GeneratorBase, factor: float) -> Iterator[None]:
    """Within the context every attention layer's gamma is multiplied by `factor`.

    With 0, attention plays no part in what is drawn.
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
