"""Receptive fields, checked on the networks themselves: which outputs change with an input."""

import numpy as np
import pytest
import torch
from torch import nn

from sagan.explain import convolution_window, receptive_field
from sagan.explain.receptive import receptive_fields
from sagan.images.shape import ImageShape
from sagan.nn.attention_blocks import AttentionSpec
from sagan.nn.dcgan import DCGANDiscriminator, DCGANGenerator
from sagan.nn.efficientnet import FrozenConv2d
from sagan.nn.projected import ProjectedDiscriminator
from sagan.nn.resnet import Discriminator, Generator


def without_attention(network, side):
    """The network in float64 with positive weights, and a 3x3 convolution for its attention.

    Sums of positive terms: an output that depends on an input changes with it.
    """
    channels = network.self_attention[str(side)].query.in_channels
    network.self_attention[str(side)] = nn.Conv2d(channels, channels, 3, padding=1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.uniform_(0.01, 0.1)
    return network.double().eval()


def output_of(network, module, run):
    """The output of a module inside a network during `run`."""
    seen = []
    handle = module.register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        run()
    handle.remove()
    return seen[0]


def spans_on_the_image(network, side, resolution):
    """For each position of a row of the map: the first and last + 1 pixel column it depends on."""
    network = without_attention(network, side)
    module = network.self_attention[str(side)]
    image = torch.full((1, 3, resolution, resolution), 0.5, dtype=torch.float64)
    before = output_of(network, module, lambda: network.embed(image))
    depends = np.zeros((side, resolution), dtype=bool)
    for column in range(resolution):
        changed = image.clone()
        changed[..., column] += 0.25
        after = output_of(network, module, lambda changed=changed: network.embed(changed))
        depends[:, column] = (after != before)[0].any(0).any(0).numpy()
    return ends(depends)


def spans_on_the_start(network, side, first, start_side=4):
    """The same on the generator's start, which `first`, a module, takes in."""
    network = without_attention(network, side)
    module = network.self_attention[str(side)]
    latents = torch.zeros(1, network.latent_size, dtype=torch.float64)
    depends = np.zeros((side, start_side), dtype=bool)

    def run(column):
        def change(_, inputs):
            start = torch.ones_like(inputs[0])
            if column is not None:
                start[..., column] += 1
            return (start, *inputs[1:])

        handle = first.register_forward_pre_hook(change)
        result = output_of(network, module, lambda: network(latents))
        handle.remove()
        return result

    before = run(None)
    for column in range(start_side):
        depends[:, column] = (run(column) != before)[0].any(0).any(0).numpy()
    return ends(depends)


def ends(depends):
    return np.stack([depends.argmax(1), depends.shape[1] - depends[:, ::-1].argmax(1)], -1)


@pytest.mark.parametrize(
    ("resolution", "side"), [(32, 16), (32, 8), (48, 12), (64, 32), (64, 8), (128, 32)]
)
def test_a_residual_discriminators_field_is_what_its_layers_depend_on(resolution, side):
    network = Discriminator(resolution, 8, attention=AttentionSpec((side,)), spectral_norm=None)
    np.testing.assert_array_equal(
        receptive_field("residual", f"discriminator.attention_{side}", resolution),
        spans_on_the_image(network, side, resolution),
    )


@pytest.mark.parametrize("side", [32, 16, 8, 4])
def test_a_deconvolution_discriminators_field_is_what_its_layers_depend_on(side):
    network = DCGANDiscriminator(8, attention=AttentionSpec((side,), "full"), spectral_norm=None)
    np.testing.assert_array_equal(
        receptive_field("dcgan", f"discriminator.attention_{side}", 64),
        spans_on_the_image(network, side, 64),
    )


@pytest.mark.parametrize(("resolution", "side"), [(32, 16), (32, 4), (64, 8), (64, 2), (128, 16)])
def test_a_projected_discriminators_field_is_where_its_gradients_are(resolution, side):
    """With weights whose gradients cannot cancel: the small effects of far pixels count too."""
    network = ProjectedDiscriminator(resolution, 8, attention=AttentionSpec((side,)))
    network = without_attention(network, side)
    for module in network.modules():
        if isinstance(module, FrozenConv2d):  # its activations stay between ReLU6's bounds
            module.weight = torch.rand_like(module.weight) / module.weight[0].numel()
            module.bias = torch.zeros_like(module.bias)
    image = torch.full((1, 3, resolution, resolution), 1e-3, dtype=torch.float64)
    image.requires_grad_()
    columns = []
    module = network.self_attention[str(side)]
    module.register_forward_hook(lambda _, __, output: columns.append(output.sum(dim=(0, 1, 2))))
    network.embed(image)
    depends = [
        torch.autograd.grad(column, image, retain_graph=True)[0].ne(0).any(0).any(0).any(0)
        for column in columns[0]
    ]
    np.testing.assert_array_equal(
        receptive_field("projected", f"discriminator.attention_{side}", resolution),
        ends(torch.stack(depends).numpy()),
    )


def test_a_projected_models_generator_is_a_residual_one():
    np.testing.assert_array_equal(
        receptive_field("projected", "generator.attention_8", 64),
        receptive_field("residual", "generator.attention_8", 64),
    )


@pytest.mark.parametrize(("resolution", "side"), [(32, 8), (32, 32), (48, 24), (64, 32), (128, 64)])
def test_a_residual_generators_field_is_what_its_layers_depend_on(resolution, side):
    network = Generator(resolution, 8, 8, attention=AttentionSpec((side,)), spectral_norm=None)
    start = network.start[0]
    np.testing.assert_array_equal(
        receptive_field("residual", f"generator.attention_{side}", resolution),
        spans_on_the_start(network, side, network.blocks[0], start) * (resolution // start),
    )


@pytest.mark.parametrize("side", [8, 16, 32])
def test_a_deconvolution_generators_field_is_what_its_layers_depend_on(side):
    network = DCGANGenerator(8, 8, attention=AttentionSpec((side,), "full"), spectral_norm=None)
    np.testing.assert_array_equal(
        receptive_field("dcgan", f"generator.attention_{side}", 64),
        spans_on_the_start(network, side, network.layers[1]) * 16,
    )


def test_the_longer_axis_of_a_wide_image_goes_on_as_the_shorter_one_begins():
    """Fields are cut at the border only, and squares in between."""
    for network, cut in (("discriminator", 3), ("generator", 7)):
        name = f"{network}.attention_16"
        down, across = receptive_fields("residual", name, ImageShape(64, 96))
        np.testing.assert_array_equal(down, receptive_field("residual", name, 64))
        assert (len(down), len(across)) == (16, 24)
        np.testing.assert_array_equal(across[:-8][:-cut], down[:-cut])
        np.testing.assert_array_equal(across[8:][cut:], down[cut:] + 32)
        tall = receptive_fields("residual", name, ImageShape(96, 64))
        np.testing.assert_array_equal(tall[0], across)
        np.testing.assert_array_equal(tall[1], down)


def test_a_convolution_reads_three_positions_and_less_at_the_border():
    assert convolution_window(4, 32).tolist() == [[0, 16], [0, 24], [8, 32], [16, 32]]


@pytest.mark.parametrize("layer", ["generator", "critic.attention_8", "generator.attention_x"])
def test_a_name_that_is_not_a_layers_is_refused(layer):
    with pytest.raises(ValueError, match="not an attention layer"):
        receptive_field("residual", layer, 32)
