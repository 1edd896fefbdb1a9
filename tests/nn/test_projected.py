"""The projected family: heads on frozen features and on pixels, and a self-modulated G."""

import pytest
import torch
from torch import Tensor

from sagan.nn.attention_blocks import AttentionSpec
from sagan.nn.projected import ProjectedDiscriminator, ProjectedGenerator
from sagan.nn.resnet import Generator
from sagan.nn.spectral_norm import sigmas_of

CLASSES = 3


@pytest.fixture(scope="module")
def discriminator() -> ProjectedDiscriminator:
    torch.manual_seed(0)
    network = ProjectedDiscriminator(32, 16, CLASSES, AttentionSpec((16, 8)))
    for layer in network.attention_layers().values():
        torch.nn.init.constant_(layer.gamma, 0.5)
    return network


def images(num: int = 4, side: int = 32) -> Tensor:
    return torch.rand(num, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_a_score_is_the_mean_of_the_patches_logits_for_each_label(
    discriminator: ProjectedDiscriminator,
) -> None:
    scores = discriminator.class_logits(discriminator.embed(images()))
    assert scores.shape == (4, CLASSES)
    for label in range(CLASSES):
        logits = discriminator(images(), torch.full((4,), label))
        torch.testing.assert_close(logits.mean(1), scores[:, label], rtol=1e-4, atol=1e-4)


def test_heads_judge_16_patches_of_the_pixels_and_of_each_feature_map(
    discriminator: ProjectedDiscriminator,
) -> None:
    logits = discriminator(images(), torch.tensor([0, 1, 2, 0]))
    # Pixels, maps of 16 x 16, 8 x 8 and 4 x 4, and one of 2 x 2, which has only 4 positions.
    assert logits.shape == (4, 4 * 16 + 4)
    assert (logits.std(dim=1) > 0).all()
    changed = images()
    changed[:, :, :, :4] *= -1  # the first column of pixels' patches sees it, the last does not
    other = discriminator(changed, torch.tensor([0, 1, 2, 0]))
    same = (logits == other)[:, :16].unflatten(1, (4, 4)).all(dim=0)
    assert not same[:, 0].any()
    assert same[:, 3].all()


def test_the_frozen_network_sees_gray_as_rgb_and_transparent_images_over_white() -> None:
    networks = {
        colors: ProjectedDiscriminator(32, 8, seed=0, colors=colors)
        for colors in ("gray", "rgb", "rgba")
    }
    gray = images()[:, :1]
    shown = networks["rgb"].view(gray.expand(-1, 3, -1, -1))
    for seen, same in zip(networks["gray"].view(gray)[1:], shown[1:], strict=True):
        torch.testing.assert_close(seen, same)
    opaque = torch.cat([images(), torch.ones(4, 1, 32, 32)], dim=1)
    shown = networks["rgb"].view(images())
    for seen, same in zip(networks["rgba"].view(opaque)[1:], shown[1:], strict=True):
        torch.testing.assert_close(seen, same, rtol=1e-4, atol=1e-4)
    nothing = torch.cat([images(), -torch.ones(4, 1, 32, 32)], dim=1)
    white = networks["rgb"].view(torch.ones(4, 3, 32, 32))
    for seen, same in zip(networks["rgba"].view(nothing)[1:], white[1:], strict=True):
        torch.testing.assert_close(seen, same, rtol=1e-4, atol=1e-4)


def test_what_it_sees_may_be_given_in_place_of_the_images(
    discriminator: ProjectedDiscriminator,
) -> None:
    labels = torch.zeros(4, dtype=torch.int64)
    view = discriminator.view(images())
    assert torch.equal(discriminator(view, labels), discriminator(images(), labels))


def test_features_have_about_unit_variance_at_every_resolution() -> None:
    network = ProjectedDiscriminator(64, 8)
    smooth = torch.nn.functional.interpolate(images(16, 8), (64, 64), mode="bicubic")
    _, *features = network.view(smooth)
    shapes = [tuple(feature.shape[1:]) for feature in features]
    assert shapes == [(24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
    for feature in features:
        assert 0.3 < feature.std().item() < 3


def test_gradients_reach_the_images_and_nothing_frozen_is_trained(
    discriminator: ProjectedDiscriminator,
) -> None:
    shown = images().requires_grad_()
    discriminator(shown, torch.zeros(4, dtype=torch.int64)).mean().backward()
    assert shown.grad is not None
    assert (shown.grad.abs().amax(dim=(1, 2, 3)) > 0).all()
    trained = [name for name, _ in discriminator.named_parameters()]
    assert not any(name.startswith("backbone") for name in [*trained, *discriminator.state_dict()])


def test_everything_that_is_trained_is_spectrally_normalized(
    discriminator: ProjectedDiscriminator,
) -> None:
    weights = {
        name.rpartition(".parametrizations")[0] or name.rpartition(".")[0]
        for name, parameter in discriminator.named_parameters()
        if parameter.dim() > 1
    }
    assert weights == set(sigmas_of(discriminator))


def test_attention_comes_first_in_its_heads(discriminator: ProjectedDiscriminator) -> None:
    maps = discriminator.attention((images().permute(0, 2, 3, 1) * 127 + 128).byte().numpy())
    assert {name: value.shape for name, value in maps.items()} == {
        "discriminator.attention_16": (4, 256, 64),
        "discriminator.attention_8": (4, 64, 16),
    }


def test_the_classifier_sees_frozen_features_and_is_not_normalized() -> None:
    network = ProjectedDiscriminator(32, 8, CLASSES, classifier=True)
    view = network.view(images().requires_grad_())
    logits = network.classify(view)
    assert logits is not None
    assert torch.equal(logits, torch.zeros(4, CLASSES))  # before the first update
    trained = {name: p for name, p in network.named_parameters() if name.startswith("classifier")}
    assert {name: p.shape for name, p in trained.items()} == {
        "classifier.weight": (CLASSES, 24 + 40 + 112 + 320),
        "classifier.bias": (CLASSES,),
    }
    others = [p for name, p in network.named_parameters() if name not in trained]
    gradients = torch.autograd.grad(logits.sum(), [*trained.values(), *others], allow_unused=True)
    assert all(g is not None for g in gradients[:2])
    assert all(g is None for g in gradients[2:])
    plain, unlabeled = ProjectedDiscriminator(32, 8, CLASSES), ProjectedDiscriminator(32, 8)
    assert plain.classify(view) is unlabeled.classify(view) is None
    assert ProjectedDiscriminator(32, 8, classifier=True).classifier is None


def test_unconditional_networks_take_no_labels() -> None:
    network = ProjectedDiscriminator(32, 8)
    with pytest.raises(ValueError, match="labels"):
        network(images(), torch.zeros(4, dtype=torch.int64))
    assert network.class_logits(network.embed(images())).shape == (4, 1)


def test_images_of_another_size_are_refused(discriminator: ProjectedDiscriminator) -> None:
    with pytest.raises(ValueError, match="32"):
        discriminator(images(side=64), torch.zeros(4, dtype=torch.int64))


def test_the_generators_norms_depend_on_the_latent_and_its_layout_narrows_to_the_image() -> None:
    """With the same first map for all latents, images differ by self-modulation only."""
    generators = [
        kind(32, 8, 16, CLASSES, spectral_norm=None) for kind in (ProjectedGenerator, Generator)
    ]
    latents, labels = torch.randn(2, 16), torch.tensor([1, 1])
    for generator, differ in zip(generators, (True, False), strict=True):
        torch.nn.init.zeros_(generator.linear.weight)
        first, second = generator.eval()(latents, labels)
        assert torch.equal(first, second) is not differ
    widths = [block.conv2.out_channels for block in generators[0].blocks]
    assert widths == [64, 32, 16]


def test_the_generators_initial_weights_are_a_function_of_the_seed() -> None:
    first, second, other = (ProjectedGenerator(32, 8, 16, seed=seed) for seed in (1, 1, 2))
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name])
        if "modulation" in name:
            assert not torch.equal(weight, other.state_dict()[name])


def test_double_precision_stays_in_every_output() -> None:
    network = ProjectedDiscriminator(32, 8, CLASSES, classifier=True).double()
    x = images().double()
    outputs = [network.class_logits(network.embed(x)), network.classify(network.view(x))]
    assert [output.dtype for output in outputs if output is not None] == [torch.float64] * 2
