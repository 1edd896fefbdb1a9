"""The traced functions compute what the networks do, whatever networks they are."""

from typing import Any

import numpy as np
import pytest
import torch

from sagan.errors import SaganError
from sagan.explorer.renderer import scaled_gammas
from sagan.exporting.program import MAP_MEANING, NetworkProgram, trace_network
from sagan.images.pixels import to_float, to_uint8
from sagan.model import Model
from sagan.nn.inputs import seeded_latents

KINDS: dict[str, dict[str, Any]] = {
    "two layers": {
        "family": "dcgan", "resolution": 64, "attention_g": (16, 32), "attention_d": (8, 4),
        "attention_form": "full",
    },
    "no attention": {"attention_g": (), "attention_d": ()},
    "control": {"attention_block": "residual"},
}  # fmt: skip


def test_the_traced_generator_draws_what_sample_draws_with_gamma_scaled(
    labeled_model: Model, traced: NetworkProgram
) -> None:
    draw = traced.program.module()
    generator = labeled_model.generator()
    labels = torch.tensor([2, 0, 1, 1, 2])
    for factor in (1.0, 0.0, -0.5):
        outputs = draw(seeded_latents(5, 8, seed=3), labels, torch.tensor(factor))
        with scaled_gammas(generator, factor):
            images, maps = generator.sample(5, labels, seed=3, return_attention=True)
        assert np.abs(to_uint8(outputs.pop("images")).astype(int) - images).max() <= 1
        assert outputs.keys() == maps.keys() == {"generator.attention_16"}
        for name, attention in outputs.items():
            np.testing.assert_allclose(attention, maps[name], atol=1e-6)


def test_the_traced_discriminator_judges_as_its_methods_do(
    labeled_model: Model, traced_discriminator: NetworkProgram
) -> None:
    judge = traced_discriminator.program.module()
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    labels = torch.tensor([2, 0, 1, 1, 2])
    inputs = to_float(torch.from_numpy(images))
    outputs = judge(inputs, labels)
    discriminator = labeled_model.discriminator()
    expected = {
        "logits": discriminator(inputs, labels).detach().numpy(),
        "features": discriminator.features(images),
        "class_logits": discriminator.scores(images),
        **discriminator.attention(images),
    }
    assert outputs.keys() == expected.keys()
    for name, output in outputs.items():
        np.testing.assert_allclose(output, expected[name], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("discriminator", [False, True])
def test_networks_of_every_kind_are_traced_without_labels(
    make_model: Any, kind: str, discriminator: bool
) -> None:
    model = make_model(**KINDS[kind])
    traced = trace_network(model, discriminator, maps=True)
    assert "labels" not in traced.inputs
    assert "class_logits" not in traced.outputs
    network = model.discriminator() if discriminator else model.generator()
    assert [name for name in traced.outputs if "attention" in name] == list(
        network.attention_layers()
    )
    one = [value[:1] if value.dim() else value for value in traced.inputs.values()]
    outputs = traced.program.module()(*one)
    for name, expected in traced.outputs.items():
        assert torch.allclose(outputs[name], expected[:1], atol=1e-6)


def test_every_input_and_output_but_maps_has_its_own_meaning(
    traced: NetworkProgram, traced_discriminator: NetworkProgram
) -> None:
    for network in (traced, traced_discriminator):
        for name in (*network.inputs, *network.outputs):
            assert (network.meaning(name) != MAP_MEANING) is not (".attention_" in name), name
    assert traced.meaning("images").startswith("RGB from -1 to 1;")


def test_the_meaning_of_images_says_their_colors(make_model: Any) -> None:
    traced = trace_network(make_model(colors="rgba", attention_g=()))
    assert traced.meaning("images").startswith("RGB and opacity from -1 to 1;")


def test_maps_that_would_take_gigabytes_are_refused(make_model: Any) -> None:
    model = make_model(resolution=256, attention_form="full", attention_g=(256,), attention_d=())
    with pytest.raises(SaganError, match="memory for attention maps"):
        trace_network(model)


def test_weights_beyond_float16_are_refused_by_name(make_model: Any) -> None:
    model = make_model(spectral_norm_d=False)
    model.read("discriminator")["blocks.1.skip.weight"].fill_(1e5)
    with pytest.raises(SaganError, match=r"'small': blocks.1.skip.weight .* without --half"):
        trace_network(model, discriminator=True, half_from=0)
