"""Build the networks of a configuration, and estimate the memory that these take."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sagan.config import Config
from sagan.images.shape import ImageShape
from sagan.nn.attention import SelfAttention2d
from sagan.nn.attention_blocks import AttentionSpec
from sagan.nn.attention_kernels import BackendName
from sagan.nn.base import BATCH_SIZE, DiscriminatorBase, GeneratorBase
from sagan.nn.dcgan import DCGANDiscriminator, DCGANGenerator
from sagan.nn.initialization import Initializer, named_random_state
from sagan.nn.projected import ProjectedDiscriminator, ProjectedGenerator
from sagan.nn.resnet import Discriminator, Generator
from sagan.nn.spectral_norm import SpectralSpec
from sagan.runtime.memory import check_memory

NetworkT = TypeVar("NetworkT", bound=nn.Module)

INITIALIZERS: dict[str, Initializer] = {
    "orthogonal": nn.init.orthogonal_,
    "xavier": nn.init.xavier_uniform_,
    "normal": lambda weight: nn.init.normal_(weight, std=0.02),
}


def build_networks(config: Config, num_classes: int) -> tuple[GeneratorBase, DiscriminatorBase]:
    """Build both networks with the initial weights of `config.seed`: float32, channels_last.

    Configurations that differ in a layer of a network, such as attention, have the same weights in
    all other layers. torch's global random state does not change.

    Args:
        config: the configuration; the networks take labels if `config.conditional`.
        num_classes: number of classes of the data set.
    """
    initializer = INITIALIZERS[config.init]
    with named_random_state(config.seed, "generator"):
        generator = build_generator(config, num_classes, initializer)
    with named_random_state(config.seed, "discriminator"):
        discriminator = build_discriminator(config, num_classes, initializer)
    return generator, discriminator


def build_meta_networks(
    config: Config, num_classes: int
) -> tuple[GeneratorBase, DiscriminatorBase]:
    """Build both networks on the meta device: shapes without memory."""
    with on_meta_device():
        generator = build_generator(config, num_classes, skip_init)
        return generator, build_discriminator(config, num_classes, skip_init)


@contextmanager
def on_meta_device() -> Iterator[None]:
    """Build networks on the meta device within the context. Use `skip_init` as initializer."""
    with torch.device("meta"), _SkipInit():
        yield


def leave_meta_device(network: nn.Module) -> None:
    """Allocate memory for weights on the meta device, in place, and leave those of frozen layers.

    The weights that are allocated have no defined value.
    """

    # `empty_like` would do, but for a meta tensor torch first imports SymPy, which takes a second.
    def allocated(x: Tensor) -> Tensor:
        if not x.is_meta:
            return x
        return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device="cpu")

    network._apply(allocated)


def skip_init(weight: Tensor) -> Tensor:
    """Leave a weight as it is: the initializer of a network with weights to be loaded, if any."""
    return weight


class _SkipInit(TorchFunctionMode):
    """Make all functions of `torch.nn.init` do nothing.

    On the meta device, where they have no effect, torch would import its compiler: over a second.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters, without buffers such as running statistics."""
    return sum(parameter.numel() for parameter in network.parameters())


def map_sizes(network: GeneratorBase | DiscriminatorBase) -> list[int]:
    """Return the number of weights in one image's map of each attention layer."""
    return [
        layer.map_size(*network.shape.feature_map(int(side)))
        for side, layer in network.self_attention.items()
        if isinstance(layer, SelfAttention2d)
    ]


def map_entries(network: GeneratorBase | DiscriminatorBase) -> int:
    """Return the number of weights in one image's attention maps, of all layers together."""
    return sum(map_sizes(network))


def check_feature_maps(
    shape: ImageShape, maps: Mapping[int, int], origin: str, purpose: str
) -> None:
    """Refuse a network with too large feature maps: small kernels can make large ones.

    A block has up to three of its larger maps at a time.

    Args:
        shape: of the images.
        maps: side of the larger map of each block -> its channels.
        origin: the model, for the message.
        purpose: likewise.

    Raises:
        SaganError: they would take more memory than `sagan.runtime.memory` allows.
    """
    largest = max(channels * math.prod(shape.feature_map(side)) for side, channels in maps.items())
    check_memory(3 * 4 * BATCH_SIZE * largest, origin, purpose)


