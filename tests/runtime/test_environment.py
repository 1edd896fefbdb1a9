"""A resumed run warns of whatever makes its bits differ from here on, and of nothing else."""

import warnings
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from sagan.runtime.environment import describe_training, warn_of_changes


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return describe_training(Accelerator(cpu=True), torch.bfloat16)


@pytest.mark.parametrize(
    "name", ["torch", "device", "cpu_capability", "threads", "processes", "precision"]
)
def test_a_change_that_changes_bits_is_named_with_both_values(
    name: str, now: dict[str, Any]
) -> None:
    with pytest.warns(UserWarning, match=name) as caught:
        warn_of_changes(now | {name: "another"}, now)
    (warning,) = caught
    assert str(warning.message) == (
        "the run resumes, but not with the bits it would have had: "
        f"{name} was another and is now {now[name]}"
    )


def test_all_changes_are_named_in_one_warning(now: dict[str, Any]) -> None:
    with pytest.warns(UserWarning, match="threads") as caught:
        warn_of_changes(now | {"threads": 64, "processes": 8, "precision": "float32"}, now)
    (warning,) = caught
    assert str(warning.message).partition("had: ")[2] == (
        f"threads was 64 and is now {now['threads']}; processes was 8 and is now 1; "
        "precision was float32 and is now bfloat16"
    )


def test_what_changes_no_bit_or_was_not_recorded_is_not_reported(now: dict[str, Any]) -> None:
    moved = now | {"sagan": "0.1", "python": "3.1", "platform": "another", "gpu": "another"}
    unrecorded = {name: value for name, value in now.items() if name != "precision"}
    assert moved.keys() == now.keys() != unrecorded.keys()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for before in (now, moved, unrecorded, {}):
            warn_of_changes(before, now)
