"""When a training has failed, by the stated criterion."""

import pytest

from sagan.studies.failure import failure_step
from sagan.studies.spectral_norm import LARGEST, _summary

GOOD = [(0, 1.0), (10, 0.4), (20, 0.2), (30, 0.25), (40, 0.1)]


@pytest.mark.parametrize(
    ("distances", "dropped", "step"),
    [
        (GOOD, [], None),
        (GOOD, [(10, 0), (20, 0)], None),
        (GOOD, [(10, 0), (20, 3), (30, 4)], 20),
        # at 20 twice the best so far is passed, for good
        ([(0, 1.0), (10, 0.2), (20, 0.5), (30, 0.9)], [], 20),
        # it came back
        ([(0, 1.0), (10, 0.2), (20, 0.5), (30, 0.39)], [], None),
        # the last evaluation decides alone
        ([(0, 1.0), (10, 0.2), (20, 0.3), (30, 0.41)], [], 30),
        # never half as far as an untrained generator
        ([(0, 1.0), (10, 0.9), (20, 0.6)], [], 0),
        # the earliest of all
        ([(0, 1.0), (10, 0.2), (20, 0.5)], [(15, 1)], 15),
    ],
)
def test_a_training_fails_at_the_earliest_sign(distances, dropped, step) -> None:
    assert failure_step(distances, dropped) == step


def test_a_training_without_one_finite_record_is_summarised_as_well() -> None:
    sigmas = {f"sigma/{network}/linear": [(1.0, 2.0)] for network in LARGEST}
    assert _summary(sigmas) == dict.fromkeys(LARGEST.values(), 2.0)
