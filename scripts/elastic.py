"""Lose simulated machines under torchrun and give them back: how soon the training resumes.

    python scripts/elastic.py
    python scripts/elastic.py --only elastic

What a scheduler does, on the machines of `hosts.py`: it asks a job to end and requeues it, a spot
machine disappears with or without a notice and another takes its place, and an elastic job goes
from three machines to two and back. Needs Linux, root and iproute2; elsewhere it says so and ends.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import hosts
from hosts import PORT, Cases, Cluster, Host, compare, end_launchers, finish, show, wait_until

PATIENCE = 10  # seconds, as in hosts.py
RESUMED_WITHIN = 60.0  # seconds
NOTICE = 30.0  # seconds that schedulers leave between SIGTERM and SIGKILL
START = 240.0  # seconds that the first step may take on a busy machine
hosts.STEPS = 60
EVERY = int(hosts.SETTINGS["checkpoint_every"])  # type: ignore[call-overload]
FOREVER = 10**6  # steps
# Otherwise torchrun keeps the address of the first meeting, and a machine that joins later waits
# for it in vain (torch 2.14, `DynamicRendezvousHandler.next_rendezvous`).
JOINABLE = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def main() -> int:
    """Run all cases; return 1 if one did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases with this in their name")
    arguments = parser.parse_args()
    if missing := hosts.what_is_missing():
        print(f"skipped: {missing}")
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):  # clean up first
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    hosts.remove_abandoned()
    failed = 0
    print(
        "| case | hosts | expected | seen | seconds | ok |\n| --- | --- | --- | --- | --- | --- |"
    )
    for number, functions in ((2, (requeue, spot_notice, spot_kill)), (3, (elastic,))):
        chosen = [function for function in functions if arguments.only in function.__name__]
        if not chosen:
            continue
        with (
            tempfile.TemporaryDirectory(prefix="sagan-elastic-") as name,
            Cluster(number, Path(name)) as cluster,
        ):
            cases = Cases(cluster)
            for function in chosen:
                function(cases)
            failed += cases.rows.count(False)
    print(f"\n{failed} not as expected")
    return 1 if failed else 0


@dataclass
class Job:
    """One training under torchrun, on machines that come and go.

    Attributes:
        cases: the machines, and numbers for ports.
        run: the name of its run directory.
        nodes: torchrun's --nnodes.
        options: more of torchrun's options.
        steps: in all; 0 for as many as `hosts.STEPS`.
        variables: of torchrun's environment.
        launchers: torchrun on each machine where it runs.
        reached: the last step before it resumed the last time.
    """

    cases: Cases
    run: str
    nodes: str
    options: tuple[str, ...] = ()
    steps: int = 0
    variables: dict[str, str] = field(default_factory=dict)
    launchers: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    port: int = 0
    starts: int = 0
    reached: int = 0

    def start(self, *where: Host) -> None:
        """Start torchrun on machines; where none runs, on a new port."""
        if not self.launchers:
            self.cases.jobs += 1
            self.port = PORT + self.cases.jobs
        first = self.cases.cluster.hosts[0]
        steps = ["--steps", str(self.steps)] if self.steps else []
        for host in where:
            command = [
                *host.prefix, sys.executable, "-m", "torch.distributed.run", "--nnodes", self.nodes,
                "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint",
                f"{first.name}:{self.port}", *self.options, "-m", "sagan",
                *self.cases.train(self.run, *steps),
            ]  # fmt: skip
            self.starts += 1
            log = self.cases.cluster.folder / f"{self.run}-{self.starts}.log"
            with log.open("wb") as file:
                self.launchers[host.number] = subprocess.Popen(
                    command, stdout=file, stderr=subprocess.STDOUT,
                    env=hosts.environment(**self.variables),
                )  # fmt: skip

    def lose(self, host: Host) -> None:
        """Kill everything that the job has on a machine, without notice."""
        launcher = self.launchers.pop(host.number)
        found = subprocess.run(
            ["ip", "netns", "pids", host.namespace], capture_output=True, text=True, check=True
        )
        assert host.agent is not None
        for pid in {*map(int, found.stdout.split())} - {host.agent.pid}:
            hosts._kill(pid, signal.SIGKILL)
        launcher.wait()

    def end(self, seconds: float) -> bool:
        """Wait until torchrun has ended everywhere; return whether it did so by itself."""
        codes = end_launchers([*self.launchers.values()], seconds)
        self.launchers.clear()
        return None not in codes

    @property
    def folder(self) -> Path:
        return self.cases.run_folder(self.run)

    @property
    def last_step(self) -> int:
        """The last step that has been recorded."""
        try:
            lines = (self.folder / "stats.jsonl").read_text().splitlines()
            return max((json.loads(line)["step"] for line in lines), default=0)
        except (OSError, ValueError):  # being written
            return -1

    @property
    def saved_step(self) -> int:
        """The step of the newest checkpoint."""
        found = (self.folder / "checkpoints").glob("step-*/manifest.json")
        return max((int(path.parent.name.removeprefix("step-")) for path in found), default=0)

    @property
    def processes(self) -> int:
        """How many train together, as the run has recorded."""
        return int(json.loads((self.folder / "environment.json").read_text())["processes"])

    def resumes(self) -> list[int]:
        """Return the steps from which the training has resumed, each time."""
        logs = sorted(self.cases.cluster.folder.glob(f"{self.run}-*.log"))
        text = "\n".join(log.read_text(errors="replace") for log in logs)
        return [int(step) for step in re.findall(r"step (\d+) of \d+: resuming", text)]

    def trains(self) -> None:
        """Wait until it has trained for two checkpoints, and a step more."""
        enough = self.saved_step + 2 * EVERY + 1
        if not wait_until(lambda: self.last_step >= enough, START):
            self.print_logs()
            raise SystemExit(f"{self.run} does not train")

    def resumed(self, before: int) -> tuple[int, float, float]:
        """Wait for the first new step after a restart.

        Args:
            before: how often it had resumed before.

        Returns:
            The step that it resumed from, the time of the last step before, as far as it was seen
            from this call on, and that of the first step after.
        """
        self.reached, at = self.last_step, time.monotonic()

        def steps_again() -> bool:
            nonlocal at
            found = self.resumes()
            if len(found) == before and self.last_step > self.reached:
                self.reached, at = self.last_step, time.monotonic()
            return len(found) > before and self.last_step > found[-1]

        if not wait_until(steps_again, START):
            self.print_logs()
            return -1, at, float("inf")
        return self.resumes()[-1], at, time.monotonic()

    def print_logs(self) -> None:
        for log in sorted(self.cases.cluster.folder.glob(f"{self.run}-*.log")):
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}", file=sys.stderr)


