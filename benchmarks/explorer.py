"""Latency and memory of the explorer's server: `python -m benchmarks.explorer MODEL`.

Starts `sagan explore MODEL` as a user would, and sends it HTTP requests.

* alone: one visitor who requests new samples with their maps; then the same ones again, from the
  server's cache; then galleries.
* crowd: 50 visitors at once, each requesting new samples; errors, and the server's resident memory
  after each round, once its cache is full.
"""

import argparse
import http.client
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import psutil

VISITORS = 50
WARM_UP = 5


def main() -> None:
    """Run both benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="run directory, model file or shipped model")
    parser.add_argument(
        "--requests", type=int, default=40, help="number of requests of the visitor alone"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--each", type=int, default=20, help="requests per visitor and round")
    arguments = parser.parse_args()
    with served(arguments.model) as (address, pid):
        alone(address, arguments.requests)
        crowd(address, pid, arguments.rounds, arguments.each)


@contextmanager
def served(model: str) -> Iterator[tuple[str, int]]:
    """Start a server; yield its host:port and process ID."""
    command = [sys.executable, "-u", "-m", "sagan", "explore", model, "--no-open", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield urlsplit(next(word for word in line.split() if "//" in word)).netloc, process.pid
        finally:
            process.terminate()


def alone(address: str, num: int) -> None:
    """Report the latency of one visitor's requests."""
    connection = http.client.HTTPConnection(address)
    paths = [f"/api/sample?seed={seed}" for seed in range(num + WARM_UP)]
    for path in paths[:WARM_UP]:
        fetch(connection, path)
    report("a sample with its maps", [fetch(connection, path) for path in paths[WARM_UP:]])
    report("the same again", [fetch(connection, path) for path in paths[WARM_UP:]])
    galleries = [fetch(connection, f"/api/gallery?seed={seed}") for seed in range(num)]
    report("a gallery of 24", galleries)


def crowd(address: str, pid: int, rounds: int, each: int) -> None:
    """Report latency, throughput and memory with many visitors, round by round."""
    print(f"{VISITORS} visitors at once, {each} new samples each:")
    with ThreadPoolExecutor(VISITORS) as visitors:
        for number in range(rounds):
            started = time.perf_counter()
            first = 10**6 * (number + 1)
            visits = [
                visitors.submit(visit, address, first + 1000 * visitor, each)
                for visitor in range(VISITORS)
            ]
            times = [milliseconds for done in visits for milliseconds in done.result()]
            speed = len(times) / (time.perf_counter() - started)
            print(
                f"  round {number + 1}: {len(times)} samples, no errors, {speed:.0f} per second, "
                f"slowest {max(times):.0f} ms, resident {resident(pid):.0f} MiB"
            )


def visit(address: str, first_seed: int, num: int) -> list[float]:
    """Return the latency of one visitor's requests, in milliseconds."""
    connection = http.client.HTTPConnection(address, timeout=120)
    return [fetch(connection, f"/api/sample?seed={first_seed + i}") for i in range(num)]


def fetch(connection: http.client.HTTPConnection, path: str) -> float:
    """Return the milliseconds until the whole response has arrived."""
    started = time.perf_counter()
    connection.request("GET", path)
    response = connection.getresponse()
    content = response.read()
    if response.status != 200:
        raise SystemExit(f"{path}: {response.status} {content[:200]!r}")
    return 1000 * (time.perf_counter() - started)


def resident(pid: int) -> float:
    """Return the resident memory of a process, in MiB."""
    return float(psutil.Process(pid).memory_info().rss / 2**20)


def report(what: str, milliseconds: list[float]) -> None:
    """Print median and quartiles."""
    low, middle, high = statistics.quantiles(milliseconds, n=4)
    print(f"{what}: median {middle:.1f} ms, quartiles {low:.1f} to {high:.1f}")


if __name__ == "__main__":
    main()
