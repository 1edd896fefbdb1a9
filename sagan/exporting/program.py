"""A trained network as one function of named tensors, which every exported file computes.

The generator: `latents` (B, latent_size), `labels` (B,) if it is conditional, and `gamma_scale` ()
-> `images` (B, C, H, W). The discriminator: `images`, and `labels` if it is conditional ->
`logits` (B,), `features` (B, D) and, if it is conditional, `class_logits` (B, K). Both can also
return each attention layer's map (B, N, M), under the layer's name. B is any number of images.

torch.export traces the function once. Normalization is folded into the weights before that.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.func import functional_call
from torch.nn.utils import parametrize

from sagan.build import check_map_memory
from sagan.images.shape import Colors
from sagan.model import Model
from sagan.nn.attention import SelfAttention2d, recorded_maps
from sagan.nn.base import DiscriminatorBase, GeneratorBase
from sagan.nn.inputs import seeded_latents
from sagan.run.model_file import to_half

EXAMPLES = 2  # images to trace with; torch.export would take 1 for a constant

_MEANINGS = {
    "latents": "standard normal numbers",
    "truncation": "factor on the latents; 1 if it is left out",
    "labels": "numbers of classes, from 0; `classes` in the metadata has their names",
    "gamma_scale": "factor on every attention layer's gamma: 1 as trained, 0 without attention",
    "images": "{colors} from -1 to 1; as a byte, round((value + 1) * 127.5)",
    "logits": "high for real, given the image's label if the model has labels",
    "class_logits": "the same for each label that the image could have",
    "features": "input of the last linear layer",
}
MAP_MEANING = "attention map: N positions, row by row, times M that they look at; rows sum to 1"
_COLORS: dict[Colors, str] = {"gray": "gray", "rgb": "RGB", "rgba": "RGB and opacity"}


@dataclass(frozen=True)
class NetworkProgram:
    """A network that was traced, with an example.

    Attributes:
        network: "generator" or "discriminator".
        inputs: an example of each input by its name, in the order of the function's arguments.
        outputs: what the model computes from them, by name; all weights in float32.
        program: the traced function. It returns a dictionary like `outputs`.
        colors: of the images.
    """

    network: str
    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]
    program: ExportedProgram
    colors: Colors

    def meaning(self, name: str) -> str:
        """Return what an input or an output means."""
        return _MEANINGS.get(name, MAP_MEANING).format(colors=_COLORS[self.colors])


def trace_network(
    model: Model, discriminator: bool = False, maps: bool = False, half_from: int | None = None
) -> NetworkProgram:
    """Trace one network of a model.

    Args:
        model: the model.
        discriminator: trace the discriminator, not the (averaged) generator.
        maps: whether the function also returns attention maps.
        half_from: store kernels and matrices of so many entries or more as float16; None: none.
            The function still computes in float32.

    Raises:
        SaganError: the model's weights are damaged, its attention maps take too much memory, or
            weights are too large for float16.
    """
    make = _discriminator_function if discriminator else _generator_function
    network, function, inputs = make(model, maps)
    check_map_memory(network, EXAMPLES, model.origin)  # an exported graph computes them whole
    arguments = tuple(inputs.values())
    batch = Dim("batch")
    with torch.no_grad():
        outputs = function(*arguments)
        if half_from is not None:
            _store_in_half(network, half_from, model.origin)
        network.to(memory_format=torch.contiguous_format)
        program = torch.export.export(
            function,
            arguments,
            dynamic_shapes={name: {0: batch} if x.dim() else None for name, x in inputs.items()},
            strict=False,
        )
    kind = "discriminator" if discriminator else "generator"
    return NetworkProgram(kind, inputs, outputs, program, network.shape.colors)


def _store_in_half(network: nn.Module, entries: int, origin: str) -> None:
    """Keep large kernels and matrices in float16, in place; a forward pass widens them again."""
    for name, layer in list(network.named_modules()):
        weight = getattr(layer, "weight", None)
        if isinstance(weight, Tensor) and weight.dim() >= 2 and weight.numel() >= entries:
            half = to_half(weight, f"'{origin}': {name}.weight")
            layer.weight = nn.Parameter(half, requires_grad=False)
            parametrize.register_parametrization(layer, "weight", _ToFloat32(), unsafe=True)


class _ToFloat32(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.float()


def _generator_function(
    model: Model, maps: bool
) -> tuple[GeneratorBase, nn.Module, dict[str, Tensor]]:
    """Return the generator, the function of its files, and an example of the function's inputs."""
    generator = model.generator()
    inputs = {"latents": seeded_latents(EXAMPLES, generator.latent_size, seed=0)}
    kind: type[_Generate] = _GenerateUnlabeled
    if generator.num_classes:
        kind = _GenerateLabeled
        inputs["labels"] = _example_labels(generator.num_classes)
    inputs["gamma_scale"] = torch.ones(())
    return generator, kind(generator, maps).eval(), inputs


