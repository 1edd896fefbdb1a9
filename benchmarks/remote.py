"""How long a training waits for a set behind a slow connection: `python -m benchmarks.remote`.

Noise in shards lies behind a server on 127.0.0.1 that sends 100 Mbit/s. Steps of a preset are
trained on it through a cache of a tenth of the set, each with its batch from `shuffle_window`
shards. Printed are the time of a step and the share of it spent waiting for shards, after the first
batch, for which nothing could be read ahead. On a busy machine, `--step-ms 500` fetches the batches
of steps that only pause for so long.
"""

import argparse
import itertools
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import timing
from sagan.data.packed import Fingerprint
from sagan.data.shards.layout import MAX_HEADER_BYTES, ShardLayout
from sagan.data.shards.opening import open_remote
from sagan.data.shards.writing import write_shards
from sagan.types import UInt8Array

if TYPE_CHECKING:
    from sagan.training.state import Training

BYTES_PER_SECOND = 100e6 / 8
NUM_SHARDS, WINDOW = 100, 4  # two windows and one more shard fit into a tenth


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--preset", default="cpu-32")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--step-ms", type=float, default=0.0, help="pause instead of training")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        report_waiting(Path(scratch), arguments)


def report_waiting(scratch: Path, arguments: argparse.Namespace) -> None:
    """Train on a remote set, and print the time spent waiting for it."""
    from sagan.config import resolve
    from sagan.run.directory import RunDescription
    from sagan.runtime.processes import make_accelerator
    from sagan.training.state import Training

    preset, steps, num_images = arguments.preset, arguments.steps, arguments.images
    settings = {"conditional": False, "shuffle_window": WINDOW}
    config = resolve(preset, settings)
    shard_images = -(-num_images // NUM_SHARDS)
    images = noise(num_images, config.shape)
    write_set(scratch / "set", images, shard_images)
    limit = (NUM_SHARDS // 10) * (images[0].nbytes * shard_images + MAX_HEADER_BYTES)
    with serve(scratch / "set", BYTES_PER_SECOND) as url:
        dataset = open_remote(url, streamed=True, cache=scratch / "cache", limit=limit)
        data = {"fingerprint": dataset.fingerprint, "classes": []}
        training = Training(RunDescription(config, preset, data), dataset, make_accelerator())
        store = dataset.images.store  # type: ignore[attr-defined]
        step = training.advance
        if arguments.step_ms:
            step = pausing_step(training, arguments.step_ms / 1000)
        begun = time.perf_counter()
        step()
        first = time.perf_counter() - begun
        print(f"first step: {first:.2f} s, {store.waited:.2f} s of it waiting")
        store.waited = 0.0
        total = timing.seconds(lambda: [step() for _ in range(steps)])
    size = f"{images.nbytes / 1e6:.0f} MB in {NUM_SHARDS} shards"
    print(f"a set of {size} at 100 Mbit/s, through a cache of a tenth")
    ms = 1000 * total / steps
    print(f"{steps} steps of {preset}, batch {config.batch_size}: {ms:.0f} ms each")
    print(f"  waiting for shards: {100 * store.waited / total:.3f}% of the time")


def pausing_step(training: "Training", seconds: float) -> Callable[[], None]:
    """Return a step that fetches its batch as a training does, and then pauses for some seconds."""
    batches = itertools.count()

    def step() -> None:
        training._real_shards(next(batches))
        time.sleep(seconds)

    return step


def noise(num: int, shape: tuple[int, ...]) -> UInt8Array:
    """Return images that cannot be compressed, uint8 (num, H, W, C)."""
    return np.random.default_rng(0).integers(0, 256, (num, *shape), np.uint8)


def write_set(folder: Path, images: UInt8Array, shard_images: int) -> None:
    """Write a packed set in shards, without labels, from images (N, H, W, C) in memory."""
    folder.mkdir()
    fingerprint = Fingerprint()
    fingerprint.update(images)
    checksums = write_shards(images, folder, ShardLayout(len(images), shard_images))
    manifest = {
        "format_version": 1, "source": "noise", "split": "train", "fit": "crop",
        "size": images.shape[1], "num_images": len(images), "classes": [], "counts": [],
        "skipped": [], "notes": [], "fingerprint": fingerprint.close(images.shape, None, ()),
        "shards": {"images": shard_images, "checksums": checksums, "files": {}},
    }  # fmt: skip
    (folder / "pack.json").write_text(json.dumps(manifest))


@contextmanager
def serve(folder: Path, bytes_per_second: float) -> Iterator[str]:
    """Serve the files of a folder at a limited speed from a thread; yield the URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = (folder / Path(self.path).name).read_bytes()
            self.send_response(200)
            self.end_headers()
            begun, block = time.perf_counter(), 2**16
            for start in range(0, len(content), block):
                self.wfile.write(content[start : start + block])
                due = begun + min(start + block, len(content)) / bytes_per_second
                time.sleep(max(0.0, due - time.perf_counter()))

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
