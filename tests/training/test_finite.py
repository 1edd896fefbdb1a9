"""NaN and infinity never reach the weights."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.run import checkpoint, directory
from sagan.run.stats import read_records
from sagan.training.finite import SKIPS_ON, FiniteGuard
from sagan.training.optimizer import adam
from sagan.training.state import Training

LAYER = {
    "generator": "blocks.1.conv1.parametrizations.weight.original",
    "discriminator": "blocks.2.conv2.parametrizations.weight.original",
}


def poison(network: nn.Module, layer: str, value: float) -> Callable[[], None]:
    """Put a bad value into one element of a layer's gradient; call the result to stop that."""

    def spoiled(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[0, 0, 0, 0] = value
        return gradient

    return dict(network.named_parameters())[layer].register_hook(spoiled).remove


def sound_state(training: Training, name: str) -> dict[str, Tensor]:
    """A network's parameters and its optimizer's moments."""
    network = getattr(training.adversaries, name)
    optimizer = getattr(training.adversaries, f"optimizer_{name[0]}")
    state = {key: p.detach().clone() for key, p in network.named_parameters()}
    for i, moments in optimizer.state_dict()["state"].items():
        state |= {f"{i}/{key}": value.clone() for key, value in moments.items()}
    # Both moments of every parameter: the network has been updated before.
    for moment in ("exp_avg", "exp_avg_sq"):
        found = [key for key in state if key.endswith(f"/{moment}")]
        assert len(found) == len(list(network.parameters())) > 0
    return state


@pytest.fixture(params=[SKIPS_ON, ()], ids=["a kernel that honors the flag", "one that ignores it"])
def _optimizer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sagan.training.finite.SKIPS_ON", request.param)


@pytest.mark.usefixtures("_optimizer")
@pytest.mark.parametrize(
    ("value", "reuse"), [(float("nan"), False), (float("inf"), False), (float("nan"), True)]
)
@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_a_bad_gradient_stops_the_run_and_changes_no_weight_of_its_network(
    name: str,
    value: float,
    reuse: bool,
    unlabeled: PackedDataset,
    start_training: Callable[..., Any],
) -> None:
    training = start_training(unlabeled, reuse_fakes=reuse)
    training.advance()
    before = sound_state(training, name)
    poison(getattr(training.adversaries, name), LAYER[name], value)
    training.advance()
    with pytest.raises(SaganError) as caught:
        training.check_finite()
    layer = LAYER[name].removesuffix(".parametrizations.weight.original")
    for word in (name, "step 2", f"{layer}.weight", "on_nonfinite=skip"):
        assert word in str(caught.value)
    after = sound_state(training, name)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.usefixtures("_optimizer")
@pytest.mark.parametrize("name", ["generator", "discriminator"])
def test_a_dropped_update_is_counted_and_training_continues(
    name: str, unlabeled: PackedDataset, start_training: Callable[..., Any]
) -> None:
    training = start_training(unlabeled, on_nonfinite="skip")
    training.advance()
    before = sound_state(training, name)
    heal = poison(getattr(training.adversaries, name), LAYER[name], float("nan"))
    training.advance()
    heal()
    training.check_finite()
    assert training.dropped == 1
    after = sound_state(training, name)
    assert all(torch.equal(before[key], after[key]) for key in before)
    training.advance()
    training.check_finite()
    assert training.dropped == 1
    later = sound_state(training, name)
    assert not all(torch.equal(after[key], later[key]) for key in after)
    assert all(value.isfinite().all() for value in later.values())


def test_a_nan_in_the_forward_pass_reaches_neither_running_statistics_nor_average(
    unlabeled: PackedDataset, start_training: Callable[..., Any]
) -> None:
    training = start_training(unlabeled, on_nonfinite="skip", ema_half_life=100)
    training.advance()
    generator = training.adversaries.generator
    sound = copy.deepcopy(generator.state_dict())

    def spoil(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (inputs[0] * float("nan"), *inputs[1:])

    hook = generator.blocks[0].register_forward_pre_hook(spoil)
    training.advance()
    hook.remove()
    training.check_finite()
    assert training.dropped == 2  # both updates of the step
    for network in (generator, training.average.generator):
        assert all(value.isfinite().all() for value in network.state_dict().values())
    for ending in ("running_mean", "running_var", "original"):
        kept = [key for key in sound if key.endswith(ending)]
        assert len(kept) >= 7, ending  # norms, and normalized weights
        changed = [key for key in kept if not torch.equal(generator.state_dict()[key], sound[key])]
        assert changed == []
    training.advance()
    training.check_finite()
    assert all(value.isfinite().all() for value in generator.state_dict().values())


def test_guarding_changes_no_bit_of_an_update(
    unlabeled: PackedDataset,
    start_training: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched = start_training(unlabeled)
    monkeypatch.setattr("sagan.training.finite.FiniteGuard.check", lambda *_: None)
    alone = start_training(unlabeled)
    for _ in range(2):
        watched.advance()
        alone.advance()
    for name in ("generator", "discriminator"):
        one, other = sound_state(watched, name), sound_state(alone, name)
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.usefixtures("no_images")
def test_a_run_stopped_by_a_bad_gradient_leaves_its_last_checkpoint_unchanged(
    unlabeled: PackedDataset, train_run: Callable[..., Any], tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = train_run(tmp_path / "run", unlabeled, steps=2, checkpoint_every=1)
    real = Training.advance

    def advance(self: Training) -> Any:
        if self.step == 3:
            poison(self.adversaries.generator, LAYER["generator"], float("nan"))
        return real(self)

    monkeypatch.setattr(Training, "advance", advance)
    with pytest.raises(SaganError, match="generator, step 4"):
        train_run(run, unlabeled, steps=6, checkpoint_every=1)
    assert checkpoint.latest_checkpoint(run) == run / "checkpoints" / "step-00000003"


def test_a_stopped_run_may_resume_with_skip_and_later_with_stop(
    unlabeled: PackedDataset, train_run: Callable[..., Any], tmp_path: Any,
    monkeypatch: pytest.MonkeyPatch, no_images: None,
) -> None:  # fmt: skip
    real = Training.advance

    def advance(self: Training) -> Any:
        if self.step not in (1, 3):
            return real(self)
        heal = poison(self.adversaries.generator, LAYER["generator"], float("nan"))
        result = real(self)
        heal()
        return result

    monkeypatch.setattr(Training, "advance", advance)
    settings = {"checkpoint_every": 1, "log_every": 1}
    run = tmp_path / "run"
    with pytest.raises(SaganError, match=r"generator, step 2: .* on_nonfinite=skip"):
        train_run(run, unlabeled, steps=3, **settings)
    assert directory.read_description(run).config.on_nonfinite == "stop"
    train_run(run, unlabeled, steps=3, on_nonfinite="skip", **settings)
    assert directory.read_description(run).config.on_nonfinite == "skip"
    assert [checkpoint.step_of(path) for path in checkpoint.checkpoints(run)] == [1, 2, 3]
    with pytest.raises(SaganError, match="generator, step 4: "):
        train_run(run, unlabeled, steps=5, on_nonfinite="stop", **settings)
    train_run(run, unlabeled, steps=5, on_nonfinite="skip", **settings)
    assert checkpoint.checkpoints(run)[-1].name == "step-00000005"
    dropped = {record["step"]: record.get("dropped", 0) for record in read_records(run)}
    assert dropped == {0: 0, 1: 0, 2: 1, 3: 1, 4: 2, 5: 2}  # also across restarts


@pytest.mark.parametrize("settings", [{"sample_every": 2, "steps": 6}, {"steps": 3}])
def test_on_a_device_that_is_rarely_read_weights_are_checked_before_drawing(
    settings: dict[str, Any], unlabeled: PackedDataset, train_run: Callable[..., Any],
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """With weights that are not finite, attention could not even be measured."""
    monkeypatch.setattr(Training, "on_cpu", False)
    real = Training.advance

    def advance(self: Training) -> Any:
        poison(self.adversaries.discriminator, LAYER["discriminator"], float("nan"))
        return real(self)

    monkeypatch.setattr(Training, "advance", advance)
    with pytest.raises(SaganError, match="discriminator, step 1"):
        train_run(tmp_path / "run", unlabeled, log_every=100, checkpoint_every=100, **settings)
    assert list((tmp_path / "run" / "samples").iterdir()) == []


@pytest.mark.parametrize("value", [3e38, -1e-45])
def test_a_gradient_is_not_bad_for_its_size_alone(value: float) -> None:
    """The sum of the squares of many finite numbers may be infinite."""
    network = nn.Linear(2, 3)
    guard = FiniteGuard("generator", network, adam(network, 0.1, (0.0, 0.9)))
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, value)
    guard.check(torch.tensor(value), 1)
    assert guard.report() == (0, "")


def test_an_update_with_an_infinite_loss_is_dropped_even_if_its_gradients_are_finite() -> None:
    network = nn.Linear(2, 1)
    optimizer = adam(network, 0.1, (0.0, 0.9))
    guard = FiniteGuard("generator", network, optimizer)
    before = network.weight.detach().clone()
    network(torch.ones(1, 2)).sum().backward()
    guard.check(torch.tensor(math.inf), 7)
    guard.step()
    assert torch.equal(network.weight, before)
    assert guard.report() == (1, "generator, step 7: the loss is not finite")


def test_with_several_processes_an_infinite_loss_of_one_spoils_its_gradients(
    unlabeled: PackedDataset, start_training: Callable[..., Any]
) -> None:
    """These are averaged, so all processes drop the update; a finite loss changes no bit."""
    adversaries = start_training(unlabeled).adversaries
    several = replace(adversaries, accelerator=SimpleNamespace(num_processes=2))
    weight = torch.tensor([0.3, 1e38], requires_grad=True)
    for of, factor, spoiled in ((adversaries, 10, False), (several, 10, True), (several, 3, False)):
        loss = (weight * factor).sum()
        (gradient,) = torch.autograd.grad(of.spreading(loss), weight)
        expected = torch.full((2,), float("nan") if spoiled else float(factor))
        torch.testing.assert_close(gradient, expected, rtol=0, atol=0, equal_nan=True)


def test_kernels_that_ignore_the_flag_are_undone_from_the_first_update_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sagan.training.finite.SKIPS_ON", ())
    network = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1, fused=True)
    guard = FiniteGuard("generator", network, optimizer)
    weight = network.weight.detach().clone()
    loss = torch.zeros(())
    network.weight.grad = torch.full((2, 2), math.nan)
    guard.check(loss, 1)
    guard.step()
    assert torch.equal(network.weight, weight)
    assert {float(x.abs().sum()) for x in optimizer.state[network.weight].values()} == {0.0}
    network.weight.grad, network.bias.grad = torch.ones(2, 2), torch.ones(2)
    guard.check(loss, 2)
    guard.step()
    torch.testing.assert_close(network.weight, weight - 0.1)
    assert guard.report() == (1, "generator, step 1: the gradient of weight is not finite")
