"""The training loop: when to update, record, evaluate, draw and save.

A run is a function of its configuration and its data: every random number follows from (seed,
step, shard), so resuming from a checkpoint gives the same bits as never having stopped, wherever
the device's kernels are deterministic, as on CPUs. With three or more processes, gradients are the
same to rounding only: float sums depend on their order, and the buckets in which gradients are
summed are rearranged after the first step.
"""

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from sagan.errors import SaganError, is_out_of_memory
from sagan.nn.precision import exact_float32
from sagan.run import checkpoint, directory
from sagan.run.run import Run
from sagan.runtime.environment import describe_training, warn_of_changes
from sagan.runtime.processes import make_accelerator, report_lost_processes, shorten_timeout
from sagan.training.evaluation import Evaluator
from sagan.training.recorder import Recorder, Reporter, SilencedReporter
from sagan.training.session import RESUME, Session
from sagan.training.signals import Requests, received_requests
from sagan.training.state import Training


class Interrupted(Exception):
    """A signal stopped the training; everything up to `step` is saved."""

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step
        self.signal_number = signal_number


def train(session: Session, reporter: Reporter, time_limit: float = math.inf) -> None:
    """Train a run to its last step; a run that has begun resumes from its newest checkpoint.

    Under `accelerate launch` or `torchrun` every process calls this.

    Args:
        session: what to train, on which data, into which run directory.
        reporter: shows how it is going.
        time_limit: seconds after which to stop before the last step, saved like any other end.

    Raises:
        SaganError: the data, the machine or the directory do not fit.
        Interrupted: by Ctrl-C, SIGTERM, a closed terminal or a closed standard output; the run is
            saved.
    """
    deadline = time.monotonic() + time_limit
    # Read again: before the lock was acquired, another process may have trained here.
    run = Run(session.run.path)
    with report_lost_processes(RESUME), _report_out_of_memory(), ExitStack() as stack:
        accelerator = make_accelerator()
        training = Training(session.description, session.dataset, accelerator)
        newest, environment = None, dict[str, Any]()
        if accelerator.is_main_process:
            stack.enter_context(directory.locked(run.path))
            environment = describe_training(accelerator, training.adversaries.precision)
            newest = run.newest_checkpoint
            if newest is not None:
                warn_of_changes(run.environment, environment)
        # All processes resume from the checkpoint that the main process has verified.
        found = checkpoint.step_of(newest) if newest is not None else -1
        (step,) = training.processes.all_reduce_max(found)
        _check_steps(run, step, training.config.steps)
        if accelerator.is_main_process:
            directory.create_run(run.path, session.description, environment)
        in_float32 = training.adversaries.precision == torch.float32
        stack.enter_context(exact_float32(enabled=in_float32))
        if step >= 0:
            training.restore(checkpoint.folder_of(run.path, step))
        shorten_timeout()
        requests = stack.enter_context(received_requests())
        recorder = None
        if accelerator.is_main_process:
            recorder = Recorder(run, training, SilencedReporter(reporter, requests))
            stack.callback(recorder.close)
            recorder.started(deadline)
        evaluator = Evaluator(run, training)
        _train(run.path, training, evaluator, recorder, requests, deadline)
        accelerator.end_training()


def _check_steps(run: Run, done: int, steps: int) -> None:
    """Refuse to shorten a run below what it has done; its config.json would then be untrue.

    Raises:
        SaganError: `steps` is less than the steps done.
    """
    if done > steps:
        raise SaganError(
            f"'{run}' is at step {done} already, which is more than {steps} steps: ask for at "
            f"least {done}, or give another --out"
        )


@contextmanager
def _report_out_of_memory() -> Iterator[None]:
    """Say in one line what to do if the device or the machine runs out of memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise SaganError(
            "the device has run out of memory: --set accumulation=2 (or 4) processes the batch in "
            "parts; otherwise lower batch_size, channels_g or channels_d"
        ) from None


def _train(
    run: Path,
    training: Training,
    evaluator: Evaluator,
    recorder: Recorder | None,
    requests: Requests,
    deadline: float,
) -> None:
    """Do the steps; only the main process has a recorder.

    Raises:
        Interrupted: a signal asked to stop.
    """
    config = training.config
    saved_at = time.monotonic()
    while training.step < config.steps:
        started = time.perf_counter()
        result, loss_g = training.advance()
        now = time.monotonic()
        overdue = 0 < 60 * config.checkpoint_minutes < now - saved_at
        # A signal or a deadline may reach one process only, or each at another step.
        stop, late, save = training.processes.all_reduce_max(
            requests.stop, now > deadline, requests.save or overdue
        )
        ended = bool(late) or training.step == config.steps
        due = stop or ended or save or training.step % config.checkpoint_every == 0
        if due or training.reads_values:
            training.check_finite()
        training.seconds += time.perf_counter() - started
        # After a request to stop there may be little time: save, and do nothing else.
        evaluated = {} if stop else evaluator.after_step(last=ended)
        if recorder is not None:
            recorder.stepped(result, loss_g, evaluated, last=ended, skip_images=bool(stop))
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
