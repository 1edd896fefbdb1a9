"""The two updates equal those of plain PyTorch, and each leaves the other network unchanged."""

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sagan.data import PackedDataset
from sagan.images.pixels import to_float
from sagan.nn.augment import AdaptiveAugment
from sagan.nn.projected import CLASSIFIER_GAIN
from sagan.nn.spectral_norm import SpectralNorm, advance_spectral_norm, normalized_once
from sagan.nn.stacked_norms import StackedNorms
from sagan.training import adversaries as building
from sagan.training.draws import RandomKey
from sagan.training.shards import RealShard
from sagan.training.state import Training
from sagan.training.steps import discriminator_step, generator_step, joint_step

Start = Callable[..., Training]
HAS_BFLOAT16 = bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def real_shards(dataset: PackedDataset, *rows: list[int]) -> list[RealShard]:
    """Shards of the data set: shard i has the images, and labels if any, of `rows[i]`."""
    shards = []
    for i, chosen in enumerate(rows):
        labels = None if dataset.labels is None else torch.from_numpy(dataset.labels[chosen])
        shards.append(RealShard(i, torch.from_numpy(np.array(dataset.images[chosen])), labels))
    return shards


def snapshot(network: nn.Module, but: str = "running|tracked") -> dict[str, Tensor]:
    """Parameters, u and v; not the running statistics, which every forward pass of G changes."""
    return {
        name: tensor.clone()
        for name, tensor in network.state_dict().items()
        if not any(word in name for word in but.split("|"))
    }


def assert_same(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    assert before.keys() == after.keys()
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == []


@contextmanager
def normalized_alike(generator: nn.Module, discriminator: nn.Module) -> Iterator[None]:
    """Normalize both as an update of G does: batch norm amplifies even rounding in weights."""
    with normalized_once(generator, advance=True), normalized_once(discriminator, advance=False):
        yield


def gradients(network: nn.Module) -> dict[str, Tensor]:
    found = {name: parameter.grad for name, parameter in network.named_parameters()}
    return {name: gradient.clone() for name, gradient in found.items() if gradient is not None}


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor], share: float) -> None:
    """Each tensor differs by at most `share` of the largest entry of the expected one."""
    assert actual.keys() == expected.keys()
    for name, tensor in expected.items():
        distance = (actual[name].double() - tensor.double()).abs().max()
        assert distance <= share * tensor.abs().max() + 1e-9, f"{name}: {distance}"


@contextmanager
def watched(network: nn.Module) -> Iterator[list[tuple[Tensor, Tensor | None]]]:
    """Collect the (input, labels) of each forward pass within the context."""
    calls: list[tuple[Tensor, Tensor | None]] = []

    def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        calls.append((inputs[0].detach().clone(), inputs[1]))

    handle = network.register_forward_pre_hook(hook)
    yield calls
    handle.remove()


KEY = RandomKey(seed=3, step=5, update=0)


# ---------------------------------------------------------------------------------------------
# What an update leaves unchanged


def test_the_discriminators_update_changes_no_weight_gradient_or_vector_of_the_generator(
    labeled: PackedDataset, start_training: Start
) -> None:
    adversaries = start_training(labeled).adversaries
    before_g, before_d = snapshot(adversaries.generator), snapshot(adversaries.discriminator)
    discriminator_step(adversaries, KEY, real_shards(labeled, [0, 1, 9, 16]))
    assert_same(before_g, snapshot(adversaries.generator))
    assert gradients(adversaries.generator) == {}
    name = "linear.parametrizations.weight.original"
    assert not torch.equal(before_d[name], adversaries.discriminator.state_dict()[name])


def test_the_generators_update_does_not_change_the_discriminator(
    labeled: PackedDataset, start_training: Start
) -> None:
    adversaries = start_training(labeled).adversaries
    before = snapshot(adversaries.discriminator)
    start = snapshot(adversaries.generator)
    generator_step(adversaries, KEY, [0], 8)
    assert_same(before, snapshot(adversaries.discriminator))
    assert not torch.equal(
        start["linear.parametrizations.weight.original"],
        adversaries.generator.state_dict()["linear.parametrizations.weight.original"],
    )


