"""A run's progress, also while it trains: the curves of stats.jsonl, and the images it saved.

Only reads the run directory, so another process may be training in it meanwhile.
"""

import json
import math
import threading
from pathlib import Path

from sagan.errors import UnreadableError
from sagan.report.snapshots import read_snapshot, snapshots
from sagan.run.stats import MAX_STATS_BYTES, parse_records
from sagan.storage.files import open_file

FOLDERS = {"grids": "samples", "attention": "attention"}  # by the name of the images
MAX_HISTORY_POINTS = 600  # of each curve: more than a chart has pixels


class History:
    """A run directory as the training tab shows it. Thread-safe.

    Args:
        run: the run directory.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._curves = _Curves(run / "stats.jsonl")
        self._lock = threading.Lock()
        self._fingerprint: tuple[object, ...] = ()
        self._content = b""

    def content(self) -> bytes:
        """Return JSON with all curves and the steps of saved images.

        `{"series": {name: [[step, ...], [value, ...]]}, "grids": [step, ...], "attention":
        [step, ...]}`. Curves longer than 600 points are thinned evenly; the first and the last
        point are kept.
        """
        with self._lock:
            # The steps themselves, since a folder's time of change is too coarse: several files
            # within one tick of the clock change it only once.
            steps = {images: list(snapshots(self.run / name)) for images, name in FOLDERS.items()}
            fingerprint = (_identity(self._curves.path), steps)
            if fingerprint != self._fingerprint:
                content = {"series": self._series(), **steps}
                self._content = json.dumps(content, separators=(",", ":")).encode()
                self._fingerprint = fingerprint
            return self._content

    def image(self, folder: str, step: int) -> bytes | None:
        """Return the PNG that was saved at a step; None if there is none.

        Args:
            folder: of the run, one of `FOLDERS`.
            step: the step.
        """
        path = snapshots(self.run / folder).get(step)
        return read_snapshot(path) if path is not None else None

    def _series(self) -> dict[str, tuple[list[int], list[float]]]:
        self._curves.update()
        return {name: _thinned(points) for name, points in sorted(self._curves.points.items())}


class _Curves:
    """The numbers in a growing file of records; no part of it is read twice.

    Attributes:
        path: the file.
        points: {name: {step: value}}; for a step recorded twice, the later value.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.points: dict[str, dict[int, float]] = {}
        self._inode = 0
        self._end = 0

    def update(self) -> None:
        """Read the new lines, or all of them if the file was replaced or has shrunk."""
        inode, size, _ = _identity(self.path) or (0, 0, 0)
        if inode != self._inode or size < self._end:
            self.points, self._inode, self._end = {}, inode, 0
        try:
            records = parse_records(self._new_lines())
        except UnreadableError:
            records = []
        for record in records:
            step = int(record["step"])
            for name, value in record.items():
                if name != "step" and math.isfinite(value):
                    self.points.setdefault(name, {})[step] = value

    def _new_lines(self) -> bytes:
        """The lines since the last call, without a last one that is still being written.

        Raises:
            UnreadableError: the file cannot be read, or is too large.
        """
        with open_file(self.path, MAX_STATS_BYTES, follow_links=False) as file:
            file.seek(self._end)
            new = file.read(MAX_STATS_BYTES)
        complete = new[: new.rfind(b"\n") + 1]
        self._end += len(complete)
        return complete


def _identity(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _thinned(points: dict[int, float]) -> tuple[list[int], list[float]]:
    steps = sorted(points)
    if len(steps) > MAX_HISTORY_POINTS:
        last = len(steps) - 1
        steps = [
            steps[round(i * last / (MAX_HISTORY_POINTS - 1))] for i in range(MAX_HISTORY_POINTS)
        ]
    return steps, [points[step] for step in steps]