def _discriminator_function(
    model: Model, maps: bool
) -> tuple[DiscriminatorBase, nn.Module, dict[str, Tensor]]:
    """Return the same for the discriminator."""
    discriminator = model.discriminator()
    rng = torch.Generator().manual_seed(0)
    height, width, channels = discriminator.shape
    shape = (EXAMPLES, channels, height, width)
    inputs = {"images": 2 * torch.rand(shape, generator=rng) - 1}
    kind: type[_Judge] = _JudgeUnlabeled
    if discriminator.num_classes:
        kind = _JudgeLabeled
        inputs["labels"] = _example_labels(discriminator.num_classes)
    return discriminator, kind(discriminator, maps).eval(), inputs


def _example_labels(num_classes: int) -> Tensor:
    return torch.arange(EXAMPLES) % num_classes


# Outputs are dictionaries, so that each has its name. torch.export names the inputs of a function
# by its arguments and has no optional ones: hence two classes for each network.


class _Generate(nn.Module):
    """The function that the generator's files compute."""

    def __init__(self, generator: GeneratorBase, maps: bool) -> None:
        super().__init__()
        self.generator = generator
        self.maps = maps

    def outputs(
        self, latents: Tensor, labels: Tensor | None, gamma_scale: Tensor
    ) -> dict[str, Tensor]:
        gammas = {
            f"{name}.gamma": layer.gamma * gamma_scale
            for name, layer in self.generator.named_modules()
            if isinstance(layer, SelfAttention2d)
        }
        with parametrize.cached(), _recorded(self.generator, self.maps) as maps:
            images = functional_call(self.generator, gammas, (latents, labels))
        return {"images": images, **maps}


class _GenerateLabeled(_Generate):
    def forward(self, latents: Tensor, labels: Tensor, gamma_scale: Tensor) -> dict[str, Tensor]:
        return self.outputs(latents, labels, gamma_scale)


class _GenerateUnlabeled(_Generate):
    def forward(self, latents: Tensor, gamma_scale: Tensor) -> dict[str, Tensor]:
        return self.outputs(latents, None, gamma_scale)


class _Judge(nn.Module):
    """The function that the discriminator's files compute."""

    def __init__(self, discriminator: DiscriminatorBase, maps: bool) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.maps = maps

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return features (B, D), logits (B, K) and maps."""
        with parametrize.cached(), _recorded(self.discriminator, self.maps) as maps:
            features = self.discriminator.embed(images)
        return features, self.discriminator.class_logits(features), maps


class _JudgeLabeled(_Judge):
    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        features, class_logits, maps = self.outputs(images)
        logits = class_logits.gather(1, labels[:, None])[:, 0]
        return {"logits": logits, "features": features, "class_logits": class_logits, **maps}


class _JudgeUnlabeled(_Judge):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features, logits, maps = self.outputs(images)
        return {"logits": logits[:, 0], "features": features, **maps}


def _recorded(
    network: GeneratorBase | DiscriminatorBase, maps: bool
) -> AbstractContextManager[dict[str, Tensor]]:
    return recorded_maps(network.attention_layers() if maps else {})