def untouched(cases: Cases) -> Path:
    """Train the reference without any fault, once for all cases."""
    folder = cases.run_folder("untouched")
    if not folder.exists():
        workers = cases.start(cases.train("untouched"))
        if any(finish(workers, START)):
            show(workers)
            raise SystemExit("a training without any fault did not finish")
    return folder


def lost_and_requeued(
    cases: Cases, name: str, lose: Callable[[Job], None], most_lost: int, allowed: float
) -> None:
    """Lose machines of a job, start it again on all, and compare with the untouched run.

    Args:
        cases: the machines.
        name: of the case, and of its run.
        lose: what happens to the job.
        most_lost: steps that may be lost.
        allowed: seconds after which torchrun must have ended on all machines.
    """
    reference = untouched(cases)
    job = Job(cases, name.replace(" ", "-"), "2")
    job.start(*cases.cluster.hosts)
    job.trains()
    begun = time.monotonic()
    lose(job)
    ended = job.end(allowed + 30)
    took = time.monotonic() - begun
    last, saved = job.last_step, job.saved_step
    ok = ended and took < allowed and last - saved <= most_lost
    expected = f"ends within {allowed:.0f} s, at most {most_lost} steps lost"
    cases.row(name, expected, f"step {last}, saved {saved}", took, ok)
    before, begun = len(job.resumes()), time.monotonic()
    job.start(*cases.cluster.hosts)
    step, _, when = job.resumed(before)
    took = when - begun
    ok = step == saved and took < RESUMED_WITHIN
    cases.row(f"{name}: requeued", "trains within a minute", f"from step {step}", took, ok)
    finished = job.end(START)
    same = compare(job.folder, reference) if finished else "not finished"
    took = time.monotonic() - begun
    cases.row(f"{name}: finished", "the bits of an untouched run", same, took, same == "same bits")
    if same != "same bits":
        job.print_logs()


def requeue(cases: Cases) -> None:
    """SLURM at a time limit or a preemption: SIGTERM everywhere, SIGKILL 30 seconds later."""

    def lose(job: Job) -> None:
        for launcher in job.launchers.values():
            launcher.send_signal(signal.SIGTERM)

    lost_and_requeued(cases, "SIGTERM on all hosts", lose, 0, NOTICE)


def spot_notice(cases: Cases) -> None:
    """A spot machine with a notice: SIGTERM there, and the job saves everywhere."""

    def lose(job: Job) -> None:
        job.launchers[2].send_signal(signal.SIGTERM)

    lost_and_requeued(cases, "SIGTERM on one host", lose, 0, NOTICE)


def spot_kill(cases: Cases) -> None:
    """A spot machine without a notice."""

    def lose(job: Job) -> None:
        job.lose(cases.cluster.hosts[-1])

    lost_and_requeued(cases, "one host killed", lose, EVERY, PATIENCE + NOTICE)


def elastic(cases: Cases) -> None:
    """Three machines, two, and three again, without a scheduler's help."""
    options = ("--max-restarts", "3", "--rdzv-conf", "last_call_timeout=5")
    job = Job(cases, "elastic", "2:3", options, FOREVER, JOINABLE)
    job.start(*cases.cluster.hosts)
    job.trains()
    if job.processes != 3:
        raise SystemExit(f"began with {job.processes} processes")
    third = cases.cluster.hosts[2]
    changes: list[tuple[str, Callable[[], None], int, int]] = [
        ("elastic, 3 -> 2: a host killed", lambda: job.lose(third), 2, EVERY),
        ("elastic, 2 -> 3: a host joins", lambda: job.start(third), 3, 0),
    ]
    for name, change, processes, most_lost in changes:
        before = len(job.resumes())
        change()
        step, paused, when = job.resumed(before)
        took = when - paused
        seen = f"{job.processes} processes, from step {step}, after step {job.reached}"
        ok = (
            job.processes == processes and took < RESUMED_WITHIN and step >= job.reached - most_lost
        )
        expected = f"pauses for less than a minute, at most {most_lost} steps lost"
        cases.row(name, expected, seen, took, ok)
        if not ok:
            job.print_logs()
        job.trains()
    begun = time.monotonic()
    for launcher in job.launchers.values():
        launcher.send_signal(signal.SIGTERM)
    ended = job.end(NOTICE)
    ok = ended and job.last_step == job.saved_step
    seen = f"step {job.last_step}, saved {job.saved_step}"
    cases.row("elastic: SIGTERM", "ends and saves", seen, time.monotonic() - begun, ok)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
