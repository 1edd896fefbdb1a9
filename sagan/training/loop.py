"""The training loop: when to update, record, evaluate, draw and save.

A run is a function of its configuration and its data: every random number follows from (seed,
step, shard), so resuming from a checkpoint gives the same bits as never having stopped, wherever
the device's kernels are deterministic, as on CPUs. With three or more processes, gradients are the
same to rounding only: float sums depend on their order, and the buckets in which gradients are
summed are rearranged after the first step.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from sagan.errors import SaganError, counted, is_out_of_memory
from sagan.nn.precision import exact_float32
from sagan.run import checkpoint, directory
from sagan.run.run import Run
from sagan.runtime.determinism import deterministic_kernels
from sagan.runtime.environment import describe_training, warn_of_changes
from sagan.runtime.processes import (
    leave_processes,
    make_accelerator,
    report_lost_processes,
    shorten_timeout,
)
from sagan.training.agreement import check_shared
from sagan.training.evaluation import Evaluator
from sagan.training.memory_estimate import settings_for_less_memory
from sagan.training.pace import Pace
from sagan.training.recorder import Recorder, Reporter, SilencedReporter
from sagan.training.session import RESUME, Session
from sagan.training.signals import Requests, received_requests
from sagan.training.state import Training
from sagan.training.trackers import Trackers

# The longest pauses between two exchanges of requests: each exchange waits for the slowest process.
EXCHANGE_SECONDS = 1.0
EXCHANGE_STEPS = 32


class Interrupted(Exception):
    """A signal stopped the training; everything up to `step` is saved."""

    def __init__(self, step: int, signal_number: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step
        self.signal_number = signal_number


def train(session: Session, reporter: Reporter) -> None:
    """Train a run to its last step; a run that has begun resumes from its newest checkpoint.

    With `minutes` in its configuration, the number of steps is corrected as the speed becomes
    known, and config.json with it.

    Under `accelerate launch` or `torchrun` every process calls this.

    Args:
        session: what to train, on which data, into which run directory.
        reporter: shows how it is going.

    Raises:
        SaganError: the data, the machine or the directory do not fit.
        Interrupted: by Ctrl-C, SIGTERM, a closed terminal or a closed standard output; the run is
            saved.
    """
    # Read again: before the lock was acquired, another process may have trained here.
    run = Run(session.run.path)
    with report_lost_processes(RESUME), _report_out_of_memory(session), ExitStack() as stack:
        stack.enter_context(deterministic_kernels(session.description.config.deterministic))
        accelerator = make_accelerator()
        check_shared(run.path)
        training = Training(session.description, session.dataset, accelerator)
        newest, environment = None, dict[str, Any]()
        if accelerator.is_main_process:
            stack.enter_context(directory.locked(run.path))
            _check_begun(run, session)
            environment = describe_training(accelerator, training.adversaries.precision)
            newest = run.newest_checkpoint
            if newest is not None:
                warn_of_changes(run.environment, environment)
        # All processes resume from the checkpoint that the main process has verified.
        found = checkpoint.step_of(newest) if newest is not None else -1
        (step,) = training.processes.all_reduce_max(found)
        _check_steps(run, step, training.config.steps)
        in_float32 = training.adversaries.precision == torch.float32
        stack.enter_context(exact_float32(enabled=in_float32))
        if step >= 0:
            training.restore(checkpoint.folder_of(run.path, step))
        elif session.start is not None:
            training.start_from(session.start)
        pace = Pace(training, session.limit_changed)
        evaluator = Evaluator(run, training)
        # Only now: whatever may refuse to resume leaves the run as it was.
        if accelerator.is_main_process:
            description = session.description.with_steps(training.steps)
            directory.create_run(run.path, description, environment)
        if step < 0 and session.start is not None:
            training.save(run.path)  # so that resuming does not need the model
        shorten_timeout()
        requests = stack.enter_context(received_requests())
        recorder = None
        if accelerator.is_main_process:
            shown = SilencedReporter(reporter, requests)
            trackers = Trackers(session.trackers, run.path, session.description)
            stack.callback(trackers.close)
            recorder = Recorder(
                run, training, shown, session.description.credits, session.attention_figures,
                trackers,
            )  # fmt: skip
            stack.callback(recorder.close)
            recorder.started()
        del run  # and with it its records, which may be many
        _train(session, training, evaluator, recorder, requests, pace)
        leave_processes()
        accelerator.end_training()


def check_steps(session: Session) -> None:
    """Refuse what `train` would refuse: fewer steps than the run has done.

    Raises:
        SaganError: they are fewer, or all checkpoints are damaged.
    """
    newest = session.run.newest_checkpoint
    if newest is not None:
        _check_steps(session.run, checkpoint.step_of(newest), session.description.config.steps)


def _check_begun(run: Run, session: Session) -> None:
    """Refuse to overwrite a run that another process has begun or changed since it was read.

    Args:
        run: as it is now that no other process can change it.
        session: prepared before that.

    Raises:
        SaganError: the run in the folder is not the one that the session was prepared from.
    """
    if (run.description if run.exists else None) != session.begun:
        raise SaganError(f"another process has trained in '{run}' meanwhile: run the command again")


def _check_steps(run: Run, done: int, steps: int) -> None:
    """Refuse to shorten a run below what it has done; its config.json would then be untrue.

    Raises:
        SaganError: `steps` is less than the steps done.
    """
    if done > steps:
        raise SaganError(
            f"'{run}' is at step {done} already, which is more than "
            f"{counted(steps, 'step', 'steps')}: ask for at "
            f"least {done}, or give another --out"
        )


@contextmanager
def _report_out_of_memory(session: Session) -> Iterator[None]:
    """Say in one line what to do if the device or the machine runs out of memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise SaganError(
            "the device has run out of memory: give "
            + settings_for_less_memory(session.description.config)
        ) from None


