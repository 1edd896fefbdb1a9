"""Small models, as if they had been trained."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from sagan.build import build_networks
from sagan.config import resolve
from sagan.exporting.program import NetworkProgram, trace_network
from sagan.model import Model
from sagan.nn.attention import SelfAttention2d

MakeModel = Callable[..., Model]


def _move(network: nn.Module) -> None:
    """Move everything that is constant in a new network: statistics, tables, gamma."""
    rng = torch.Generator().manual_seed(1)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "running_var", "bias", "gain.weight", "bias.weight")):
            tensor.add_(0.3 * torch.rand(tensor.shape, generator=rng))
    for layer in network.modules():
        if isinstance(layer, SelfAttention2d):
            layer.gamma.fill_(0.7)


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """make_model(classes, key=value, ...): a smoke-size model with these classes and settings."""

    def make(*classes: str, **settings: Any) -> Model:
        small = {"channels_g": 8, "channels_d": 8, "latent_size": 8, "conditional": bool(classes)}
        config = resolve("smoke", small | settings)
        generator, discriminator = build_networks(config, len(classes))
        with torch.no_grad():
            _move(generator)
            _move(discriminator)
        states = {"ema": generator.state_dict(), "discriminator": discriminator.state_dict()}
        return Model(
            "small", config, classes, "crop", "", 7, "# A card", states.__getitem__, "By A and B"
        )

    return make


@pytest.fixture(scope="session")
def labeled_model(make_model: MakeModel) -> Model:
    """A model with three classes."""
    return make_model("cat", "dog", "cow")


@pytest.fixture(scope="session")
def traced(labeled_model: Model) -> NetworkProgram:
    """The generator of the labeled model as a program, with its maps."""
    return trace_network(labeled_model, maps=True)


@pytest.fixture(scope="session")
def traced_discriminator(labeled_model: Model) -> NetworkProgram:
    """Its discriminator, with its maps."""
    return trace_network(labeled_model, discriminator=True, maps=True)


@pytest.fixture(scope="session")
def judge_model(make_model: MakeModel) -> Model:
    """A model with a discriminator of kernels large enough to be worth float16."""
    return make_model("cat", "dog", "cow", channels_d=32)


@pytest.fixture(scope="session")
def judge(judge_model: Model) -> bytes:
    """That discriminator as an ONNX file, stored in float16."""
    from sagan.exporting.onnx_file import onnx_content

    return onnx_content(trace_network(judge_model, discriminator=True, half_from=0), {})
