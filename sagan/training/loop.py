"""The training loop: what is updated, recorded, drawn and saved, and when.

A run is a function of its configuration and its data: every random number follows from (seed,
step, shard), so that going on from a checkpoint gives the same bits as never having stopped, where
the device's kernels are deterministic (CPUs' are). With three processes or more, float sums depend
on their order: gradients are then the same to rounding only, as they are added in buckets that are
laid out anew after the first step.
"""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.nn.precision import computing_in
from sagan.run import checkpoint, directory
from sagan.run.directory import RunDescription
from sagan.runtime.environment import describe_training, warn_of_changes
from sagan.runtime.processes import lose_patience, make_accelerator, together
from sagan.training.evaluation import Evaluator
from sagan.training.recorder import Recorder, Reporter
from sagan.training.session import RESUME
from sagan.training.signals import Requests, received_requests
from sagan.training.state import Training


class Interrupted(Exception):
    """Training was asked to stop by a signal; everything up to `step` is saved."""

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step
        self.signal_number = signal_number


def train(
    run: Path,
    description: RunDescription,
    dataset: PackedDataset,
    reporter: Reporter,
    time_limit: float = math.inf,
) -> None:
    """Train a run to its last step; a run that was begun goes on from its newest checkpoint.

    Under `accelerate launch` or `torchrun` every process calls this.

    Args:
        run: the run directory; made if it is not there.
        description: what to train; `config.steps` is where to stop.
        dataset: the images.
        reporter: told how it goes.
        time_limit: seconds after which to stop before the last step, saved like any other end.

    Raises:
        SaganError: the data, the machine or the directory do not fit.
        Interrupted: Ctrl-C or SIGTERM; the run is saved.
    """
    deadline = time.monotonic() + time_limit
    with together(RESUME), ExitStack() as stack:
        accelerator = make_accelerator()
        training = Training(description, dataset, accelerator)
        begun = None
        if accelerator.is_main_process:
            stack.enter_context(directory.locked(run))
            environment = describe_training(accelerator, training.adversaries.precision)
            begun = checkpoint.latest_checkpoint(run)
            if begun is not None:
                warn_of_changes(directory.read_environment(run), environment)
            directory.create_run(run, description, environment)
        stack.enter_context(computing_in(training.adversaries.precision))
        # All go on from the one that the first process found sound.
        (step,) = training.consensus.agree(-1 if begun is None else checkpoint.step_of(begun))
        if step >= 0:
            training.restore(checkpoint.folder_of(run, step))
        lose_patience()
        stack.enter_context(_memory_told())
        requests = stack.enter_context(received_requests())
        recorder = None
        if accelerator.is_main_process:
            recorder = Recorder(run, training, reporter)
            stack.callback(recorder.close)
            recorder.started(deadline)
        _train(run, training, recorder, requests, deadline)
        accelerator.end_training()


@contextmanager
def _memory_told() -> Iterator[None]:
    """End in one line where a device has not enough memory for what is trained."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise SaganError(
            "the device has no memory left for this: --set accumulation=2 (or 4) takes the batch "
            "in parts; else lower batch_size, channels_g or channels_d"
        ) from None


def _train(
    run: Path,
    training: Training,
    recorder: "Recorder | None",
    requests: Requests,
    deadline: float,
) -> None:
    config = training.config
    evaluator = Evaluator(run, training)
    saved_at = time.monotonic()
    while training.step < config.steps:
        started = time.perf_counter()
        result, loss_g = training.advance()
        now = time.monotonic()
        overdue = 0 < 60 * config.checkpoint_minutes < now - saved_at
        stop, late, save = training.consensus.agree(
            requests.stop, now > deadline, requests.save or overdue
        )
        ended = bool(late) or training.step == config.steps
        due = stop or ended or save or training.step % config.checkpoint_every == 0
        if due or training.is_looked_at:
            training.check_finite()
        training.seconds += time.perf_counter() - started
        # Whoever asks to stop may not wait for long: save first, and that is all.
        evaluated = {} if stop else evaluator.after_step(last=ended)
        if recorder is not None:
            recorder.stepped(result, loss_g, evaluated, last=ended, hurried=bool(stop))
        if due or evaluator.improved:
            if recorder is not None:
                recorder.flush()
            training.save(run, evaluator.best_step)
            evaluator.saved()
            saved_at, requests.save = time.monotonic(), False
        if ended:
            return
        if stop:
            raise Interrupted(training.step, stop)
