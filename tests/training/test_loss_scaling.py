"""In float16, losses are scaled so that gradients fit, and overflow costs an update, not a run."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.run import checkpoint
from sagan.run.stats import read_records
from sagan.training import loss_scaling
from sagan.training.loss_scaling import HIGHEST, INITIAL, LOWEST, LossScale
from sagan.training.state import Training

Start = Callable[..., Training]
NETWORKS = ("generator", "discriminator")
LAYER = {"generator": "blocks.1.conv1", "discriminator": "blocks.2.conv2"}
YES, NO = torch.tensor(True), torch.tensor(False)


def set_scales(training: Training, factor: float) -> None:
    for scale in training._loss_scales().values():
        scale.factor.fill_(factor)


def factors(training: Training) -> dict[str, float]:
    return {name: float(scale.factor) for name, scale in training._loss_scales().items()}


def plant_infinity(network: nn.Module, layer: str) -> Callable[[], None]:
    """Make one element of a gradient infinite; call the result to stop that."""

    def overflowing(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[0, 0, 0, 0] = math.inf
        return gradient

    weight = network.get_parameter(f"{layer}.parametrizations.weight.original")
    return weight.register_hook(overflowing).remove


def weights_and_moments(training: Training, name: str) -> dict[str, Tensor]:
    network = getattr(training.adversaries, name)
    optimizer = training._optimizers()[name]
    found = {key: p.detach().clone() for key, p in network.named_parameters()}
    for number, moments in optimizer.state_dict()["state"].items():
        found |= {f"{number}/{key}": value.clone() for key, value in moments.items()}
    assert len(found) == 4 * len(list(network.parameters()))
    return found


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    assert before.keys() == after.keys()
    return [name for name in before if not torch.equal(before[name], after[name])]


# ---------------------------------------------------------------------------------------------
# The factor


def test_an_overflow_halves_the_factor_and_many_updates_without_double_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loss_scaling, "UPDATES_TO_DOUBLE", 3)
    scale = LossScale(torch.device("cpu"))
    found = []
    for overflow in (NO, YES, NO, NO, YES, NO, NO, NO, NO, NO, NO):
        scale.update(overflow)
        found.append(float(scale.factor) / INITIAL)
    assert found == [1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 1]


def test_the_factor_stays_within_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would otherwise become infinite where gradients are 0, and 0 where no factor helps."""
    monkeypatch.setattr(loss_scaling, "UPDATES_TO_DOUBLE", 1)
    scale = LossScale(torch.device("cpu"))
    for overflow, bound in ((NO, HIGHEST), (YES, LOWEST)):
        for _ in range(200):
            scale.update(overflow)
        assert float(scale.factor) == bound
    assert scale.is_lowest()


def test_scaling_and_unscaling_changes_no_bit_of_a_gradient() -> None:
    scale = LossScale(torch.device("cpu"))
    gradient = torch.randn(1000) / 1e6
    scaled = scale.factor * gradient
    scale.unscale_([scaled])
    assert torch.equal(scaled, gradient)


# ---------------------------------------------------------------------------------------------
# Steps


@pytest.mark.parametrize("accumulation", [1, 2])
def test_two_steps_in_float16_stay_near_float32(
    accumulation: int, labeled: PackedDataset, start_training: Start
) -> None:
    """Losses agree to 0.05, and averaged weights to a tenth of what two updates change."""
    found, averages = [], []
    for precision in ("float32", "float16"):
        training = start_training(
            labeled, precision=precision, batch_size=4, accumulation=accumulation
        )
        set_scales(training, 2.0**8)
        found.append([])
        for _ in range(2):
            result, loss_g = training.advance()
            found[-1] += [float(result.loss), float(loss_g)]
        training.check_finite()
        averages.append(training.average.generator.to_rgb.bias.clone())
        assert {p.dtype for p in training.adversaries.generator.parameters()} == {torch.float32}
    assert found[0] != found[1]  # it did compute in float16
    assert found[1] == pytest.approx(found[0], abs=0.05)
    assert factors(training) == {"generator": 2.0**8, "discriminator": 2.0**8}
    distance = (averages[1] - averages[0]).abs().max()
    assert distance < 0.1 * averages[0].abs().max()  # its biases start at 0


@pytest.mark.parametrize("name", NETWORKS)
def test_a_planted_overflow_halves_the_scale_and_changes_no_weight_moment_or_average(
    name: str, unlabeled: PackedDataset, start_training: Start
) -> None:
    training = start_training(unlabeled, precision="float16", batch_size=4, ema_half_life=100)
    set_scales(training, 2.0**8)
    training.advance()
    before = weights_and_moments(training, name)
    average = {k: v.clone() for k, v in training.average.generator.state_dict().items()}
    heal = plant_infinity(getattr(training.adversaries, name), LAYER[name])
    training.advance()
    heal()
    training.check_finite()  # on_nonfinite=stop, but this is not a fault
    assert training.dropped == 0
    assert factors(training) == {other: 2.0 ** (8 - (other == name)) for other in NETWORKS}
    assert changed(before, weights_and_moments(training, name)) == []
    # The average follows G, which is updated if only D's update was dropped.
    kept = not changed(average, training.average.generator.state_dict())
    assert kept is (name == "generator")
    training.advance()
    assert changed(before, weights_and_moments(training, name))


def test_gradients_that_overflow_in_float16_lower_the_scale_and_are_dropped(
    unlabeled: PackedDataset, start_training: Start
) -> None:
    training = start_training(unlabeled, precision="float16", batch_size=4)
    set_scales(training, 2.0**20)
    before = {k: p.clone() for k, p in training.adversaries.discriminator.named_parameters()}
    training.advance()
    assert factors(training)["discriminator"] == 2.0**19
    assert not changed(before, dict(training.adversaries.discriminator.named_parameters()))