def check_map_memory(network: GeneratorBase | DiscriminatorBase, num: int, origin: str) -> None:
    """Refuse attention maps that would take more memory than `sagan.runtime.memory` allows.

    Args:
        network: the network that the maps come from.
        num: number of images.
        origin: the model, for the message.

    Raises:
        SaganError: they would.
    """
    check_memory(4 * num * map_entries(network), origin, "attention maps")


def build_generator(config: Config, num_classes: int, initializer: Initializer) -> GeneratorBase:
    """Build only the generator; dcgan's weights are drawn from torch's global random state."""
    family = _FAMILIES[config.family]
    generator = family.generator(
        width=config.channels_g,
        latent_size=config.latent_size,
        attention=_attention_spec(config, config.attention_g, "auto"),
        spectral_norm=_spectral_spec(config, config.spectral_norm_g),
        **family.own_arguments(config, num_classes, initializer),
    )
    return _channels_last(generator)


def build_discriminator(
    config: Config, num_classes: int, initializer: Initializer
) -> DiscriminatorBase:
    """Build only the discriminator; dcgan's weights are drawn from torch's global random state."""
    family = _FAMILIES[config.family]
    # A gradient penalty differentiates D twice: fused attention would only compute maps again.
    backend: BackendName = "eager" if config.loss == "wasserstein-gp" else "auto"
    discriminator = family.discriminator(
        width=config.channels_d,
        attention=_attention_spec(config, config.attention_d, backend),
        spectral_norm=_spectral_spec(config, config.spectral_norm_d),
        **family.own_arguments(config, num_classes, initializer),
        **family.discriminator_arguments(config),
    )
    return _channels_last(discriminator)


def _attention_spec(config: Config, sizes: tuple[int, ...], backend: BackendName) -> AttentionSpec:
    form, block, scores = config.attention_form, config.attention_block, config.attention_scores
    return AttentionSpec(sizes, form, backend, block, scores)


def _spectral_spec(config: Config, enabled: bool) -> SpectralSpec | None:
    return SpectralSpec(config.spectral_norm_eps) if enabled else None


@dataclass(frozen=True)
class _Family:
    """The networks of one family, and the arguments that only this family takes.

    Attributes:
        generator: builds G.
        discriminator: builds D.
        own_arguments: those of both networks.
        discriminator_arguments: those of D only.
    """

    generator: Callable[..., GeneratorBase]
    discriminator: Callable[..., DiscriminatorBase]
    own_arguments: Callable[[Config, int, Initializer], dict[str, Any]]
    discriminator_arguments: Callable[[Config], dict[str, Any]] = lambda config: {}


def _residual_arguments(
    config: Config, num_classes: int, initializer: Initializer
) -> dict[str, Any]:
    return {
        "resolution": config.resolution,
        "num_classes": num_classes if config.conditional else 0,
        "initializer": initializer,
        "seed": config.seed,
        "colors": config.colors,
    }


def _dcgan_arguments(config: Config, num_classes: int, initializer: Initializer) -> dict[str, Any]:
    # One resolution, no labels, and the initial weights of torch's layers.
    return {"colors": config.colors}


_FAMILIES = {
    "residual": _Family(
        Generator,
        Discriminator,
        _residual_arguments,
        lambda config: {"rectified_skip": config.rectified_skip},
    ),
    "projected": _Family(
        ProjectedGenerator,
        ProjectedDiscriminator,
        _residual_arguments,
        lambda config: {"classifier": config.class_loss > 0},
    ),
    "dcgan": _Family(DCGANGenerator, DCGANDiscriminator, _dcgan_arguments),
}


def _channels_last(network: NetworkT) -> NetworkT:
    return network.to(memory_format=torch.channels_last)
