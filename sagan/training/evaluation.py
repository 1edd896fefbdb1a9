"""Evaluation while training: now and then, at a bounded share of the time; the best is kept.

It draws no random number that training draws, so that it changes no bit of the weights.
"""

import math
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import PartialState

from sagan.metrics.features.network import (
    DEFAULT_DISTANCE,
    DEFAULT_FEATURES,
    FeatureNetwork,
    open_network,
)
from sagan.run.checkpoint import checkpoints, step_of
from sagan.run.stats import Record, read_statistics
from sagan.runtime.extras import libraries_installed
from sagan.storage.files import write_json
from sagan.training.state import Training

if TYPE_CHECKING:
    from sagan.metrics.samples import Samples

SAMPLES, REFERENCE = 1000, 2000  # pictures: enough for a curve, too few for a number to publish
LEAST = 6  # training pictures: density and coverage look at five neighbors
SUBSETS = 10  # of the kernel distance
BEST_BY = f"metric/{DEFAULT_DISTANCE}"  # lower is better
SETUP_SECONDS = 5.0  # taken for loading libraries and network, before this machine is known
PROBE, MARGIN = 64, 1.25  # pictures whose time is measured, and what it is multiplied by


class Evaluator:
    """Decides when to evaluate, does so, and remembers the best; every process has one.

    Args:
        run: the run directory.
        training: the run in progress.

    Attributes:
        best_step: the step with the best evaluation so far, None before the first.
        improved: whether that is the latest step, which is then to be saved.
    """

    def __init__(self, run: Path, training: Training) -> None:
        self.training = training
        self.improved = False
        self._best_file = run / "best.json"
        records = read_statistics(run)
        self.best_step, self._best = _best_so_far(run, records, training.step)
        # Seconds, over the whole run; the main process's count.
        self._spent = _spent_before(records) if training.accelerator.is_main_process else 0.0
        self._next = SETUP_SECONDS  # what the next evaluation is expected to take
        self._network: FeatureNetwork | None = None
        self._given_up = self._agreed(not libraries_installed())  # on one machine of several

    def after_step(self, last: bool) -> Record:
        """Evaluate, if that is due and stays within its share of the time.

        Args:
            last: whether training ends with this step, after which an evaluation is due.

        Returns:
            "metric/<name>" of each metric, in the main process; empty without an evaluation.
        """
        self.improved = False
        if self._given_up or not self._due(last) or not self._affordable():
            return {}
        network = self._network or self._opened()
        if network is None:
            return {}
        record: Record = {}
        try:
            with self._timed():
                record = _measure(self.training, network)
        except Exception as error:
            # One of several processes cannot leave the others waiting for it.
            if self.training.accelerator.num_processes > 1:
                raise
            self._give_up(error)
        self._compare(record.get(BEST_BY, math.inf))
        return {**record, "metric/seconds": self._spent} if record else {}

    def _opened(self) -> FeatureNetwork | None:
        """The feature network; None where it cannot be had, or there is no time for it now."""
        error: Exception | None = None
        try:
            with self._timed():
                self._network, seconds = _prepare(self.training)
            self._next = seconds
        except Exception as found:
            error = found
        if self._agreed(error is not None):
            self._give_up(error)
        return self._network if not self._given_up and self._affordable() else None

    def _give_up(self, error: Exception | None) -> None:
        """Go on without: whatever it is, it is no reason to end a training."""
        if error is not None:
            warnings.warn(f"training goes on without evaluations: {error}", stacklevel=1)
        self._given_up = True

    def saved(self) -> None:
        """The latest step's checkpoint is on the disk: if it is the best, best.json says so."""
        if self.improved and self.training.accelerator.is_main_process:
            best = {"step": self.best_step, BEST_BY: self._best}
            write_json(self._best_file, best)

    def _due(self, last: bool) -> bool:
        every = self.training.config.evaluate_every
        due = every > 0 and (last or self.training.step % every == 0)
        return due and len(self.training.dataset) >= LEAST

    def _affordable(self) -> bool:
        """Whether evaluations, with the next one, stay within their share; all processes agree."""
        spent = self._spent + self._next
        share = self.training.config.evaluate_share
        main = self.training.accelerator.is_main_process
        return self._agreed(main and spent <= share * (self.training.seconds + spent))

    def _compare(self, value: float) -> None:
        """Remember the latest step if it is the best; only the main process knows its value."""
        self.improved = self._agreed(value < self._best)
        if self.improved:
            self.best_step, self._best = self.training.step, value

    def _agreed(self, asked: bool) -> bool:
        return any(self.training.consensus.agree(int(asked)))

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """What happens within is evaluation, and the next will take as long."""
        started = time.perf_counter()
        yield
        self._next = time.perf_counter() - started
        self._spent += self._next


