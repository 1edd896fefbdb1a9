"""A training's time limit decides its number of steps, whatever the machine's speed."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sagan.config import Config, resolve
from sagan.errors import SaganError
from sagan.training import pace
from sagan.training.optimizer import decay_factor
from sagan.training.pace import Pace, affordable_steps


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Simulation:
    """A training whose steps take a given time, and now and then other work."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: int, minutes: float) -> None:
        self.clock = Clock()
        monkeypatch.setattr(pace.time, "monotonic", self.clock.monotonic)
        self.training: Any = SimpleNamespace(
            config=resolve("smoke", {"steps": steps, "minutes": minutes}),
            step=0, steps=steps, seconds=0.0, elapsed=0.0, checkpoint_bytes=lambda: 10**6,
            accelerator=SimpleNamespace(device=torch.device("cpu")),
        )  # fmt: skip
        self.changes: list[int] = []

    def run(self, step_seconds: Any, rest: float = 0.0, until: float = float("inf")) -> None:
        """Train as the loop does; `step_seconds` may be a function of the time that has passed."""
        training, steps = self.training, Pace(self.training)
        begun = self.clock.now
        while training.step < training.steps and self.clock.now - begun < until:
            seconds = step_seconds(self.clock.now) if callable(step_seconds) else step_seconds
            training.step += 1
            training.seconds += seconds
            self.clock.now += seconds
            if corrected := steps.corrected_steps():
                self.changes.append(corrected)
            training.steps = training.step if steps.late else corrected or training.steps
            steps.stepped()
            self.clock.now += rest

    @property
    def minutes(self) -> float:
        return (self.clock.now - 100.0) / 60


@pytest.mark.parametrize("planned", [100, 1000, 5000])
@pytest.mark.parametrize("rest", [0.0, 0.02, 0.2])
def test_a_wrong_guess_of_the_speed_is_corrected(
    planned: int, rest: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulation = Simulation(monkeypatch, planned, minutes=10)
    simulation.run(0.5, rest)
    if planned > 100:  # a plan of too few steps may end before it can be corrected
        assert 9.7 < simulation.minutes < 10.5


def test_a_right_guess_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = affordable_steps(600, 0.5, pace.expected_overhead(resolve("smoke")))
    simulation = Simulation(monkeypatch, steps, minutes=10)
    simulation.run(0.5, rest=0.5 * pace.expected_overhead(resolve("smoke")))
    assert simulation.changes == []
    assert simulation.training.step == steps


def test_a_machine_that_slows_down_late_still_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(monkeypatch, 1100, minutes=10)
    simulation.run(lambda now: 0.5 if now < 100 + 400 else 1.0)
    assert 10 <= simulation.minutes < 10.6
    assert simulation.training.step == simulation.training.steps


def test_a_machine_that_slows_down_early_changes_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(monkeypatch, 1100, minutes=10)
    simulation.run(lambda now: 0.5 if now < 100 + 100 else 0.8)
    assert len(simulation.changes) >= 1
    assert 9.7 < simulation.minutes < 10.3


def test_a_resumed_training_ends_when_it_was_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(monkeypatch, 1000, minutes=10)
    simulation.run(0.5, 0.02, until=200)
    planned = simulation.training.steps
    simulation.run(0.5, 0.02)
    assert 9.7 < simulation.minutes < 10.5
    assert simulation.training.steps == pytest.approx(planned, rel=0.05)


def test_without_a_limit_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(monkeypatch, 300, minutes=0)
    simulation.run(60.0)
    assert (simulation.changes, simulation.training.step) == ([], 300)


def test_more_minutes_than_before_give_more_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(monkeypatch, 1000, minutes=10)
    simulation.run(0.5, 0.01)
    training = simulation.training
    training.config = longer(training.config, 20)
    Pace(training, limit_changed=True)
    assert training.steps == pytest.approx(2 * training.step, rel=0.02)


def test_no_limit_gives_more_steps_than_a_configuration_may_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = 10**9
    assert affordable_steps(6e7, 0.01, 0.0) == most
    simulation = Simulation(monkeypatch, 1000, minutes=10**6)
    simulation.run(1e-4, until=1)
    training = simulation.training
    Pace(training, limit_changed=True)
    assert training.steps == most
    steps = Pace(training)
    for _ in range(3):
        training.step, training.seconds = training.step + 1, training.seconds + 1e-4
        steps.stepped()
    training.elapsed, training.steps = 0.05 * 6e7, 10**8
    assert steps.corrected_steps() == most


def test_fewer_minutes_than_have_passed_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(monkeypatch, 1000, minutes=10)
    simulation.run(0.5)
    simulation.training.config = longer(simulation.training.config, 5)
    with pytest.raises(SaganError, match=r"has taken .* minutes already"):
        Pace(simulation.training, limit_changed=True)


def longer(config: Config, minutes: float) -> Config:
    return config.model_copy(update={"minutes": minutes})


def test_the_estimate_is_of_the_steps_that_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(monkeypatch, 1000, minutes=0)
    training, steps = simulation.training, Pace(simulation.training)
    known = []
    for n in range(6):
        training.step += 1
        seconds = 9.0 if n == 0 else 0.5  # the first one warms up
        training.seconds += seconds
        simulation.clock.now += seconds
        steps.stepped()
        known.append(steps.known)
    assert known == [False, False, False, True, False, False]
    estimate = steps.estimate()
    assert (estimate.steps, estimate.step_seconds) == (1000, 0.5)
    assert estimate.seconds == pytest.approx(994 * 0.5 * 1.08)
    assert (estimate.disk, estimate.memory > 0) == (3 * 10**6, True)
    training.config = training.config.model_copy(update={"keep_every": 250})
    assert steps.estimate().disk == (3 + 4) * 10**6


def test_on_a_gpu_the_memory_of_the_estimate_is_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(monkeypatch, 1000, minutes=0)
    simulation.training.accelerator.device = torch.device("cuda", 1)
    peaks = {0: 10**8, 1: 2 * 10**9}
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peaks[device.index])
    assert pace.estimate(simulation.training, 0.5).memory == 2 * 10**9


@pytest.mark.parametrize(
    ("step", "share", "factor"),
    [(0, 0.5, 1.0), (50, 0.5, 1.0), (75, 0.5, 0.5), (99, 0.5, 0.02), (99, 0.0, 1.0), (50, 1, 0.5)],
)
def test_rates_fall_to_zero_over_the_last_steps(step: int, share: float, factor: float) -> None:
    assert decay_factor(step, 100, share) == pytest.approx(factor)