def test_the_generators_update_computes_no_gradient_of_the_discriminators_weights(
    unlabeled: PackedDataset, start_training: Start
) -> None:
    adversaries = start_training(unlabeled).adversaries
    computed: list[str] = []
    for name, parameter in adversaries.discriminator.named_parameters():
        assert parameter.requires_grad  # not by toggling
        parameter.register_hook(lambda _, name=name: computed.append(name))
    generator_step(adversaries, KEY, [0], 8)
    assert gradients(adversaries.discriminator) == {}
    assert computed == []
    # The hooks do see gradients that are computed.
    discriminator_step(adversaries, KEY, real_shards(unlabeled, [0, 1]))
    assert len(computed) == len(gradients(adversaries.discriminator)) > 0


# ---------------------------------------------------------------------------------------------
# Both updates from the same fakes


@pytest.mark.parametrize("family", ["residual", "projected"])
def test_a_joint_steps_first_update_is_the_discriminators_own(
    family: str, labeled: PackedDataset, start_training: Start
) -> None:
    joint, single = (
        start_training(labeled, family=family, augment=0.5, flip=False).adversaries
        for _ in range(2)
    )
    shards = real_shards(labeled, [0, 1, 9, 16])
    result, _ = joint_step(joint, KEY, shards[0])
    advance_spectral_norm(single.generator)
    expected = discriminator_step(single, KEY, shards)
    assert float(result.loss) == pytest.approx(float(expected.loss), rel=1e-5)
    torch.testing.assert_close(result.logits, expected.logits, rtol=1e-4, atol=1e-5)
    assert_close(gradients(joint.discriminator), gradients(single.discriminator), share=1e-4)


@pytest.mark.parametrize("family", ["residual", "projected"])
def test_a_joint_steps_second_update_follows_the_changed_discriminator_on_the_same_fakes(
    family: str, labeled: PackedDataset, start_training: Start
) -> None:
    adversaries = start_training(labeled, family=family, flip=False).adversaries
    plain = copy.deepcopy(adversaries.generator)
    with watched(adversaries.generator) as drawn:
        joint_step(adversaries, KEY, real_shards(labeled, [0, 1, 9, 16])[0])
    assert len(drawn) == 1
    latents, labels = drawn[0]
    with normalized_alike(plain, adversaries.discriminator):
        loss = -adversaries.discriminator(plain(latents, labels), labels).mean()
    loss.backward(inputs=list(plain.parameters()))
    assert_close(gradients(adversaries.generator), gradients(plain), share=1e-3)


# ---------------------------------------------------------------------------------------------
# The class loss


def label_logits(discriminator: nn.Module, images: Tensor) -> Tensor:
    """The classifier's, by its weights, from the mean of each frozen feature map."""
    _, *features = discriminator.view(images)  # type: ignore[operator]
    pooled = torch.cat([x.mean(dim=(2, 3)) for x in features], dim=1)
    weight, bias = (discriminator.get_parameter(f"classifier.{x}") for x in ("weight", "bias"))
    return CLASSIFIER_GAIN * pooled @ weight.T + bias


def test_the_generators_loss_has_the_class_loss_by_its_weight(
    labeled: PackedDataset, start_training: Start
) -> None:
    training = start_training(labeled, family="projected", class_loss=0.3, flip=False)
    adversaries = training.adversaries
    nn.init.normal_(adversaries.discriminator.get_parameter("classifier.weight"), std=0.01)
    plain = copy.deepcopy(adversaries.generator)
    with watched(adversaries.generator) as drawn:
        generator_step(adversaries, KEY, [0], 4)
    latents, labels = drawn[0]
    with normalized_alike(plain, adversaries.discriminator):
        images = plain(latents, labels)
        loss = -adversaries.discriminator(images, labels).mean()
    loss = loss + 0.3 * F.cross_entropy(label_logits(adversaries.discriminator, images), labels)
    loss.backward(inputs=list(plain.parameters()))
    found, expected = gradients(adversaries.generator), gradients(plain)
    for name in list(expected):
        if name.endswith(("conv1.bias", "conv2.bias", "skip.bias")):
            del found[name], expected[name]  # batch norm subtracts them: only rounding is left
    assert_close(found, expected, share=1e-3)


