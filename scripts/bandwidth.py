"""Time steps of several machines with limited bandwidth, beside what `benchmarks scaling` computes.

    python scripts/bandwidth.py
    python scripts/bandwidth.py --processes 2 3 4 --megabits 100 1000 --preset classic-32

The machines are those of `hosts.py`, with one process each, pinned to the cores in turn. Links
are slowed down in both directions by tc's token buckets. Each turn times some steps with links at
full speed, then at each bandwidth. The model adds the time of sending to the step at full speed of
as many processes on the same cores, so that sharing cores does not count. Needs Linux, root,
iproute2 and a kernel with `sch_tbf`; elsewhere it says so and ends.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import hosts
from hosts import Cluster, Host

sys.path.insert(0, str(hosts.ROOT))

PORT = 29400
FULL = 0  # no limit


def main() -> int:
    """Measure and print the table; return 1 if a process failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="classic-32")
    parser.add_argument("--batch", type=int, default=4, help="images per process")
    parser.add_argument("--processes", type=int, nargs="*", default=[2, 3, 4])
    parser.add_argument("--megabits", type=int, nargs="*", default=[1000, 100])
    parser.add_argument("--steps", type=int, default=3, help="timed together")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the figures to a file")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        serve_steps(arguments.preset, arguments.batch, arguments.steps)
        return 0
    if missing := hosts.what_is_missing() or what_is_missing():
        print(f"skipped: {missing}")
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):  # clean up first
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    hosts.remove_abandoned()
    results = [
        {"preset": arguments.preset, "processes": number, "megabits": megabits, "seconds": times}
        for number in arguments.processes
        for megabits, times in measure(arguments, number).items()
    ]
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print("\n".join(table(results)))
    return 0


def what_is_missing() -> str:
    """Return why links cannot be slowed down here; empty if they can."""
    probe = f"sagan{os.getpid()}probe"
    hosts._ip("netns", "add", probe)
    try:
        made = subprocess.run(
            ["ip", "netns", "exec", probe, *_bucket("add", "lo", 100)], capture_output=True,
            text=True, check=False,
        )  # fmt: skip
    finally:
        hosts._ip("netns", "del", probe)
    return f"links cannot be slowed down here ({made.stderr.strip()})" if made.returncode else ""


def _bucket(action: str, device: str, megabits: int) -> list[str]:
    # A burst of 2 ms, which the kernel's timers can keep up with, and at least some packets.
    burst = f"{max(64_000, 250 * megabits)}"
    rate = ["rate", f"{megabits}mbit", "burst", burst, "latency", "200ms"]
    return ["tc", "qdisc", action, "dev", device, "root", "tbf", *rate]


def measure(arguments: argparse.Namespace, number: int) -> dict[int, list[float]]:
    """Return the seconds of a step at each bandwidth, one value for each turn."""
    times: dict[int, list[float]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="sagan-bandwidth-") as name,
        Cluster(number, Path(name)) as cluster,
        workers(cluster, arguments) as processes,
    ):
        for _ in range(arguments.turns):
            for megabits in (FULL, *arguments.megabits):
                with limited(cluster, megabits):
                    seconds = take_steps(processes)
                times.setdefault(megabits, []).append(seconds)
                what = f"{megabits} Mbit/s" if megabits else "full speed"
                print(f"{number} processes, {what}: {seconds:.3f} s", file=sys.stderr, flush=True)
    return times


@contextmanager
def workers(
    cluster: Cluster, arguments: argparse.Namespace
) -> Iterator[list["subprocess.Popen[str]"]]:
    """Start a process on each machine, and wait until all have taken a step."""
    cores = sorted(os.sched_getaffinity(0))
    first, number = cluster.hosts[0], len(cluster.hosts)
    with ExitStack() as stack:
        started = []
        for rank, host in enumerate(cluster.hosts):
            variables = {
                "RANK": str(rank), "WORLD_SIZE": str(number), "LOCAL_RANK": "0",
                "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": first.address, "MASTER_PORT": str(PORT),
                "SAGAN_PATIENCE": "300",
            }  # fmt: skip
            command = [
                "taskset", "-c", str(cores[rank % len(cores)]), *host.prefix, sys.executable,
                str(Path(__file__).resolve()), "--worker", "--preset", arguments.preset, "--batch",
                str(arguments.batch), "--steps", str(arguments.steps),
            ]  # fmt: skip
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                env=hosts.environment(**variables),
            )  # fmt: skip
            stack.callback(process.wait)
            stack.callback(process.kill)
            started.append(process)
        _read(started)
        yield started


def take_steps(processes: list["subprocess.Popen[str]"]) -> float:
    """Let all take some steps; return the seconds of one, of the slowest process."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return max(_read(processes))


def _read(processes: list["subprocess.Popen[str]"]) -> list[float]:
    lines = [process.stdout.readline() for process in processes if process.stdout is not None]
    if not all(lines):
        raise SystemExit("a process of the benchmark ended early")
    return [float(line) for line in lines]


@contextmanager
def limited(cluster: Cluster, megabits: int) -> Iterator[None]:
    """Slow all links down within the context, in both directions."""
    if megabits == FULL:
        yield
        return
    ends = [end for host in cluster.hosts for end in _ends(cluster, host)]
    for namespace, device in ends:
        hosts._ip("netns", "exec", namespace, *_bucket("add", device, megabits))
    try:
        yield
    finally:
        for namespace, device in ends:
            hosts._ip("netns", "exec", namespace, "tc", "qdisc", "del", "dev", device, "root")


def _ends(cluster: Cluster, host: Host) -> list[tuple[str, str]]:
    return [(host.namespace, "eth0"), (cluster._switch, f"port{host.number}")]


def serve_steps(preset: str, batch: int, steps: int) -> None:
    """Be a process of the training: take some steps for each line of standard input."""
    from benchmarks.workload import configuration, start_training

    size = batch * int(os.environ["WORLD_SIZE"])
    training = start_training(configuration(preset, batch_size=size, precision="float32"))
    training.advance()  # the buckets of gradients are rearranged after it
    training.advance()
    print(0.0, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        for _ in range(steps):
            training.advance()
        print((time.perf_counter() - started) / steps, flush=True)


def table(results: list[dict[str, object]]) -> list[str]:
    """Return model and measurement beside each other, as lines of Markdown."""
    from benchmarks.scaling import efficiencies, modeled_seconds

    lines = [
        "| preset | processes | Mbit/s | step at full speed, s | computed, s (most to least) "
        "| measured, s | efficiency: computed | measured |",
        f"|{' --- |' * 8}",
    ]
    full: dict[object, list[float]] = {}
    for result in results:
        number, megabits, times = result["processes"], result["megabits"], result["seconds"]
        assert isinstance(number, int)
        assert isinstance(megabits, int)
        assert isinstance(times, list)
        if megabits == FULL:
            full[number] = times
            continue
        alone, seconds = statistics.median(full[number]), statistics.median(times)
        ratio = statistics.median(a / b for a, b in zip(full[number], times, strict=True))
        preset = str(result["preset"])
        sending, worst, best = modeled_seconds(preset, number, megabits / 1000, alone)
        low, high = efficiencies(alone, sending)
        lines.append(
            f"| `{preset}` | {number} | {megabits:,} | {alone:.3f} | {worst:.3f} to {best:.3f} "
            f"| {seconds:.3f} ({min(times):.3f} to {max(times):.3f}) | {low:.0%} to {high:.0%} "
            f"| {ratio:.0%} |"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
