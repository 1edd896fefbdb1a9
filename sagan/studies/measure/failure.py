"""Whether and when a training has failed, by a stated criterion."""

from sagan.studies.run import Series

COLLAPSE_FACTOR = 2.0  # times the lowest distance so far, until the end of the training
LEARNED_SHARE = 0.5  # of a blank image's distance: a training has to come below it
# Share of a blank image's distance. No collapse ends this close, and noise this close may double
# a distance.
CLOSE_SHARE = 0.05
MIN_COVERAGE = 0.1  # share of the training images that are near a sample at the end
CRITERION = (
    "A training has failed at the earliest of: the first record by which an update was dropped "
    "because it was not finite; the evaluation from which the distance stays, until the end, above "
    f"{COLLAPSE_FACTOR:g} times the lowest before it and above {CLOSE_SHARE:g} of the distance of "
    f"blank images; the last step, if coverage is then below {MIN_COVERAGE:g}; step 0, if no "
    f"evaluation comes below {LEARNED_SHARE:g} of the distance of blank images."
)


def failure_step(distances: Series, dropped: Series, blank: float, coverage: float) -> float | None:
    """Return the step at which a training failed by `CRITERION`, None if it did not.

    Args:
        distances: (step, distance to the training images); the first is the untrained generator's.
        dropped: (step, number of updates dropped so far).
        blank: distance of images of a single color.
        coverage: at the end, in [0, 1].
    """
    failures = [step for step, number in dropped if number > 0]
    for i, (step, _) in enumerate(distances[1:], start=1):
        lowest = min(value for _, value in distances[:i])
        if _stays_above(max(COLLAPSE_FACTOR * lowest, CLOSE_SHARE * blank), distances[i:]):
            failures.append(step)
    if coverage < MIN_COVERAGE:
        failures.append(distances[-1][0])
    if not any(value < LEARNED_SHARE * blank for _, value in distances[1:]):
        failures.append(0)
    return min(failures, default=None)


def _stays_above(bound: float, distances: Series) -> bool:
    return all(value > bound for _, value in distances)
