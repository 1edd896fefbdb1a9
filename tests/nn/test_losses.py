"""Losses match numbers computed by hand, and each objective trains tiny networks."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sagan.nn import losses
from sagan.nn.attention_blocks import AttentionSpec
from sagan.nn.losses import OBJECTIVES, Objective, gradient_penalty
from sagan.nn.resnet import Discriminator, Generator
from sagan.nn.spectral_norm import advance_spectral_norm

REAL = torch.tensor([2.0, 0.5, -1.0])
FAKE = torch.tensor([-3.0, 0.0, 1.0])


def softplus(x: float) -> float:
    return math.log(1 + math.exp(x))


# --- values -------------------------------------------------------------------------------------


def test_hinge_losses_match_a_calculation_by_hand() -> None:
    # max(0, 1 - r) = 0, 0.5, 2; max(0, 1 + f) = 0, 1, 2
    assert losses.hinge_discriminator(REAL, FAKE).item() == pytest.approx(2.5 / 3 + 3 / 3)
    assert losses.hinge_generator(FAKE).item() == pytest.approx(2 / 3)


def test_non_saturating_losses_match_a_calculation_by_hand() -> None:
    real = (softplus(-2) + softplus(-0.5) + softplus(1)) / 3
    fake = (softplus(-3) + softplus(0) + softplus(1)) / 3
    loss = losses.non_saturating_discriminator(REAL, FAKE).item()
    assert loss == pytest.approx(real + fake, rel=1e-6)
    generator = (softplus(3) + softplus(0) + softplus(-1)) / 3
    assert losses.non_saturating_generator(FAKE).item() == pytest.approx(generator, rel=1e-6)


def test_the_non_saturating_loss_is_twice_log_2_if_all_logits_are_0() -> None:
    zero = torch.zeros(4)
    loss = losses.non_saturating_discriminator(zero, zero).item()
    assert loss == pytest.approx(2 * math.log(2), rel=1e-6)


def test_wasserstein_losses_match_a_calculation_by_hand() -> None:
    loss = losses.wasserstein_discriminator(REAL, FAKE).item()
    assert loss == pytest.approx(-2 / 3 - 1.5 / 3)
    assert losses.wasserstein_generator(FAKE).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_means_so_that_repeating_a_batch_changes_nothing(name: str) -> None:
    objective = OBJECTIVES[name]
    real, fake = REAL.repeat(3), FAKE.repeat(2)
    torch.testing.assert_close(
        objective.discriminator(real, fake), objective.discriminator(REAL, FAKE)
    )
    torch.testing.assert_close(objective.generator(fake), objective.generator(FAKE))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_scalars_of_the_logits_dtype(name: str, dtype: torch.dtype) -> None:
    objective = OBJECTIVES[name]
    for loss in (
        objective.discriminator(REAL.to(dtype), FAKE.to(dtype)),
        objective.generator(FAKE.to(dtype)),
    ):
        assert loss.shape == ()
        assert loss.dtype == dtype


@pytest.mark.parametrize("name", OBJECTIVES)
def test_logits_in_the_thousands_give_finite_losses_and_gradients(name: str) -> None:
    for sign in (1, -1):
        real = torch.tensor([sign * 5000.0], requires_grad=True)
        fake = torch.tensor([-sign * 5000.0], requires_grad=True)
        objective = OBJECTIVES[name]
        loss = objective.discriminator(real, fake) + objective.generator(fake)
        gradients = torch.autograd.grad(loss, [real, fake])
        assert all(t.isfinite().all() for t in (loss, *gradients))


# --- gradients ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_discriminator_raises_real_and_lowers_fake_logits_the_generator_raises_fake(
    name: str,
) -> None:
    objective = OBJECTIVES[name]
    real = torch.tensor([0.3, -0.2], requires_grad=True)
    fake = torch.tensor([0.1, -0.4], requires_grad=True)
    to_real, to_fake = torch.autograd.grad(objective.discriminator(real, fake), [real, fake])
    assert (to_real < 0).all()
    assert (to_fake > 0).all()
    (to_fake,) = torch.autograd.grad(objective.generator(fake), fake)
    assert (to_fake < 0).all()


def test_hinge_has_no_gradient_beyond_the_margin() -> None:
    real = torch.tensor([1.5, 0.5], requires_grad=True)
    fake = torch.tensor([-1.5, -0.5], requires_grad=True)
    to_real, to_fake = torch.autograd.grad(losses.hinge_discriminator(real, fake), [real, fake])
    assert to_real.tolist() == [0, -0.5]
    assert to_fake.tolist() == [0, 0.5]


# --- gradient penalty ---------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [10.0, 2.5])
def test_the_penalty_of_a_linear_critic_has_a_closed_form(weight: float) -> None:
    """D(x) = w . x has gradient w everywhere: weight * (|w| - 1)^2."""
    w = torch.randn(3, 4, 4).requires_grad_()

    def critic(x: Tensor, labels: Tensor | None) -> Tensor:
        return (x * w).sum(dim=(1, 2, 3))

    real, fake = torch.randn(2, 5, 3, 4, 4)
    penalty = gradient_penalty(critic, real, fake, None, torch.rand(len(real)), weight)
    norm = math.sqrt(float((w.detach().double() ** 2).sum()))
    assert penalty.shape == ()
    assert penalty.item() == pytest.approx(weight * (norm - 1) ** 2, rel=1e-5)
    (slope,) = torch.autograd.grad(penalty, w)
    expected = 2 * weight * (norm - 1) / norm * w.detach()
    torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-5)


def test_the_penalty_of_a_critic_of_patches_is_that_of_their_mean() -> None:
    w = torch.randn(5, 3, 4, 4)

    def patches(x: Tensor, labels: Tensor | None) -> Tensor:
        return torch.tanh(torch.einsum("bchw,pchw->bp", x, w))

    real, fake = torch.randn(2, 6, 3, 4, 4)
    given = real, fake, None, torch.rand(6)
    expected = gradient_penalty(lambda x, labels: patches(x, labels).mean(dim=1), *given)
    torch.testing.assert_close(gradient_penalty(patches, *given), expected)


def test_the_penalty_is_taken_at_the_given_point_between_each_pair() -> None:
    """D(x) = sum x^2 / 2 has gradient x, which shows the points."""
    seen: list[Tensor] = []

    def critic(x: Tensor, labels: Tensor | None) -> Tensor:
        seen.append(x.detach())
        return x.square().sum(dim=(1, 2, 3)) / 2

    real, fake = torch.randn(2, 64, 3, 2, 2)
    uniform = torch.rand(64)
    penalty = gradient_penalty(critic, real, fake, None, uniform)
    points = seen[0].double().numpy()
    shares = ((points - real.numpy()) / (fake - real).double().numpy()).reshape(64, -1)
    np.testing.assert_allclose(shares, uniform[:, None].expand(-1, 12), atol=1e-3)
    norms = np.sqrt((points.reshape(64, -1) ** 2).sum(axis=1))
    assert penalty.item() == pytest.approx(10 * ((norms - 1) ** 2).mean(), rel=1e-5)


def test_the_penalty_depends_on_its_points_only_and_passes_labels_on() -> None:
    given: list[Tensor | None] = []

    def critic(x: Tensor, labels: Tensor | None) -> Tensor:
        given.append(labels)
        return x.square().sum(dim=(1, 2, 3))

    real, fake, labels = torch.randn(2, 3, 2, 2), torch.randn(2, 3, 2, 2), torch.tensor([4, 1])
    state = torch.get_rng_state()
    values = [
        gradient_penalty(critic, real, fake, labels, torch.full((2,), share)).item()
        for share in (0.1, 0.1, 0.2)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert values[0] == values[1] != values[2]
    assert all(label is labels for label in given)
    assert not real.requires_grad
    assert not fake.requires_grad


def test_the_penalty_takes_fakes_in_half_precision_and_has_the_real_images_dtype() -> None:
    real, fake = torch.rand(2, 3, 2, 2), torch.rand(2, 3, 2, 2).bfloat16()

    def penalty(fake: Tensor) -> Tensor:
        uniform = torch.tensor([0.2, 0.9])
        return gradient_penalty(lambda x, _: x.square().sum((1, 2, 3)), real, fake, None, uniform)

    assert penalty(fake).dtype == torch.float32
    assert torch.equal(penalty(fake), penalty(fake.float()))


def test_the_penalty_of_a_flat_critic_has_a_finite_gradient() -> None:
    """|gradient| is not differentiable at 0, where a naive root would give NaN."""
    w = torch.zeros(3, 2, 2, requires_grad=True)
    real, fake = torch.randn(2, 4, 3, 2, 2)
    penalty = gradient_penalty(
        lambda x, _: (x * w).sum(dim=(1, 2, 3)), real, fake, None, torch.rand(len(real))
    )
    assert penalty.item() == pytest.approx(10)
    assert torch.autograd.grad(penalty, w)[0].isfinite().all()


# --- training -----------------------------------------------------------------------------------


class Toy:
    """A fixed batch of real images, latents and labels, and networks with attention."""

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.g = Generator(32, 4, latent_size=8, num_classes=2, attention=AttentionSpec((16,)))
        self.d = Discriminator(
            32, 4, num_classes=2, attention=AttentionSpec((8, 16), backend="eager")
        )
        with torch.no_grad():
            for layer in [*self.g.self_attention.values(), *self.d.self_attention.values()]:
                layer.gamma.fill_(0.3)  # type: ignore[operator,union-attr]
        self.labels = torch.tensor([0, 1, 0, 1, 1, 0])
        ramp = torch.linspace(-1, 1, 32)
        self.real = ramp.view(1, 1, 1, 32) * torch.rand(6, 3, 1, 1).expand(6, 3, 32, 32)
        self.latents = torch.randn(6, 8)

    def discriminator_loss(self, fake: Tensor) -> Tensor:
        """Compute real and fake logits in one forward pass, and the penalty for the same update."""
        logits = self.d(torch.cat([self.real, fake]), self.labels.repeat(2))
        loss = self.objective.discriminator(*logits.chunk(2))
        if self.objective.penalty is not None:
            uniform = torch.rand(6, generator=torch.Generator().manual_seed(5))
            loss = loss + self.objective.penalty(self.d, self.real, fake, self.labels, uniform)
        return loss

    def generator_loss(self) -> Tensor:
        return self.objective.generator(self.d(self.g(self.latents, self.labels), self.labels))


def descend(network: torch.nn.Module, loss: Tensor, optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad()
    loss.backward(inputs=list(network.parameters()))
    optimizer.step()
    return loss.item()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_lowers_each_networks_own_loss_on_a_fixed_batch(name: str) -> None:
    toy = Toy(OBJECTIVES[name])
    with torch.no_grad():
        fake = toy.g(toy.latents, toy.labels)
    optimizer = torch.optim.Adam(toy.d.parameters(), lr=2e-3, betas=(0.0, 0.9))
    history = []
    for _ in range(8):
        advance_spectral_norm(toy.d)
        history.append(descend(toy.d, toy.discriminator_loss(fake), optimizer))
    assert all(np.isfinite(history))
    assert history[-1] < history[0] - 0.02 * abs(history[0])

    before = [parameter.detach().clone() for parameter in toy.d.parameters()]
    toy.d.zero_grad()
    optimizer = torch.optim.Adam(toy.g.parameters(), lr=2e-3, betas=(0.0, 0.9))
    history = []
    for _ in range(8):
        advance_spectral_norm(toy.g)
        history.append(descend(toy.g, toy.generator_loss(), optimizer))
    assert history[-1] < history[0]
    for parameter, old in zip(toy.d.parameters(), before, strict=True):
        assert torch.equal(parameter, old)
        assert parameter.grad is None


@pytest.mark.parametrize("name", OBJECTIVES)
def test_alternating_updates_stay_finite_and_change_every_gamma(name: str) -> None:
    toy = Toy(OBJECTIVES[name])
    d_optimizer = torch.optim.Adam(toy.d.parameters(), lr=4e-4, betas=(0.0, 0.9))
    g_optimizer = torch.optim.Adam(toy.g.parameters(), lr=1e-4, betas=(0.0, 0.9))
    for _ in range(3):
        with torch.no_grad():
            fake = toy.g(toy.latents, toy.labels)
        advance_spectral_norm(toy.d)
        assert np.isfinite(descend(toy.d, toy.discriminator_loss(fake), d_optimizer))
        advance_spectral_norm(toy.g)
        assert np.isfinite(descend(toy.g, toy.generator_loss(), g_optimizer))
    for layer in [*toy.g.self_attention.values(), *toy.d.self_attention.values()]:
        assert layer.gamma.item() != pytest.approx(0.3, abs=1e-6)  # type: ignore[operator,union-attr]


def test_the_penalty_reaches_the_discriminators_attention() -> None:
    toy = Toy(OBJECTIVES["wasserstein-gp"])
    fake = -toy.real
    penalty = gradient_penalty(toy.d, toy.real, fake, toy.labels, torch.rand(6))
    toy.d.zero_grad()
    penalty.backward()
    for name, parameter in toy.d.self_attention.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_only_the_wasserstein_objective_has_a_penalty() -> None:
    with_penalty = [name for name, objective in OBJECTIVES.items() if objective.penalty]
    assert with_penalty == ["wasserstein-gp"]


GENERATORS = {
    "hinge": lambda x: -x,
    "non-saturating": lambda x: math.log(1 + math.exp(-x)),
    "wasserstein-gp": lambda x: -x,
}
DISCRIMINATORS = {
    "hinge": lambda real, fake: max(0, 1 - real) + max(0, 1 + fake),
    "non-saturating": lambda real, fake: (
        math.log(1 + math.exp(-real)) + math.log(1 + math.exp(fake))
    ),
    "wasserstein-gp": lambda real, fake: fake - real,
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_has_the_two_losses_of_its_name(name: str) -> None:
    for real, fake in ((0.3, -0.7), (-2.0, 1.5)):
        logits = torch.tensor([real]), torch.tensor([fake])
        objective = OBJECTIVES[name]
        assert float(objective.generator(logits[1])) == pytest.approx(GENERATORS[name](fake))
        expected = DISCRIMINATORS[name](real, fake)
        assert float(objective.discriminator(*logits)) == pytest.approx(expected)