@pytest.mark.parametrize("joint", [True, False])
def test_the_classifier_learns_from_real_images_only_and_changes_no_other_gradient(
    joint: bool, labeled: PackedDataset, start_training: Start
) -> None:
    shards = real_shards(labeled, [0, 1, 9, 16])
    found, losses = [], []
    for weight in (0.3, 0.0):
        adversaries = start_training(
            labeled, family="projected", class_loss=weight, flip=False
        ).adversaries
        if joint:
            result, _ = joint_step(adversaries, KEY, shards[0])
        else:
            result = discriminator_step(adversaries, KEY, shards)
        found.append(gradients(adversaries.discriminator))
        losses.append(float(result.loss))
    own = {name: found[0].pop(name) for name in list(found[0]) if "classifier" in name}
    assert_close(found[0], found[1], share=1e-5)
    assert losses[0] - losses[1] == pytest.approx(math.log(labeled.num_classes), rel=1e-4)
    fresh = start_training(labeled, family="projected", class_loss=0.3).adversaries.discriminator
    loss = F.cross_entropy(
        label_logits(fresh, to_float(shards[0].images)),
        shards[0].labels.long(),  # type: ignore[union-attr]
    )
    loss.backward()
    expected = {name: g for name, g in gradients(fresh).items() if "classifier" in name}
    assert_close(own, expected, share=1e-4)


def test_data_without_classes_need_no_classifier(
    unlabeled: PackedDataset, start_training: Start
) -> None:
    training = start_training(unlabeled, family="projected", class_loss=0.3)
    training.advance()
    assert not any("classifier" in n for n in training.adversaries.discriminator.state_dict())


# ---------------------------------------------------------------------------------------------
# Several updates of D


def test_with_reused_fakes_only_the_last_update_of_d_shares_them_with_g(
    labeled: PackedDataset, start_training: Start
) -> None:
    training = start_training(labeled, d_steps=2, reuse_fakes=True)
    before = snapshot(training.adversaries.generator)
    with (
        watched(training.adversaries.generator) as drawn,
        watched(training.adversaries.discriminator) as judged,
    ):
        training.advance()
    assert len(drawn) == 2
    assert len(judged) == 3  # real and fake, real and fake, the fakes again
    assert torch.equal(judged[1][0][-len(judged[2][0]) :], judged[2][0])
    changed = snapshot(training.adversaries.generator)
    assert any(not torch.equal(before[name], changed[name]) for name in before)


# ---------------------------------------------------------------------------------------------
# u and v


