"""When a training has failed, by a criterion that was laid down before any was run."""

from sagan.studies.run import Curve

COLLAPSE = 2.0  # times the lowest distance so far, to the end of the training
LEARNED = 0.5  # of the untrained generator's distance is what a training has to come below


def failure_step(distances: Curve, dropped: Curve) -> float | None:
    """The step at which a training failed, None if it did not: the earliest of three.

    * Numbers went wrong: the first record by which an update had been dropped because its loss or
      a gradient was not finite.
    * It collapsed: the first evaluation from which on the distance to the training pictures stays
      above `COLLAPSE` times the lowest before it, until the end.
    * It never learned: step 0, where no evaluation comes below `LEARNED` times the distance of
      the untrained generator.

    Args:
        distances: (step, distance), of the untrained generator first.
        dropped: (step, updates dropped so far).
    """
    found = [step for step, number in dropped if number > 0]
    found += [
        step
        for i, (step, _) in enumerate(distances)
        if i and _stays_above(COLLAPSE * min(value for _, value in distances[:i]), distances[i:])
    ]
    if not any(value < LEARNED * distances[0][1] for _, value in distances[1:]):
        found.append(0)
    return min(found, default=None)


def _stays_above(bound: float, distances: Curve) -> bool:
    return all(value > bound for _, value in distances)
