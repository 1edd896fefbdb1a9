"""When a training has failed, by a stated criterion."""

from sagan.studies.run import Curve

COLLAPSE = 2.0  # times the lowest distance so far, to the end of the training
LEARNED = 0.5  # of a blank picture's distance is what a training has to come below
CLOSE = 0.05  # of a blank picture's distance: no collapse ends so near, nor is one seen in noise
COVERED = 0.1  # of the training pictures are near a sample in the end
CRITERION = (
    "A training has failed at the earliest of: the first record by which an update had been "
    "dropped because it was not finite; the evaluation from which on the distance stays above "
    f"{COLLAPSE:g} times the lowest before it, and above {CLOSE:g} of the distance that blank "
    f"pictures have, to the end; the last step, if coverage is below {COVERED:g} then; step 0, if "
    f"no evaluation comes below {LEARNED:g} of that distance."
)


def failure_step(distances: Curve, dropped: Curve, blank: float, coverage: float) -> float | None:
    """The step at which a training failed by `CRITERION`, None if it did not.

    Args:
        distances: (step, distance to the training pictures), of the untrained generator first.
        dropped: (step, updates dropped so far).
        blank: the distance of pictures of one color.
        coverage: in the end.
    """
    found = [step for step, number in dropped if number > 0]
    for i, (step, _) in enumerate(distances[1:], start=1):
        lowest = min(value for _, value in distances[:i])
        if _stays_above(max(COLLAPSE * lowest, CLOSE * blank), distances[i:]):
            found.append(step)
    if coverage < COVERED:
        found.append(distances[-1][0])
    if not any(value < LEARNED * blank for _, value in distances[1:]):
        found.append(0)
    return min(found, default=None)


def _stays_above(bound: float, distances: Curve) -> bool:
    return all(value > bound for _, value in distances)
