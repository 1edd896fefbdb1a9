"""Speed and memory of packing and loading images: `python -m benchmarks.data [SRC]`.

SRC is a zip or folder of images, such as cifar10.zip; by default, 5,000 small JPEGs are made.
Every figure is measured in turn with plain code that does the same.

* loading: shuffled batches from a packed set, against opening, decoding and resizing each file
  with Pillow; both return uint8 (B, S, S, 3) and run on one core.
* packing: `sagan data pack` as a user runs it, against a bare Pillow loop over the same files,
  divided by the cores; with the peak of anonymous memory over all its processes.
* waiting: the share of a training step spent fetching its batch (--steps N).
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import timing
from sagan.data import BatchOrder, PackedDataset, open_dataset
from sagan.data.workers import available_cores
from sagan.images.decode import IMAGE_EXTENSIONS

SIZE, BATCH = 32, 64
REPETITIONS = 5


def main() -> None:
    """Run the benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", nargs="?", help="zip or folder; by default one is made")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--steps", type=int, default=0, help="steps of classic-32 to time")
    parser.add_argument(
        "--memory-only", action="store_true", help="pack once and report the memory"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        source = Path(arguments.source) if arguments.source else make_images(folder / "set", 5000)
        if arguments.memory_only:
            report_memory(source, folder)
            return
        report_packing(source, folder, arguments.repetitions)
        report_loading(source, folder, arguments.repetitions)
        if arguments.steps:
            report_waiting(source, folder, arguments.steps)


def make_images(folder: Path, num: int) -> Path:
    """Write JPEGs of 32 x 32 soft blobs, which compress about like photos."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(num):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        image.save(folder / f"{n:05}.jpg", quality=75)
    return folder


# Loading.


def report_loading(source: Path, scratch: Path, repetitions: int) -> None:
    """Report images per second on one core, packed and naive in turn."""
    files = unpacked(source, scratch / "files", 5000)
    dataset = open_dataset(str(source), SIZE, cache=scratch / "cache")
    with one_core():
        speeds: dict[str, list[float]] = {"packed": [], "naive": []}
        for _ in range(repetitions):
            speeds["packed"].append(images_per_second(packed_batches(dataset), seconds=1.0))
            speeds["naive"].append(images_per_second(naive_batches(files), seconds=1.0))
    print(f"loading shuffled batches of {BATCH} x {SIZE} x {SIZE} x 3 on one core, images/s")
    for name, values in speeds.items():
        print(f"  {name:<8}{spread(values)}")
    ratio = statistics.median(speeds["packed"]) / statistics.median(speeds["naive"])
    print(f"  packed is {ratio:,.0f} times as fast")


def packed_batches(dataset: PackedDataset) -> Iterator[np.ndarray]:
    """Yield batches as training fetches them."""
    order = BatchOrder(len(dataset), BATCH, seed=0)
    batch = 0
    while True:
        yield dataset.images[order.indices(batch)]
        batch += 1


def naive_batches(files: list[Path]) -> Iterator[np.ndarray]:
    """Yield batches as a plain data set class does: open, decode and resize every file."""
    rng = np.random.default_rng(0)
    while True:
        chosen = rng.integers(0, len(files), BATCH)
        yield np.stack([naive_load(files[index]) for index in chosen])


def naive_load(path: Path) -> np.ndarray:
    """Return one file as uint8 (S, S, 3)."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS))


def images_per_second(batches: Iterator[np.ndarray], seconds: float) -> float:
    """Return the speed of fetching batches for some seconds, after a first one."""
    next(batches)
    start = now = time.perf_counter()
    num = 0
    while now - start < seconds:
        num += len(next(batches))
        now = time.perf_counter()
    return num / (now - start)


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process on one core, where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def unpacked(source: Path, folder: Path, most: int) -> list[Path]:
    """Return the first image files of the source, extracted into `folder` if it is a zip."""
    if source.is_dir():
        return sorted(file for file in source.rglob("*") if is_image(file.name))[:most]
    folder.mkdir()
    with zipfile.ZipFile(source) as archive:
        names = [name for name in archive.namelist() if is_image(name)][:most]
        for number, name in enumerate(names):
            (folder / f"{number:05}{Path(name).suffix}").write_bytes(archive.read(name))
    return sorted(folder.iterdir())


def is_image(name: str) -> bool:
    """Return whether a file is an image, by its name."""
    return Path(name).suffix.lower() in IMAGE_EXTENSIONS


# Packing.


def report_packing(source: Path, scratch: Path, repetitions: int) -> None:
    """Report seconds of the bare loop and of the command, in turn, over all splits."""
    seconds: dict[str, list[float]] = {"bare": [], "pack": []}
    peak, num = 0, bare_loop(source)
    for _ in range(repetitions):
        seconds["bare"].append(timing.seconds(lambda: bare_loop(source)))
        start = time.perf_counter()
        peak = max(peak, pack_by_command(source, "all", scratch / "packed"))
        seconds["pack"].append(time.perf_counter() - start)
    cores = available_cores()
    print(f"packing {num:,} pictures of {source.name}, seconds, {cores} cores")
    print(f"  bare Pillow loop             {spread(seconds['bare'], 2)}")
    print(f"  sagan data pack --split all  {spread(seconds['pack'], 2)}")
    for title, pick in (("medians", statistics.median), ("fastest", min)):
        ratio = pick(seconds["pack"]) / (pick(seconds["bare"]) / cores)
        print(f"  ratio to the bare loop divided by the cores, {title}: {ratio:.2f}")
    print(f"  peak anonymous memory of all processes: {peak / 1e6:,.0f} MB")


def report_memory(source: Path, scratch: Path) -> None:
    """Report the memory that packing takes."""
    start = time.perf_counter()
    peak = pack_by_command(source, "all", scratch / "packed")
    seconds = time.perf_counter() - start
    print(f"packing {source.name}: peak memory {peak / 1e6:,.0f} MB, {seconds:.0f} s")


def bare_loop(source: Path) -> int:
    """Decode every image on one core, and return their number."""
    num = 0
    for data in encoded(source):
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        num += 1
    return num


def encoded(source: Path) -> Iterator[bytes]:
    """Yield the bytes of every image file."""
    if source.is_dir():
        yield from (file.read_bytes() for file in unpacked(source, source, sys.maxsize))
        return
    with zipfile.ZipFile(source) as archive:
        yield from (archive.read(name) for name in archive.namelist() if is_image(name))


def pack_by_command(source: Path, split: str, out: Path) -> int:
    """Run `sagan data pack`; return its peak of anonymous memory in bytes."""
    arguments = ["data", "pack", str(source), str(out), "--size", str(SIZE), "--split", split]
    process = subprocess.Popen(
        [sys.executable, "-m", "sagan", *arguments], stdout=subprocess.DEVNULL
    )
    peak = 0
    while process.poll() is None:
        peak = max(peak, anonymous_bytes(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"sagan data pack failed with status {process.returncode}")
    return peak


def anonymous_bytes(pid: int) -> int:
    """Return the anonymous memory of a process and its descendants (Linux only; elsewhere 0)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for task in Path(f"/proc/{pid}/task").iterdir():
            if task.name != str(pid):
                children += (task / "children").read_text().split()
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines())
    own = sum(int(words[1]) * 1024 for words in lines if words and words[0] == "RssAnon:")
    return own + sum(anonymous_bytes(int(child)) for child in children)


# Waiting.


def report_waiting(source: Path, scratch: Path, steps: int) -> None:
    """Report the share of classic-32's training steps spent fetching batches."""
    from sagan.config import resolve
    from sagan.run.directory import RunDescription
    from sagan.runtime.processes import make_accelerator
    from sagan.training.state import Training

    dataset = open_dataset(str(source), SIZE, cache=scratch / "cache")
    config = resolve("classic-32", {"conditional": dataset.labels is not None})
    data = {"fingerprint": dataset.fingerprint, "classes": list(dataset.classes)}
    training = Training(RunDescription(config, "classic-32", data), dataset, make_accelerator())
    waited = [0.0]
    fetch = training._real_shards

    def timed_fetch(batch: int) -> object:
        start = time.perf_counter()
        shards = fetch(batch)
        waited[0] += time.perf_counter() - start
        return shards

    training._real_shards = timed_fetch  # type: ignore[method-assign, assignment]
    training.advance()
    waited[0] = 0.0
    total = timing.seconds(lambda: [training.advance() for _ in range(steps)])
    print(f"steps of classic-32 (batch {config.batch_size}): {1000 * total / steps:.0f} ms each")
    print(f"  waiting for data: {100 * waited[0] / total:.3f}% of the time")


# Figures.


def spread(values: list[float], digits: int = 0) -> str:
    """Return median and range, right-aligned."""
    middle = statistics.median(values)
    return f"{middle:>12,.{digits}f}   ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


if __name__ == "__main__":
    main()
