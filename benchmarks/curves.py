"""Cost of a step against the batch and against the resolution, ours and naive in turn."""

import statistics
from dataclasses import dataclass

from benchmarks.naive import Naive
from benchmarks.step import NUM_CLASSES, configuration, ready_batches, start_training
from benchmarks.timing import alternate

BATCHES = (8, 16, 32, 64, 128)
RESOLUTIONS = (32, 64, 128)
# cpu-64's width and batch at every resolution, attention at 16 x 16.
WIDTH, BATCH = 16, 16


@dataclass(frozen=True)
class CurvePoint:
    """One point: seconds a step at each repetition, by way ("ours", "naive")."""

    curve: str
    x: int
    batch_size: int
    seconds: dict[str, list[float]]

    def milliseconds_per_image(self, way: str) -> float:
        """Median time of a step over its batch."""
        return 1000 * statistics.median(self.seconds[way]) / self.batch_size


def measure(repetitions: int) -> list[CurvePoint]:
    """`cpu-32` at several batches, then one width at several resolutions."""
    points = []
    for batch in BATCHES:
        points.append(_point("batch", batch, "cpu-32", repetitions, batch_size=batch))
    for resolution in RESOLUTIONS:
        settings = dict(resolution=resolution, channels_g=WIDTH, channels_d=WIDTH, batch_size=BATCH)
        points.append(_point("resolution", resolution, "cpu-64", repetitions, **settings))
    return points


def _point(curve: str, x: int, preset: str, repetitions: int, **settings: int) -> CurvePoint:
    config = configuration(preset, **settings)
    training = start_training(config)
    naive = Naive(config, NUM_CLASSES, ready_batches(config))
    training.advance()
    naive.update_generator()
    works = {"ours": training.advance, "naive": naive.step}
    return CurvePoint(curve, x, config.batch_size, alternate(works, repetitions, f"{curve} {x}"))


def table(points: list[CurvePoint]) -> list[str]:
    """The figures as lines of markdown."""
    lines = [
        "| against | | batch | ours, ms an image | naive, ms an image |",
        "| --- | --- | --- | --- | --- |",
    ]
    for point in points:
        ours, naive = (point.milliseconds_per_image(way) for way in ("ours", "naive"))
        lines.append(
            f"| {point.curve} | {point.x} | {point.batch_size} | {ours:.2f} | {naive:.2f} |"
        )
    return lines
