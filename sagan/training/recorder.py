"""Everything a training writes or reports besides checkpoints: records, images, progress."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from torch import Tensor

from sagan.errors import SaganError, reason
from sagan.run.run import Run
from sagan.run.stats import Record
from sagan.training.images import draw_images
from sagan.training.measurements import MEASURED_IMAGES, measure_attention
from sagan.training.pace import Estimate
from sagan.training.record_writer import RecordWriter
from sagan.training.signals import CLOSED_OUTPUT, Requests
from sagan.training.state import Training
from sagan.training.steps import DiscriminatorResult
from sagan.training.trackers import Trackers


class Reporter(Protocol):
    """Shows how a training is going; called in the main process only."""

    def started(self, step: int, steps: int) -> None:
        """Training starts at `step`, 0 for a new run, and is to end at `steps`."""

    def estimated(self, estimate: Estimate) -> None:
        """It is known what the training will take, or a time limit has changed its steps."""

    def advanced(self, step: int) -> None:
        """A step has ended."""

    def recorded(self, record: Record) -> None:
        """A record was measured."""

    def closed(self) -> None:
        """The run has ended, was interrupted or failed; this is the last call."""


class SilencedReporter:
    """Passes calls on until one fails to write, and then asks the training to save and stop.

    A terminal may be closed, and the program that reads the output may end, at any moment: that
    must not cost the steps since the last checkpoint.

    Args:
        reporter: the reporter to call.
        requests: where to ask.
    """

    def __init__(self, reporter: Reporter, requests: Requests) -> None:
        self._reporter = reporter
        self._requests = requests
        self._silent = False

    def started(self, step: int, steps: int) -> None:
        self._call(lambda: self._reporter.started(step, steps))

    def estimated(self, estimate: Estimate) -> None:
        self._call(lambda: self._reporter.estimated(estimate))

    def advanced(self, step: int) -> None:
        self._call(lambda: self._reporter.advanced(step))

    def recorded(self, record: Record) -> None:
        self._call(lambda: self._reporter.recorded(record))

    def closed(self) -> None:
        self._call(self._reporter.closed)

    def _call(self, report: Callable[[], None]) -> None:
        if self._silent:
            return
        try:
            report()
        except OSError:
            self._silent = True
            self._requests.stop = self._requests.stop or CLOSED_OUTPUT


class Recorder:
    """The main process's account of a run: writes records and images, calls the reporter.

    Args:
        run: the run, as found before training.
        training: the training to record.
        reporter: shows how it is going.
        credits: of the data; saved in the images.
        attention_figures: whether to draw them beside the grids of samples.
        trackers: further places for the records.

    Raises:
        SaganError: the run directory cannot be written to; any method may raise this.
    """

    def __init__(
        self,
        run: Run,
        training: Training,
        reporter: Reporter,
        credits: str = "",
        attention_figures: bool = True,
        trackers: Trackers | None = None,
    ) -> None:
        self.run = run.path
        self.training = training
        self.reporter = reporter
        self.credits = credits
        self.attention_figures = attention_figures
        with _writing_into(self.run):
            kept = run.records_until(training.step)
            self.writer = RecordWriter(self.run, kept, training.step, trackers)
        self._logged_step, self._logged_seconds = training.step, training.seconds

    def started(self) -> None:
        """Report the start; in a new run, record the attention of the untrained networks."""
        training = self.training
        self.reporter.started(training.step, training.steps)
        if training.step == 0 and (attention := self._attention()):
            with _writing_into(self.run):
                self.writer.write({"step": 0, **attention})

    def estimated(self, estimate: Estimate) -> None:
        """Report what the training will take."""
        self.reporter.estimated(estimate)

    def stepped(
        self,
        result: DiscriminatorResult,
        loss_g: Tensor,
        evaluated: Record,
        *,
        last: bool,
        skip_images: bool,
    ) -> None:
        """Record everything due after a step.

        Args:
            result: of the step's last discriminator update.
            loss_g: the generator's loss.
            evaluated: metrics, if there are any.
            last: whether this is the last step, after which everything is due.
            skip_images: whether to draw none and not to measure attention, which takes long.
        """
        training, config = self.training, self.training.config
        record = evaluated
        if training.record_due(last=last):
            record = evaluated | self._measured(result, loss_g)
            self.reporter.recorded(record)
        with _writing_into(self.run):
            if (last or training.step % config.sample_every == 0) and not skip_images:
                draw_images(
                    training.average.generator,
                    self.run,
                    training.step,
                    self.writer,
                    self.credits,
                    self.attention_figures,
                )
                record |= self._attention()
            if record:
                self.writer.write({"step": training.step, **record})
        self.reporter.advanced(training.step)

    def _attention(self) -> Record:
        training = self.training
        return measure_attention(
            training.average.generator,
            training.adversaries.discriminator,
            training.dataset.at_hand(MEASURED_IMAGES).images,
        )

    def _measured(self, result: DiscriminatorResult, loss_g: Tensor) -> Record:
        started = time.perf_counter()
        record = self.training.record(result, loss_g)
        # Reading the values waits for the device to finish work that belongs to the steps.
        self.training.seconds += time.perf_counter() - started
        return record | self._speed()

    def _speed(self) -> Record:
        """Return the seconds in steps so far, and images per second since the last record.

        A step counts as one batch, even if it has several D updates, each with its own batch.
        """
        training = self.training
        steps = training.step - self._logged_step
        seconds = training.seconds - self._logged_seconds
        self._logged_step, self._logged_seconds = training.step, training.seconds
        images = steps * training.config.batch_size
        return {"seconds": training.seconds, "images_per_second": images / max(seconds, 1e-9)}

    def flush(self) -> None:
        """Wait until all records are on disk: a checkpoint's steps are never recorded again."""
        with _writing_into(self.run):
            self.writer.flush()

    def close(self) -> None:
        """Close files and reporter."""
        self.reporter.closed()
        with _writing_into(self.run):
            self.writer.close()


@contextmanager
def _writing_into(run: Path) -> Iterator[None]:
    """Say in one line if records or images cannot be written."""
    try:
        yield
    except OSError as error:
        raise SaganError(f"cannot write into '{run}': {reason(error)}") from None
