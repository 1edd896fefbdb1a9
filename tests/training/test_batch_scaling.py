"""--scale-batch: a batch for each process, rates by the square root, and runs that resume."""

from dataclasses import replace
from pathlib import Path

import pytest

from sagan.config import resolve
from sagan.errors import SaganError
from sagan.run import directory
from sagan.run.directory import RunDescription
from sagan.run.run import Run
from sagan.training.batch_scaling import scale_config, scale_session, unscaled_request
from sagan.training.config_file import ConfigFile
from sagan.training.session import Candidate, Session, TimePlan


def session_of(run: Path, preset: str = "smoke") -> Session:
    config = resolve(preset).with_labels(False)
    description = RunDescription(config, preset, {"fingerprint": "", "classes": []})
    return Session(Run(run), description, None)  # type: ignore[arg-type]


def test_the_batch_grows_with_the_processes_and_the_rates_with_their_square_root() -> None:
    one = resolve("sagan-128")
    four = scale_config(one, 4)
    assert (four.batch_size, four.lr_g, four.lr_d) == (
        4 * one.batch_size, pytest.approx(2 * one.lr_g), pytest.approx(2 * one.lr_d),
    )  # fmt: skip
    changed = {"batch_size", "lr_g", "lr_d"}
    assert four.model_dump(exclude=changed) == one.model_dump(exclude=changed)
    assert scale_config(one, 1) == one


def test_rates_above_1_are_refused() -> None:
    with pytest.raises(SaganError, match="lr_g"):
        scale_config(resolve("smoke", {"lr_g": 0.9}), 2)


def test_all_recipes_of_a_time_plan_are_scaled(tmp_path: Path) -> None:
    lines: list[str] = []
    session = session_of(tmp_path / "run")
    plan = TimePlan(
        (Candidate(session.description), Candidate(session.description, 9)), frozenset()
    )
    scaled = scale_session(replace(session, plan=plan), 2, lines.append)
    assert scaled.plan is not None
    batches = [c.description.config.batch_size for c in scaled.plan.candidates]
    assert batches == [2 * session.description.config.batch_size] * 2
    assert [c.from_steps for c in scaled.plan.candidates] == [0, 9]
    (line,) = lines
    assert line.startswith("--scale-batch: batch_size=32, lr_g=")
    assert line.endswith(" for 2 processes")


def test_a_run_that_has_begun_keeps_its_batch_whatever_the_number_of_processes(
    tmp_path: Path,
) -> None:
    begun = scale_session(session_of(tmp_path / "run"), 3, lambda _: None)
    directory.create_run(tmp_path / "run", begun.description, {})
    lines: list[str] = []
    again = replace(begun, run=Run(tmp_path / "run"))
    assert scale_session(again, 2, lines.append) is again
    assert lines == ["--scale-batch: the run began with batch_size=48, which stays"]
    recipe = ConfigFile("smoke", {"batch_size": 16, "d_steps": 1})
    given = {"lr_g": 1e-4, "steps": 9}
    kept, rest = unscaled_request(again.run, given, recipe)
    assert kept == {"steps": 9}
    assert rest is not None
    assert rest.settings == {"d_steps": 1}
    assert unscaled_request(Run(tmp_path / "new"), given, recipe) == (given, recipe)
