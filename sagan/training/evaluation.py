"""Evaluation while training, in a bounded share of the time; keeps the best checkpoint.

It uses none of training's random numbers, so it changes no bit of the weights.
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

from sagan.images.rgb import as_rgb
from sagan.metrics.features.network import (
    DEFAULT_DISTANCE,
    DEFAULT_FEATURES,
    FeatureNetwork,
    open_network,
)
from sagan.run.checkpoint import checkpoints, step_of
from sagan.run.run import Run
from sagan.run.stats import Record
from sagan.runtime.extras import libraries_installed
from sagan.storage.files import write_json
from sagan.training.state import Training

if TYPE_CHECKING:
    from sagan.metrics.samples import Samples

NUM_SAMPLES, NUM_REFERENCE = 1000, 2000  # enough for a curve, too few for a result to publish
MIN_IMAGES = 6  # of the data set: density and coverage need five neighbors
NUM_SUBSETS = 10  # for the kernel distance
BEST_BY = f"metric/{DEFAULT_DISTANCE}"  # lower is better
SETUP_SECONDS = 5.0  # assumed for loading libraries and network, until it is measured
# The time of an evaluation is estimated from this many images, times a margin.
PROBE_IMAGES, PROBE_MARGIN = 64, 1.25


class Evaluator:
    """Decides when to evaluate, does so, and remembers the best step; every process has one.

    Args:
        run: the run, as found before training.
        training: the run in progress.

    Attributes:
        best_step: the step with the best evaluation so far, None before the first.
        improved: whether that is the latest step, which must then be saved.
    """

    def __init__(self, run: Run, training: Training) -> None:
        self.training = training
        self.improved = False
        self._best_file = run.path / "best.json"
        records = run.records_until(training.step)
        self.best_step, self._best = _best_so_far(run.path, records)
        # Seconds spent over the whole run, as the main process counts them.
        self._spent = _spent_before(records) if training.accelerator.is_main_process else 0.0
        self._next = SETUP_SECONDS  # what the next evaluation is expected to take
        self._network: FeatureNetwork | None = None
        # The libraries may be missing on one machine of several.
        self._given_up = self._any_process(not libraries_installed())

    def after_step(self, last: bool) -> Record:
        """Evaluate, if that is due and fits into the share of the time.

        Args:
            last: whether training ends with this step, after which an evaluation is always due.

        Returns:
            "metric/NAME" of each metric, in the main process; empty without an evaluation.
        """
        self.improved = False
        if self._given_up or not self._due(last) or not self._affordable():
            return {}
        network = self._network or self._open()
        if not network:
            return {}
        record: Record = {}
        try:
            with self._timed():
                record = _measure(self.training, network)
        except Exception as error:
            # One of several processes cannot give up alone: the others would wait for it.
            if self.training.accelerator.num_processes > 1:
                raise
            self._give_up(error)
        self._compare(record.get(BEST_BY, math.inf))
        return {**record, "metric/seconds": self._spent} if record else {}

    def _open(self) -> FeatureNetwork | None:
        """Return the feature network; None if it is unavailable or time is short."""
        error: Exception | None = None
        try:
            with self._timed():
                self._network, seconds = _prepare(self.training)
            self._next = seconds
        except Exception as found:
            error = found
        if self._any_process(error is not None):
            self._give_up(error)
        return self._network if not self._given_up and self._affordable() else None

    def _give_up(self, error: Exception | None) -> None:
        """Evaluate no more: no error of an evaluation is a reason to end a training."""
        if error is not None:
            reported = str(error).partition("\n")[0]  # torch adds a stack of its C++ calls
            warnings.warn(f"training continues without evaluations: {reported}", stacklevel=1)
        self._given_up = True

    def saved(self) -> None:
        """Update best.json, now that the latest step's checkpoint is on disk, if it is the best."""
        if self.improved and self.training.accelerator.is_main_process:
            best = {"step": self.best_step, BEST_BY: self._best}
            write_json(self._best_file, best)

    def _due(self, last: bool) -> bool:
        every = self.training.config.evaluate_every
        due = every > 0 and (last or self.training.step % every == 0)
        return due and len(self.training.dataset) >= MIN_IMAGES

    def _affordable(self) -> bool:
        """Return whether another evaluation fits into the share; all processes get the same."""
        spent = self._spent + self._next
        share = self.training.config.evaluate_share
        main = self.training.accelerator.is_main_process
        return self._any_process(main and spent <= share * (self.training.seconds + spent))

    def _compare(self, value: float) -> None:
        """Remember the latest step if it is the best; only the main process knows its value."""
        self.improved = self._any_process(value < self._best)
        if self.improved:
            self.best_step, self._best = self.training.step, value

    def _any_process(self, condition: bool) -> bool:
        """Return in every process whether the condition holds in any."""
        return any(self.training.processes.all_reduce_max(int(condition)))

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Count the time within the context as spent, and expect the next one to take as long."""
        started = time.perf_counter()
        yield
        self._next = time.perf_counter() - started
        self._spent += self._next


def _spent_before(records: list[Record]) -> float:
    """Return the seconds that evaluations took in the earlier parts of a run."""
    return max((record.get("metric/seconds", 0.0) for record in records), default=0.0)


def _best_so_far(run: Path, records: list[Record]) -> tuple[int | None, float]:
    """Return the best of the recorded steps that have a checkpoint, and its value.

    The records decide, since they are on disk before a checkpoint is; best.json is for people.
    """
    saved = {step_of(folder) for folder in checkpoints(run)}
    found = [
        (record[BEST_BY], int(record["step"]))
        for record in records
        if BEST_BY in record and record["step"] in saved
    ]
    value, best = min(found, default=(math.inf, None))
    return best, value


def _samples(training: Training) -> "Samples":
    from sagan.metrics.samples import Samples, matching_labels

    generator = training.average.generator
    labels = matching_labels(NUM_SAMPLES, generator.num_classes, training.dataset)
    return Samples(generator, NUM_SAMPLES, labels, training.config.seed)


def _prepare(training: Training) -> tuple[FeatureNetwork, float]:
    """Return the feature network, and an estimate of the seconds for a first evaluation.

    The first evaluation also computes the features of the real images.
    """
    device = training.accelerator.device
    network = open_network(DEFAULT_FEATURES)
    network.module.to(device)
    samples, probe = _samples(training), min(PROBE_IMAGES, NUM_SAMPLES)
    for _ in range(2):  # the first time is slower, and not counted
        started = time.perf_counter()
        features, _ = network(torch.from_numpy(as_rgb(samples.draw(0, probe))).to(device))
        features.cpu()  # waits for the device
    seconds = time.perf_counter() - started
    return network, PROBE_MARGIN * seconds * (NUM_SAMPLES + NUM_REFERENCE) / probe


def _measure(training: Training, network: FeatureNetwork) -> Record:
    """Return the metrics of samples against real images; empty except in the main process."""
    from sagan.metrics.features.extraction import FEATURES, extract, map_array
    from sagan.metrics.features.reference import reference_features
    from sagan.metrics.measures.density_coverage import density_coverage
    from sagan.metrics.measures.inputs import evenly_spaced
    from sagan.metrics.measures.kernel import kernel_distance
    from sagan.metrics.measures.precision_recall import precision_recall

    processes = PartialState()
    dataset = training.dataset.at_hand(NUM_REFERENCE)
    rows = evenly_spaced(len(dataset), NUM_REFERENCE)
    reference = reference_features(dataset, network, processes, rows)
    with tempfile.TemporaryDirectory(prefix="sagan-") as folder:
        extract(network, _samples(training).draw, NUM_SAMPLES, Path(folder), processes, "samples")
        if reference is None:
            return {}
        features = map_array(Path(folder) / FEATURES, NUM_SAMPLES, network.width).copy()
    distance, _ = kernel_distance(features, reference, training.config.seed, NUM_SUBSETS)
    # The other metrics depend on both numbers of images, so these are made equal.
    real = reference[evenly_spaced(len(reference), NUM_SAMPLES)]
    fake = features[: len(real)]
    precision, recall = precision_recall(fake, real)
    density, coverage = density_coverage(fake, real)
    return {
        BEST_BY: distance,
        "metric/precision": precision,
        "metric/recall": recall,
        "metric/density": density,
        "metric/coverage": coverage,
    }