def iterated(weight: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """One power iteration in float64, of a convolution's, linear layer's or embedding's weight."""
    matrix = weight.double()
    if matrix.dim() == 4:
        matrix = torch.stack([row.permute(1, 2, 0).reshape(-1) for row in matrix])
    v = matrix.T @ u.double()
    v /= v.norm()
    u = matrix @ v
    return u / u.norm(), v


def assert_advanced_once(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    names = [name.removesuffix("0.u") for name in before if name.endswith("0.u")]
    assert names
    for name in names:
        u, v = iterated(before[f"{name}original"], before[f"{name}0.u"])
        torch.testing.assert_close(after[f"{name}0.u"].double(), u, rtol=0, atol=1e-5)
        torch.testing.assert_close(after[f"{name}0.v"].double(), v, rtol=0, atol=1e-5)


def test_an_update_in_micro_batches_does_one_power_iteration_of_its_own_network(
    labeled: PackedDataset, start_training: Start
) -> None:
    adversaries = start_training(labeled, accumulation=2).adversaries
    before_d, before_g = snapshot(adversaries.discriminator), snapshot(adversaries.generator)
    discriminator_step(adversaries, KEY, real_shards(labeled, [0, 1], [9, 16]))
    assert_advanced_once(before_d, snapshot(adversaries.discriminator))
    generator_step(adversaries, KEY, [0, 1], 4)
    assert_advanced_once(before_g, snapshot(adversaries.generator))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_step_advances_u_and_v_once_for_each_update_of_their_network(
    labeled: PackedDataset,
    start_training: Start,
    monkeypatch: pytest.MonkeyPatch,
    accumulation: int,
) -> None:
    training = start_training(labeled, d_steps=3, accumulation=accumulation)
    advance, counts = StackedNorms.advance, Counter[int]()

    def counted(norms: StackedNorms) -> None:
        counts.update(id(vector) for vector in norms.vectors)
        advance(norms)

    monkeypatch.setattr(StackedNorms, "advance", counted)
    training.advance()
    for network, times in (
        (training.adversaries.discriminator, 3),
        (training.adversaries.generator, 1),
        (training.average.generator, 0),
    ):
        norms = [m for m in network.modules() if isinstance(m, SpectralNorm)]
        assert [counts[id(norm.u)] for norm in norms] == [times] * len(norms) != []


def test_the_power_iteration_comes_before_the_first_forward_pass(
    labeled: PackedDataset, start_training: Start
) -> None:
    adversaries = start_training(labeled).adversaries
    seen: list[dict[str, Tensor]] = []
    for network in (adversaries.discriminator, adversaries.generator):
        network.register_forward_pre_hook(lambda module, _: seen.append(snapshot(module)))
    discriminator_step(adversaries, KEY, real_shards(labeled, [0, 1]))
    drawn, judged = seen  # fakes are drawn with G's unchanged vectors
    assert drawn.keys() == snapshot(adversaries.generator).keys()
    after = snapshot(adversaries.discriminator)
    vectors = [name for name in after if name.endswith((".u", ".v"))]
    assert_same({n: judged[n] for n in vectors}, {n: after[n] for n in vectors})


# ---------------------------------------------------------------------------------------------
# The same update in plain PyTorch


def hinge_gradients(
    discriminator: nn.Module, images: Tensor, labels: Tensor | None, num_real: int
) -> dict[str, Tensor]:
    """Gradients of Zhang et al. 2018, equation 4, by two forward passes in float32."""
    copied = copy.deepcopy(discriminator)
    copied.zero_grad()
    real_labels = None if labels is None else labels[:num_real]
    fake_labels = None if labels is None else labels[num_real:]
    real = copied(images[:num_real], real_labels)
    fake = copied(images[num_real:], fake_labels)
    loss = sum(max(0.0, 1 - x) for x in real) / len(real)
    loss = loss + sum(max(0.0, 1 + x) for x in fake) / len(fake)
    loss.backward()
    return gradients(copied)


@pytest.mark.parametrize("kind", ["labeled", "unlabeled"])
def test_the_hinge_update_of_the_discriminator_is_that_of_plain_pytorch(
    kind: str, start_training: Start, request: pytest.FixtureRequest
) -> None:
    dataset = request.getfixturevalue(kind)
    adversaries = start_training(dataset, flip=False).adversaries
    adversaries.discriminator.self_attention["16"].gamma.data.fill_(0.3)
    weights = copy.deepcopy(adversaries.discriminator)  # spectral norm not advanced yet
    generator = copy.deepcopy(adversaries.generator)
    rows = [0, 1, 2, 7]
    with watched(adversaries.generator) as drawn:
        result = discriminator_step(adversaries, KEY, real_shards(dataset, rows))

    latents, fake_labels = drawn[0]
    with torch.no_grad():
        fake = generator(latents, fake_labels)
    real = torch.from_numpy(np.array(dataset.images[rows])).permute(0, 3, 1, 2).float() / 127.5 - 1
    labels = None
    if dataset.labels is not None:
        labels = torch.cat([torch.from_numpy(dataset.labels[rows]), fake_labels])
    advance_spectral_norm(weights)
    expected = hinge_gradients(weights, torch.cat([real, fake]), labels, len(rows))
    assert_close(gradients(adversaries.discriminator), expected, share=1e-5)

    # Logits and loss are those before the update.
    with torch.no_grad():
        logits = weights(torch.cat([real, fake]), labels)
    of_real, of_fake = logits[: len(rows)], logits[len(rows) :]
    hinge = (1 - of_real).clamp(min=0).mean() + (1 + of_fake).clamp(min=0).mean()
    means = torch.stack([of_real.mean(), of_fake.mean()])
    torch.testing.assert_close(result.mean_logits(), means, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result.loss, hinge, rtol=1e-4, atol=1e-5)

    optimizer = torch.optim.Adam(weights.parameters(), lr=4e-4, betas=(0.0, 0.999), foreach=False)
    for name, parameter in weights.named_parameters():
        # From the same gradients: Adam's first step is lr * sign(g), which rounding could flip.
        parameter.grad = gradients(adversaries.discriminator)[name]
    optimizer.step()
    for name, parameter in adversaries.discriminator.named_parameters():
        expected_weight = dict(weights.named_parameters())[name]
        torch.testing.assert_close(parameter, expected_weight, rtol=1e-6, atol=1e-8)

    assert result.loss.dtype == torch.float32
    assert not result.loss.requires_grad


def test_micro_batches_of_the_discriminator_add_up_to_the_gradient_of_the_whole_batch(
    labeled: PackedDataset, start_training: Start
) -> None:
    """For the same images: D has no batch norm, so the mean of the gradients is the gradient of one
    pass over all of them. (The fakes do depend on the division, since G has the batch statistics
    of each micro-batch.)"""
    adversaries = start_training(labeled, accumulation=2).adversaries
    weights = copy.deepcopy(adversaries.discriminator)
    with watched(adversaries.discriminator) as judged:
        shards = real_shards(labeled, [0, 1, 10, 17], [2, 3, 8, 16])
        discriminator_step(adversaries, KEY, shards)
    (first, first_labels), (second, second_labels) = judged
    images = torch.cat([first[:4], second[:4], first[4:], second[4:]])
    assert first_labels is not None
    assert second_labels is not None
    labels = torch.cat([first_labels[:4], second_labels[:4], first_labels[4:], second_labels[4:]])
    advance_spectral_norm(weights)
    expected = hinge_gradients(weights, images, labels, 8)
    assert_close(gradients(adversaries.discriminator), expected, share=1e-5)


def test_micro_batches_of_the_generator_give_the_mean_of_their_gradients(
    labeled: PackedDataset, start_training: Start
) -> None:
    """Each micro-batch has its own batch statistics, so one pass over the whole batch differs."""
    adversaries = start_training(labeled, accumulation=2).adversaries
    weights = copy.deepcopy(adversaries.generator)
    with watched(adversaries.generator) as drawn:
        generator_step(adversaries, KEY, [0, 1], 4)
    with normalized_alike(weights, adversaries.discriminator):
        for latents, labels in drawn:
            logits = adversaries.discriminator(weights(latents, labels), labels)
            (-logits.sum() / 8).backward()
    assert_close(gradients(adversaries.generator), gradients(weights), share=1e-5)


def test_five_d_steps_are_five_updates_of_d_on_five_batches_and_one_of_g(
    unlabeled: PackedDataset, start_training: Start
) -> None:
    training = start_training(unlabeled, d_steps=5, batch_size=2)
    adversaries = training.adversaries
    updates = {"d": 0, "g": 0}
    for name, optimizer in (("d", adversaries.optimizer_d), ("g", adversaries.optimizer_g)):
        optimizer.register_step_post_hook(
            lambda *_, name=name: updates.update({name: updates[name] + 1})
        )
    with watched(adversaries.discriminator) as judged, watched(adversaries.generator) as drawn:
        training.advance()
        training.advance()
    assert updates == {"d": 10, "g": 2}
    assert training.step == 2
    seen = [row for images, _ in judged if len(images) == 4 for row in rows_of(images, unlabeled)]
    expected = [row for batch in range(10) for row in training.order.indices(batch)]
    assert seen == expected  # no batch twice, none left out
    latents = torch.cat([z for z, _ in drawn])
    assert len(torch.unique(latents, dim=0)) == 2 * 2 * 6


def rows_of(images: Tensor, dataset: PackedDataset) -> list[int]:
    """The rows of the data set that the first half of (2B, 3, S, S) shows, mirrored or not."""
    originals = to_float(torch.from_numpy(np.array(dataset.images)))
    found = []
    for image in images[: len(images) // 2]:
        same = (image == originals).flatten(1).all(1) | (image.flip(2) == originals).flatten(1).all(
            1
        )
        found.append(int(same.nonzero()))
    return found


# ---------------------------------------------------------------------------------------------
# Objectives


@pytest.mark.parametrize("loss", ["hinge", "non-saturating", "wasserstein-gp"])
def test_each_objective_trains(labeled: PackedDataset, start_training: Start, loss: str) -> None:
    training = start_training(labeled, loss=loss, augment=0.5)
    before = snapshot(training.adversaries.generator)
    for _ in range(3):
        result, loss_g = training.advance()
        assert torch.isfinite(result.loss)
        assert torch.isfinite(loss_g)
    after = snapshot(training.adversaries.generator)
    assert all(torch.isfinite(tensor).all() for tensor in after.values())
    assert not any(torch.equal(before[name], after[name]) for name in before if "conv1" in name)


@pytest.mark.parametrize(("kind", "augment"), [("unlabeled", 0.0), ("labeled", 1.0)])
def test_the_gradient_penalty_is_part_of_the_same_update_on_the_same_augmented_images(
    kind: str, augment: float, start_training: Start, request: pytest.FixtureRequest
) -> None:
    dataset = request.getfixturevalue(kind)
    adversaries = start_training(dataset, loss="wasserstein-gp", augment=augment).adversaries
    weights = copy.deepcopy(adversaries.discriminator)
    shards = real_shards(dataset, [0, 8, 16] if kind == "labeled" else [0, 1, 2])
    with watched(adversaries.discriminator) as judged:
        result = discriminator_step(adversaries, KEY, shards)
    (images, labels), (mixed, _) = judged
    real, fake = images[:3], images[3:]
    real_labels, fake_labels = (None, None) if labels is None else labels.chunk(2)
    # Each mixed image lies between its pair, at one share for all pixels: those that cutout set to
    # 0 in both have none.
    share = ((mixed - real) / (fake - real)).flatten(1).nanmedian(dim=1).values
    assert ((share > 0) & (share < 1)).all()
    torch.testing.assert_close(mixed, real + share[:, None, None, None] * (fake - real))

    advance_spectral_norm(weights)
    mixed.requires_grad_()
    penalty = 0.0
    for i in range(3):
        # Mixed images have the labels of the real ones.
        logit = weights(mixed[i : i + 1], None if labels is None else real_labels[i : i + 1])
        (slope,) = torch.autograd.grad(logit.sum(), mixed, create_graph=True)
        penalty = penalty + 10 * (slope[i].square().sum().sqrt() - 1) ** 2 / 3
    loss = weights(fake, fake_labels).mean() - weights(real, real_labels).mean() + penalty
    loss.backward()
    assert float(result.loss) == pytest.approx(float(loss.detach()), rel=1e-4)
    assert_close(gradients(adversaries.discriminator), gradients(weights), share=2e-4)


# ---------------------------------------------------------------------------------------------
# Random numbers


def test_about_half_of_the_real_images_are_mirrored_and_no_fake_is(
    unlabeled: PackedDataset, start_training: Start
) -> None:
    adversaries = start_training(unlabeled).adversaries
    rows = list(range(8)) * 8
    original = to_float(torch.from_numpy(np.array(unlabeled.images[rows])))
    generator = copy.deepcopy(adversaries.generator)
    with (
        watched(adversaries.generator) as drawn,
        watched(adversaries.discriminator) as judged,
    ):
        discriminator_step(adversaries, KEY, real_shards(unlabeled, rows))
    real, fake = judged[0][0].chunk(2)
    kept = (real == original).flatten(1).all(1)
    mirrored = (real == original.flip(3)).flatten(1).all(1)
    assert (kept ^ mirrored).all()
    assert 16 <= int(mirrored.sum()) <= 48  # 64 fair coins stay within: p > 1 - 1e-4
    with torch.no_grad():
        assert torch.equal(fake, generator(*drawn[0]))


def test_without_flip_no_image_is_mirrored(unlabeled: PackedDataset, start_training: Start) -> None:
    adversaries = start_training(unlabeled, flip=False).adversaries
    with watched(adversaries.discriminator) as judged:
        discriminator_step(adversaries, KEY, real_shards(unlabeled, list(range(8))))
    assert torch.equal(judged[0][0][:8], to_float(torch.from_numpy(np.array(unlabeled.images[:8]))))


def test_random_numbers_are_a_function_of_seed_step_and_update_only(
    labeled: PackedDataset, start_training: Start
) -> None:
    training = start_training(labeled, augment=0.5)
    adversaries = training.adversaries

    def draws(key: RandomKey) -> tuple[Tensor, ...]:
        """Latents, labels, and the real images as D saw them."""
        with (
            watched(adversaries.generator) as drawn,
            watched(adversaries.discriminator) as judged,
        ):
            discriminator_step(adversaries, key, real_shards(labeled, list(range(8))))
        latents, labels = drawn[0]
        assert labels is not None
        return latents, labels, judged[0][0][:8]

    base = RandomKey(seed=1, step=2, update=3)
    first = draws(base)
    others = [
        draws(replace(base, seed=9)),
        draws(replace(base, step=9)),
        draws(replace(base, update=9)),
        draws(RandomKey(seed=2, step=1, update=3)),
    ]
    torch.manual_seed(123)
    again = draws(base)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for other in others:
        assert not torch.equal(first[0], other[0])
        assert not torch.equal(first[2], other[2])


def test_random_numbers_of_a_batch_do_not_depend_on_how_it_is_divided(
    labeled: PackedDataset, start_training: Start
) -> None:
    """Each micro-batch takes its rows of the latents, labels, mirroring and augmentation."""
    rows = [0, 1, 9, 16, 2, 10, 17, 3]
    found = []
    for shards in ([rows], [rows[:4], rows[4:]]):
        adversaries = start_training(labeled, augment=0.5, accumulation=len(shards)).adversaries
        with (
            watched(adversaries.generator) as drawn,
            watched(adversaries.discriminator) as judged,
        ):
            discriminator_step(adversaries, KEY, real_shards(labeled, *shards))
        real = torch.cat([images.chunk(2)[0] for images, _ in judged])
        latents = torch.cat([z for z, _ in drawn])
        labels = torch.cat([y for _, y in drawn if y is not None])
        found.append((latents, labels, real))
    for whole, divided in zip(*found, strict=True):
        torch.testing.assert_close(divided, whole, rtol=1e-6, atol=1e-6)


def test_training_neither_uses_nor_changes_torchs_global_random_state(
    labeled: PackedDataset, start_training: Start
) -> None:
    before = torch.get_rng_state()
    training = start_training(labeled, augment=0.5, loss="wasserstein-gp")
    training.advance()
    assert torch.equal(before, torch.get_rng_state())


class Blank(nn.Module):
    """A generator of gray images that keeps the labels it was given."""

    latent_size = 1

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))
        self.labels = torch.tensor([])

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        self.labels = labels
        return self.level.expand(len(latents), 3, 2, 2)


def test_fake_labels_are_drawn_as_often_as_the_data_has_them(
    labeled: PackedDataset, start_training: Start
) -> None:
    blank, judge = Blank(), start_training(labeled).adversaries.discriminator
    judge.forward = lambda images, labels: images.mean(dim=(1, 2, 3))  # type: ignore[assignment]
    adversaries = replace(
        start_training(labeled).adversaries,
        generator=blank,
        parallel_generator=blank,
        discriminator=judge,
        optimizer_g=torch.optim.SGD(blank.parameters(), lr=0.1),
    )
    generator_step(adversaries, KEY, [0], 4500)
    counts = torch.bincount(blank.labels, minlength=3)
    expected = torch.tensor([8.0, 6.0, 4.0]) / 18 * 4500
    assert ((counts - expected).square() / expected).sum() < 18.4  # chi-squared, 2 dof: p > 1e-4


# ---------------------------------------------------------------------------------------------
# Precision


@pytest.mark.parametrize(
    "half",
    [
        pytest.param(
            "bfloat16",
            marks=pytest.mark.skipif(not HAS_BFLOAT16, reason="this CPU has no bfloat16"),
        ),
        "float16",
    ],
)
def test_sixteen_bits_stay_near_float32_and_keep_float32_weights(
    half: str, labeled: PackedDataset, start_training: Start
) -> None:
    """Each gradient is within 8 degrees of float32's; losses agree to 2%."""
    found = {}
    for precision in ("float32", half):
        adversaries = start_training(labeled, precision=precision, flip=False).adversaries
        for guard in (adversaries.guard_d, adversaries.guard_g):
            if guard.loss_scale is not None:
                guard.loss_scale.factor.fill_(2.0**8)  # small enough for a first step
        result = discriminator_step(adversaries, KEY, real_shards(labeled, list(range(16))))
        loss_g = generator_step(adversaries, KEY, [0], 16)
        for network in (adversaries.generator, adversaries.discriminator):
            state = network.state_dict()
            assert {t.dtype for t in state.values()} <= {torch.float32, torch.int64}
        found[precision] = (
            float(result.loss),
            float(loss_g),
            gradients(adversaries.discriminator),
            gradients(adversaries.generator),
        )
    exact, rough = found["float32"], found[half]
    assert exact[0] != rough[0]  # it did compute in 16 bits
    assert rough[0] == pytest.approx(exact[0], rel=0.02)
    assert rough[1] == pytest.approx(exact[1], abs=0.02)
    for both in zip(exact[2:], rough[2:], strict=True):
        flat = [torch.cat([gradient.flatten() for gradient in one.values()]) for one in both]
        assert F.cosine_similarity(*flat, dim=0) > 0.99


def test_real_and_fake_images_are_augmented_before_d_sees_them_in_both_updates(
    unlabeled: PackedDataset, start_training: Start
) -> None:
    """Otherwise G would learn to draw augmented images (Zhao et al. 2020)."""
    adversaries = start_training(unlabeled, augment=1.0, flip=False).adversaries
    rows = list(range(8))
    drawn: list[Tensor] = [to_float(torch.from_numpy(np.array(unlabeled.images[rows])))]
    adversaries.generator.register_forward_hook(
        lambda _, __, images: drawn.append(images.detach().clone())
    )
    with watched(adversaries.discriminator) as judged:
        discriminator_step(adversaries, KEY, real_shards(unlabeled, rows))
        generator_step(adversaries, KEY, [0], 8)
    (both, _), (of_g, _) = judged
    for plain, shown in zip(drawn, (both[:8], both[8:], of_g), strict=True):
        assert (plain != shown).flatten(1).any(1).all()


@pytest.mark.parametrize(("augment_setting", "p"), [(0.3, 0.3), (0.0, 0.0), ("adaptive", 0.0)])
def test_a_fixed_strength_is_as_configured_and_an_adaptive_one_starts_at_zero(
    augment_setting: Any, p: float, unlabeled: PackedDataset, start_training: Start
) -> None:
    training = start_training(unlabeled, augment=augment_setting)
    strength = training.adversaries.strength
    assert strength.p == p
    # Karras et al.'s code on CIFAR-10: 100,000 real images from zero to full strength.
    assert strength.images_to_full == (100_000 if augment_setting == "adaptive" else math.inf)
    assert training.record(*training.advance())["augment/p"] == p


@pytest.mark.parametrize(("of_real", "p"), [(1.0, 0.6), (-1.0, 0.4)])
def test_p_follows_the_sign_of_real_logits_by_the_number_of_images_seen(
    of_real: float, p: float, unlabeled: PackedDataset, start_training: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A step has two updates on 8 images each; 160 images go from zero to full: so a tenth."""
    monkeypatch.setattr(AdaptiveAugment, "ADJUST_EVERY", 2)
    monkeypatch.setattr(building, "ADAPTIVE_IMAGES", 160)
    training = start_training(unlabeled, augment="adaptive", d_steps=2, accumulation=2)
    adversaries = training.adversaries
    adversaries.strength.p = 0.5

    def say(_: nn.Module, __: object, logits: Tensor) -> Tensor:
        sign = torch.ones_like(logits)
        sign[len(logits) // 2 :] = -1  # the opposite for fakes
        return 0 * logits + of_real * sign

    adversaries.discriminator.register_forward_hook(say)
    training.advance()
    assert adversaries.strength.p == pytest.approx(p)


def test_each_real_image_is_judged_under_its_own_label(
    labeled: PackedDataset, start_training: Start
) -> None:
    training = start_training(labeled, augment=0.0, accumulation=2)
    assert labeled.labels is not None
    seen: list[int] = []
    with watched(training.adversaries.discriminator) as judged:
        for _ in range(2):
            training.advance()
    for images, labels in judged:
        if len(images) == 8:  # D's own: 4 real, 4 fake
            rows = rows_of(images, labeled)
            assert labels[:4].tolist() == labeled.labels[rows].tolist()
            seen += rows
    assert len(seen) == 16
    assert sorted(seen) != seen


@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_each_network_learns_at_its_own_rate(
    name: str, unlabeled: PackedDataset, start_training: Start
) -> None:
    """Adam's first update is lr * g / (|g| + eps), whatever the betas."""
    adversaries = start_training(unlabeled, lr_g=3e-3, lr_d=7e-3, beta1=0.5, beta2=0.9).adversaries
    network = getattr(adversaries, name)
    before = {key: p.detach().double().clone() for key, p in network.named_parameters()}
    if name == "generator":
        generator_step(adversaries, KEY, [0], 8)
    else:
        discriminator_step(adversaries, KEY, real_shards(unlabeled, list(range(8))))
    rate = {"generator": 3e-3, "discriminator": 7e-3}[name]
    for key, parameter in network.named_parameters():
        gradient = parameter.grad.double()
        expected = before[key] - rate * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(parameter.double(), expected, rtol=1e-5, atol=1e-6, msg=key)


def test_the_gradient_penalty_uses_the_labels_of_the_real_images(
    labeled: PackedDataset, start_training: Start
) -> None:
    adversaries = start_training(labeled, loss="wasserstein-gp").adversaries
    with watched(adversaries.discriminator) as judged:
        discriminator_step(adversaries, KEY, real_shards(labeled, [0, 9, 16, 10, 17, 1]))
    (_, both), (_, mixed) = judged
    assert mixed.tolist() == [0, 1, 2, 1, 2, 0] == both[:6].tolist()
    assert both[6:].tolist() != mixed.tolist()  # so the fakes' labels would differ