@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_where_the_scale_cannot_be_lowered_a_bad_gradient_is_a_fault(
    policy: str, unlabeled: PackedDataset, start_training: Start
) -> None:
    training = start_training(unlabeled, precision="float16", batch_size=4, on_nonfinite=policy)
    set_scales(training, 2.0)
    plant_infinity(training.adversaries.generator, LAYER["generator"])
    training.advance()
    training.check_finite()
    assert factors(training)["generator"] == LOWEST
    training.advance()
    if policy == "skip":
        training.check_finite()
        assert training.dropped == 1
    else:
        with pytest.raises(SaganError, match=r"generator, step 2: .*blocks\.1\.conv1"):
            training.check_finite()


def test_overflow_in_the_forward_pass_does_not_reach_running_statistics(
    unlabeled: PackedDataset, start_training: Start
) -> None:
    training = start_training(unlabeled, precision="float16", batch_size=4)
    training.advance()
    generator = training.adversaries.generator
    sound = {k: v.clone() for k, v in generator.state_dict().items() if "running" in k}
    assert len(sound) >= 6

    def overflow(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inputs[0] * 65504 * 2, *inputs[1:])

    hook = generator.blocks[0].register_forward_pre_hook(overflow)
    training.advance()
    hook.remove()
    training.check_finite()
    assert not changed(sound, {k: v for k, v in generator.state_dict().items() if k in sound})


def test_a_gradient_penalty_does_not_depend_on_the_scale(
    unlabeled: PackedDataset, start_training: Start
) -> None:
    """Its norm is not linear: of scaled gradients, it would be another penalty."""
    found = []
    for precision, factor in (("float32", 1.0), ("float16", 1.0), ("float16", 2.0**6)):
        training = start_training(
            unlabeled, precision=precision, batch_size=4, loss="wasserstein-gp", flip=False
        )
        set_scales(training, factor)
        training.advance()
        discriminator = training.adversaries.discriminator
        found.append(torch.cat([p.grad.flatten() for p in discriminator.parameters()]))
    exact, plain, scaled = found
    assert exact.norm() > 0
    for gradient in (plain, scaled):
        assert (gradient - exact).norm() < 0.03 * exact.norm()


def test_gradients_are_unscaled_before_they_are_measured(
    unlabeled: PackedDataset, start_training: Start
) -> None:
    norms = []
    for factor in (2.0**2, 2.0**8):
        training = start_training(unlabeled, precision="float16", batch_size=4)
        set_scales(training, factor)
        record = training.record(*training.advance())
        assert record["loss_scale/g"] == record["loss_scale/d"] == factor
        norms.append([record[f"gradient/{name}"] for name in NETWORKS])
    assert norms[0] == pytest.approx(norms[1], rel=0.02)


def test_float32_is_neither_scaled_nor_recorded_as_if(
    unlabeled: PackedDataset, start_training: Start
) -> None:
    training = start_training(unlabeled)
    assert not any(name.startswith("loss_scale") for name in training.record(*training.advance()))
    guard = training.adversaries.guard_g
    loss = torch.ones(())
    assert guard.scaled(loss) is loss


# ---------------------------------------------------------------------------------------------
# Checkpoints


def state_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((checkpoint.checkpoints(run)[-1] / "state.json").read_text())
    return found


@pytest.mark.usefixtures("no_images")
def test_scales_are_saved_recorded_and_restored(
    unlabeled: PackedDataset, train_run: Callable[..., Path], start_training: Start, tmp_path: Path
) -> None:
    run = train_run(
        tmp_path / "run", unlabeled, steps=2, precision="float16", batch_size=4, log_every=1
    )
    saved = state_of(run)["loss_scale"]
    assert set(saved) == set(NETWORKS)
    assert read_records(run)[-1]["loss_scale/d"] == saved["discriminator"]["factor"] < INITIAL
    training = start_training(unlabeled, precision="float16", batch_size=4)
    training.restore(checkpoint.checkpoints(run)[-1])
    assert {n: s.state_dict() for n, s in training._loss_scales().items()} == saved


@pytest.mark.usefixtures("no_images")
def test_checkpoints_without_scales_load_and_those_with_impossible_ones_are_refused(
    unlabeled: PackedDataset, train_run: Callable[..., Path], start_training: Start, tmp_path: Path
) -> None:
    run = train_run(tmp_path / "run", unlabeled, steps=1)  # in float32
    folder, state = checkpoint.checkpoints(run)[-1], state_of(run)
    file = folder / "state.json"
    training = start_training(unlabeled, precision="float16", batch_size=4)
    for without in ({}, {"generator": {"factor": 4.0, "successes": 7.0}}):
        file.write_text(json.dumps({**state, "loss_scale": without}))
        training.restore(folder)
    assert factors(training) == {"generator": 4.0, "discriminator": INITIAL}
    state.pop("loss_scale")  # as versions before float16 wrote it
    file.write_text(json.dumps(state))
    training.restore(folder)
    for bad in (0, -1.0, 1e30, "x", None, [], math.nan):
        for key in ("factor", "successes"):
            scale = {"factor": 4.0, "successes": 7.0, key: bad}
            if (key, bad) == ("successes", 0):
                continue
            file.write_text(json.dumps({**state, "loss_scale": {"generator": scale}}))
            with pytest.raises(SaganError, match="is damaged"):
                training.restore(folder)
    file.write_text(json.dumps({**state, "loss_scale": [1, 2]}))
    with pytest.raises(SaganError, match="is damaged"):
        training.restore(folder)
