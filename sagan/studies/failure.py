"""When a training has failed, by a criterion that was laid down before any was run."""

from sagan.studies.run import Curve

COLLAPSE = 2.0  # times the lowest distance so far, to the end of the training
LEARNED = 0.5  # of a blank picture's distance is what a training has to come below
COVERED = 0.1  # of the training pictures are near a sample in the end
CRITERION = (
    "A training has failed at the earliest of: the first record by which an update had been "
    "dropped because it was not finite; the evaluation from which on the distance stays above "
    f"{COLLAPSE:g} times the lowest before it, to the end; the last step, if coverage is below "
    f"{COVERED:g} then; step 0, if no evaluation comes below {LEARNED:g} of the distance that "
    "blank pictures have. This was laid down before any training."
)


def failure_step(distances: Curve, dropped: Curve, blank: float, coverage: float) -> float | None:
    """The step at which a training failed by `CRITERION`, None if it did not.

    Args:
        distances: (step, distance to the training pictures), of the untrained generator first.
        dropped: (step, updates dropped so far).
        blank: the distance of pictures of one colour.
        coverage: in the end.
    """
    found = [step for step, number in dropped if number > 0]
    found += [
        step
        for i, (step, _) in enumerate(distances)
        if i and _stays_above(COLLAPSE * min(value for _, value in distances[:i]), distances[i:])
    ]
    if coverage < COVERED:
        found.append(distances[-1][0])
    if not any(value < LEARNED * blank for _, value in distances[1:]):
        found.append(0)
    return min(found, default=None)


def _stays_above(bound: float, distances: Curve) -> bool:
    return all(value > bound for _, value in distances)