def _spent_before(records: list[Record]) -> float:
    """Seconds that evaluations took in the earlier parts of a run."""
    return max((record.get("metric/seconds", 0.0) for record in records), default=0.0)


def _best_so_far(run: Path, records: list[Record], step: int) -> tuple[int | None, float]:
    """The best of the steps up to this one that have a checkpoint, and its value.

    From the statistics, which are on the disk before a checkpoint is; best.json is for people.
    """
    there = {step_of(folder) for folder in checkpoints(run)}
    found = [
        (record[BEST_BY], int(record["step"]))
        for record in records
        if BEST_BY in record and record["step"] in there and record["step"] <= step
    ]
    value, best = min(found, default=(math.inf, None))
    return best, value


def _samples(training: Training) -> "Samples":
    from sagan.metrics.samples import Samples, matching_labels

    generator = training.average.generator
    labels = matching_labels(SAMPLES, generator.num_classes, training.dataset)
    return Samples(generator, SAMPLES, labels, training.config.seed)


def _prepare(training: Training) -> tuple[FeatureNetwork, float]:
    """The feature network, and the seconds that a first evaluation will take, reference and all."""
    device = training.accelerator.device
    network = open_network(DEFAULT_FEATURES)
    network.module.to(device)
    samples, probe = _samples(training), min(PROBE, SAMPLES)
    for _ in range(2):  # the first time is slower
        started = time.perf_counter()
        features, _ = network(torch.from_numpy(samples.draw(0, probe)).to(device))
        features.cpu()  # waits for the device
    seconds = time.perf_counter() - started
    return network, MARGIN * seconds * (SAMPLES + REFERENCE) / probe


def _measure(training: Training, network: FeatureNetwork) -> Record:
    """Metrics of samples against the training pictures, in the main process."""
    from sagan.metrics.features.extraction import FEATURES, extract, map_array
    from sagan.metrics.features.reference import reference_features
    from sagan.metrics.measures.density_coverage import density_coverage
    from sagan.metrics.measures.inputs import spread
    from sagan.metrics.measures.kernel import kernel_distance
    from sagan.metrics.measures.precision_recall import precision_recall

    processes = PartialState()
    dataset = training.dataset
    reference = reference_features(dataset, network, processes, spread(len(dataset), REFERENCE))
    with tempfile.TemporaryDirectory(prefix="sagan-") as folder:
        extract(network, _samples(training).draw, SAMPLES, Path(folder), processes, "samples")
        if reference is None:
            return {}
        features = map_array(Path(folder) / FEATURES, SAMPLES, network.width).copy()
    distance, _ = kernel_distance(features, reference, training.config.seed, SUBSETS)
    some = reference[spread(len(reference), SAMPLES)]
    few = features[: len(some)]  # as many: these metrics depend on both numbers
    precision, recall = precision_recall(few, some)
    density, coverage = density_coverage(few, some)
    return {
        BEST_BY: distance,
        "metric/precision": precision,
        "metric/recall": recall,
        "metric/density": density,
        "metric/coverage": coverage,
    }