def _train(
    session: Session,
    training: Training,
    evaluator: Evaluator,
    recorder: Recorder | None,
    requests: Requests,
    pace: Pace,
) -> None:
    """Do the steps; only the main process has a recorder.

    Raises:
        Interrupted: a signal asked to stop.
    """
    run, config = session.run.path, training.config
    saved_at = time.monotonic()
    next_exchange = training.step
    while training.step < training.steps:
        started = time.perf_counter()
        result, loss_g = training.advance()
        stop = late = save = steps = 0
        if training.step >= next_exchange or training.step == training.steps:
            overdue = 0 < 60 * config.checkpoint_minutes < time.monotonic() - saved_at
            corrected = pace.corrected_steps() if recorder is not None else 0
            pause = _steps_between_exchanges(training, pace) if recorder is not None else 0
            # A signal or a deadline may reach one process only, or each at another step.
            stop, late, save, steps, pause = training.processes.all_reduce_max(
                requests.stop, pace.late, requests.save or overdue, corrected, pause
            )
            next_exchange = training.step + pause
        training.steps = training.step if late else steps or training.steps
        ended = training.step == training.steps
        periodic = any(
            every and training.step % every == 0
            for every in (config.checkpoint_every, config.keep_every)
        )
        due = stop or ended or save or steps or periodic
        if due or training.reads_values:
            training.check_finite()
        if training.record_due(last=ended):
            result, loss_g = training.over_processes(result, loss_g)
        training.seconds += time.perf_counter() - started
        pace.stepped()
        # After a request to stop there may be little time: save, and do nothing else.
        evaluated = {} if stop else evaluator.after_step(last=ended)
        if recorder is not None:
            if steps or late:
                directory.write_description(run, session.description.with_steps(training.steps))
            if pace.known or steps:
                recorder.estimated(pace.estimate())
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
            leave_processes()
            raise Interrupted(training.step, stop)


def _steps_between_exchanges(training: Training, pace: Pace) -> int:
    """Return after how many steps the processes are to exchange requests again."""
    if training.processes.number == 1:
        return 1
    return min(pace.steps_in(EXCHANGE_SECONDS), EXCHANGE_STEPS)
