"""Cost of a step by batch size and by resolution, ours and naive in turn."""

import statistics
from dataclasses import dataclass

from benchmarks.naive import Naive
from benchmarks.timing import Times, alternate
from benchmarks.workload import NUM_CLASSES, configuration, ready_batches, start_training

BATCHES = (8, 16, 32, 64, 128)
RESOLUTIONS = (32, 64, 128)
# classic-64's width and batch at every resolution, attention at 16 x 16.
WIDTH, BATCH = 16, 16


@dataclass(frozen=True)
class CurvePoint:
    """A point of a curve.

    Attributes:
        curve: "batch" or "resolution".
        x: the batch size or the resolution.
        batch_size: images per update.
        seconds: per step at each repetition, of "ours" and "naive".
    """

    curve: str
    x: int
    batch_size: int
    seconds: Times

    def milliseconds_per_image(self, name: str) -> float:
        """Return the median time of a step divided by its batch size."""
        return 1000 * statistics.median(self.seconds[name]) / self.batch_size


def measure(repetitions: int) -> list[CurvePoint]:
    """Measure `classic-32` at several batch sizes, then one width at several resolutions."""
    points = []
    for batch in BATCHES:
        points.append(_point("batch", batch, "classic-32", repetitions, batch_size=batch))
    for resolution in RESOLUTIONS:
        settings = dict(resolution=resolution, channels_g=WIDTH, channels_d=WIDTH, batch_size=BATCH)
        points.append(_point("resolution", resolution, "classic-64", repetitions, **settings))
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
    """Return the figures as lines of Markdown."""
    lines = [
        "| by | | batch | ours, ms per image | naive, ms per image |",
        "| --- | --- | --- | --- | --- |",
    ]
    for point in points:
        ours, naive = (point.milliseconds_per_image(name) for name in ("ours", "naive"))
        lines.append(
            f"| {point.curve} | {point.x} | {point.batch_size} | {ours:.2f} | {naive:.2f} |"
        )
    return lines
