"""What a training leaves besides checkpoints: statistics, pictures, and what is told on the way."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from torch import Tensor

from sagan.errors import SaganError
from sagan.run.stats import Record
from sagan.storage.fsync import reason
from sagan.training.pictures import draw_pictures
from sagan.training.state import Training
from sagan.training.statistics import StatisticsWriter, attention_statistics
from sagan.training.steps import DiscriminatorResult


class Reporter(Protocol):
    """Where a run tells how it goes; called in the main process only."""

    def started(self, step: int, steps: int, deadline: float) -> None:
        """Training goes on from `step` (0 for a new run) to `steps` or a time.monotonic()."""

    def advanced(self, step: int) -> None:
        """A step ended."""

    def recorded(self, record: Record) -> None:
        """Statistics were measured."""

    def closed(self) -> None:
        """The run ended, was interrupted or failed: nothing more will be told."""


class Recorder:
    """The main process's account of a run: statistics, pictures, and what the reporter is told."""

    def __init__(self, run: Path, training: Training, reporter: Reporter) -> None:
        self.run = run
        self.training = training
        self.reporter = reporter
        with _writing_into(run):
            self.statistics = StatisticsWriter(run, training.step)
        self._logged_step, self._logged_seconds = training.step, training.seconds

    def started(self, deadline: float) -> None:
        """Tell where training begins or goes on; record how untrained networks attend."""
        training = self.training
        self.reporter.started(training.step, training.config.steps, deadline)
        if training.step == 0 and (attention := self._attention()):
            with _writing_into(self.run):
                self.statistics.write({"step": 0, **attention})

    def stepped(
        self,
        result: DiscriminatorResult,
        loss_g: Tensor,
        evaluated: Record,
        *,
        last: bool,
        hurried: bool,
    ) -> None:
        """Record what is due after a step, and what was evaluated.

        Args:
            result: of the step's latest D update.
            loss_g: of its G update.
            evaluated: metrics, if there are any.
            last: after the last step all is due.
            hurried: whoever asked to stop may not wait for long: no pictures.
        """
        training, config = self.training, self.training.config
        record = evaluated
        if last or training.step % config.log_every == 0:
            record = evaluated | self._measured(result, loss_g)
            self.reporter.recorded(record)
        with _writing_into(self.run):
            if (last or training.step % config.sample_every == 0) and not hurried:
                draw_pictures(training.average.generator, self.run, training.step, self.statistics)
                record |= self._attention()
            if record:
                self.statistics.write({"step": training.step, **record})
        self.reporter.advanced(training.step)

    def _attention(self) -> Record:
        training = self.training
        return attention_statistics(
            training.average.generator,
            training.adversaries.discriminator,
            training.dataset.images,
        )

    def _measured(self, result: DiscriminatorResult, loss_g: Tensor) -> Record:
        started = time.perf_counter()
        record = self.training.record(result, loss_g)
        # Reading the values waits for the device, for work that belongs to the steps.
        self.training.seconds += time.perf_counter() - started
        return record | self._speed()

    def _speed(self) -> Record:
        """Time in updates so far, in seconds, and pictures a second since the last log: a batch
        for each step, however many D updates that has, each with a batch of its own."""
        training = self.training
        steps = training.step - self._logged_step
        seconds = training.seconds - self._logged_seconds
        self._logged_step, self._logged_seconds = training.step, training.seconds
        images = steps * training.config.batch_size
        return {"seconds": training.seconds, "images_per_second": images / max(seconds, 1e-9)}

    def flush(self) -> None:
        """Wait until the statistics are on the disk: after a checkpoint none is recorded anew."""
        with _writing_into(self.run):
            self.statistics.flush()

    def close(self) -> None:
        """Close the statistics and tell the reporter that it is over."""
        self.reporter.closed()
        with _writing_into(self.run):
            self.statistics.close()


@contextmanager
def _writing_into(run: Path) -> Iterator[None]:
    """End in one line where a run's statistics and pictures cannot be written."""
    try:
        yield
    except OSError as error:
        raise SaganError(f"cannot write into {run}: {reason(error)}") from None
