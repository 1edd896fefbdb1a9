"""MMGeneration: the SAGAN and projection networks of mmgen/models/architectures/sngan_proj.

Its files are loaded one by one, since mmgen as a whole needs mmcv 1.x, which new systems cannot
install. What they import from mmcv is replaced by the few functions below.
"""

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import spectral_norm

from parity.case import Case, stand_in

MARK = "mmgen/models/architectures/sngan_proj/generator_discriminator.py"
CONFIG = "generator=dict(init_cfg=dict(type='studio'){}), discriminator=dict(num_classes=2{})"


class Registry(dict[str, type[nn.Module]]):
    """Classes by name, as mmcv's registry."""

    def register_module(self, name: str | None = None) -> Callable[[Any], Any]:
        """Return a decorator that registers a class."""

        def register(kind: Any) -> Any:
            self[name or kind.__name__] = kind
            return kind

        return register

    def build(self, settings: dict[str, Any], defaults: dict[str, Any] | None = None) -> Any:
        """Build a module from its type and arguments."""
        arguments = {**(defaults or {}), **settings}
        return self[arguments.pop("type")](**arguments)


class ConvModule(nn.Module):
    """mmcv's convolution with normalization and activation, in the two orders needed here."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        bias: bool | str = "auto",
        norm_cfg: dict[str, Any] | None = None,
        act_cfg: dict[str, Any] | None = None,
        order: tuple[str, ...] = ("conv", "norm", "act"),
        with_spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        assert norm_cfg is None or order == ("norm", "act", "conv")
        has_bias = bias if isinstance(bias, bool) else norm_cfg is None
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, bias=has_bias
        )
        if with_spectral_norm:
            self.conv = spectral_norm(self.conv)
        if norm_cfg is not None:
            self.bn = nn.BatchNorm2d(in_channels, eps=norm_cfg["eps"])

    def forward(self, x: Tensor) -> Tensor:
        """Normalize and rectify if there is a norm; then convolve."""
        return self.conv(torch.relu(self.bn(x)) if hasattr(self, "bn") else x)


def _activation(settings: dict[str, Any]) -> nn.Module:
    settings = dict(settings)
    kinds: dict[str, Any] = {"ReLU": nn.ReLU, "Tanh": nn.Tanh}
    return kinds[settings.pop("type")](**settings)


def _norm(settings: dict[str, Any], channels: int) -> tuple[str, nn.Module]:
    return "bn", nn.BatchNorm2d(channels, **{k: v for k, v in settings.items() if k != "type"})


def _upsample(settings: dict[str, Any]) -> nn.Module:
    return nn.Upsample(scale_factor=settings["scale_factor"], mode=settings["type"])


def _is_list_of(values: list[Any], kind: type) -> bool:
    return all(isinstance(value, kind) for value in values)


def _constant(module: nn.Module, value: float) -> None:
    nn.init.constant_(module.weight, value)


def _xavier(module: nn.Module, gain: float = 1, distribution: str = "normal") -> None:
    nn.init.xavier_uniform_(module.weight, gain=gain)


def load(checkout: Path) -> tuple[Any, Any]:
    """Return the classes of its generator and discriminator."""
    modules = Registry()
    for name in ("mmcv", "mmgen", "mmgen.models", "mmgen.models.architectures"):
        stand_in(name)
    layers = dict(
        ConvModule=ConvModule, build_activation_layer=_activation, build_norm_layer=_norm,
        build_upsample_layer=_upsample, constant_init=_constant, xavier_init=_xavier,
    )  # fmt: skip
    stand_in("mmcv.cnn", **layers)
    stand_in("mmcv.cnn.bricks", **layers)
    stand_in("mmcv.runner", load_checkpoint=None)
    stand_in("mmcv.runner.checkpoint", _load_checkpoint_with_prefix=None)
    stand_in("mmcv.utils", is_list_of=_is_list_of)
    stand_in("mmgen.models.builder", MODULES=modules, build_module=modules.build)
    stand_in("mmgen.utils", check_dist_init=lambda: False)
    stand_in("mmgen.utils.logger", get_root_logger=logging.getLogger)
    stand_in("mmgen.models.architectures.common", get_module_device=lambda m: torch.device("cpu"))
    stand_in("mmgen.models.architectures.biggan")
    stand_in("mmgen.models.architectures.sngan_proj")
    root = checkout / "mmgen" / "models" / "architectures"
    for name in ("biggan.biggan_snmodule", "biggan.modules", "sngan_proj.modules"):
        _load(f"mmgen.models.architectures.{name}", root / f"{name.replace('.', '/')}.py")
    loaded = _load("mmgen.models.architectures.sngan_proj.generator_discriminator", checkout / MARK)
    return loaded.SNGANGenerator, loaded.ProjDiscriminator


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def cases(checkout: Path, small: bool) -> Iterator[Case]:
    """Yield pairs as in configs/sagan; if `small`, the smallest."""
    classes = load(checkout)
    if small:
        yield case(*classes, 32, 16, 16, [2], [1], num_classes=3)
        return
    yield case(*classes, 32, 256, 128, [2], [1], num_classes=10)
    yield case(*classes, 32, 32, 32, [2], [1], num_classes=10, inplace=True)
    yield case(*classes, 64, 8, 8, [3], [1], num_classes=4)
    yield case(*classes, 128, 8, 8, [4], [1], num_classes=5, schedule="BigGAN")
    yield case(*classes, 128, 8, 8, [4], [1, 2], num_classes=0)


def case(
    generator_class: Any,
    discriminator_class: Any,
    size: int,
    width_g: int,
    width_d: int,
    attention_g: list[int],
    attention_d: list[int],
    num_classes: int,
    inplace: bool = False,
    schedule: str = "studio",
) -> Case:
    """Build a pair of networks."""
    latent_size = 8 if width_g == 16 else 128
    common: dict[str, Any] = dict(num_classes=num_classes, init_cfg=dict(type=schedule))
    extra: dict[str, Any] = {}
    if schedule == "BigGAN":
        extra = dict(norm_eps=1e-5, with_embedding_spectral_norm=False)
        common |= dict(sn_eps=1e-8)
    if inplace:
        common |= dict(act_cfg=dict(type="ReLU", inplace=True))
    generator = generator_class(
        output_scale=size, base_channels=width_g, noise_size=latent_size, with_spectral_norm=True,
        attention_after_nth_block=attention_g, use_cbn=num_classes > 0, **common, **extra,
    )  # fmt: skip
    discriminator = discriminator_class(
        input_scale=size, base_channels=width_d, with_spectral_norm=True,
        attention_after_nth_block=attention_d, **common,
    )  # fmt: skip
    text = ", act_cfg=dict(type='ReLU', inplace=True)" if inplace else ""
    config = CONFIG.format(text, text) if schedule == "studio" else ""

    def saved(g: dict[str, Tensor], d: dict[str, Tensor]) -> tuple[Any, Any]:
        tensors = {f"generator.{name}": torch.zeros_like(tensor) for name, tensor in g.items()}
        tensors |= {f"generator_ema.{name}": tensor for name, tensor in g.items()}
        tensors |= {f"discriminator.{name}": tensor for name, tensor in d.items()}
        return {"meta": {"config": config, "iter": 35}, "state_dict": tensors}, None

    kind = f"{num_classes} classes" if num_classes else "no labels"
    return Case(
        name=f"{size} pixels, width {width_g}, {kind}, {'in-place' if inplace else schedule}",
        generator=generator,
        discriminator=None if size == 64 else discriminator,  # ends at 2 x 2, ours at 4 x 4
        generate=lambda latents, labels: generator(latents, label=labels)[:, [2, 1, 0]],
        judge=lambda images, labels: discriminator(images[:, [2, 1, 0]], labels),
        resolution=size,
        latent_size=latent_size,
        num_classes=num_classes,
        saved=saved,
    )
