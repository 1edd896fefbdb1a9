"""When a run's samples first show their class: between checkpoints, along a line."""

import pytest

from benchmarks import accuracy


def points(*pairs: tuple[float, float]) -> dict[str, dict[str, float]]:
    return {
        f"step-{i}": {"minutes": minutes, "class-accuracy": share}
        for i, (minutes, share) in enumerate(pairs)
    }


def test_a_share_is_reached_between_two_checkpoints() -> None:
    found = list(points((10, 0.2), (20, 0.4), (30, 0.35)).values())
    assert accuracy.first_minutes(found, 0.3) == pytest.approx(15)
    assert accuracy.first_minutes(found, 0.15) == pytest.approx(5)  # from chance, 0.1, at the start
    assert accuracy.first_minutes(found, 0.41) is None


def test_the_table_names_the_best_and_what_was_not_reached() -> None:
    lines = accuracy.table({"a": points((60, 0.65), (30, 0.3)), "b": points((100, 0.2))})
    assert lines[0] == "| run | 30% | 40% | 50% | 60% | 70% | best |"
    assert lines[2:] == [
        "| a | 30 | 39 | 47 | 56 | not | 65% after 60 |",
        "| b | not | not | not | not | not | 20% after 100 |",
    ]
