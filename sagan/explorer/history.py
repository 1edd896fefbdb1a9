"""How a run has gone, while it goes on: the curves of stats.jsonl and the grids of samples/.

Reads the run directory only, so that it can be looked at while another process trains in it.
"""

import json
import math
import re
import threading
from pathlib import Path

from sagan.run.stats import parse_records

POINTS = 600  # of each curve: more than a chart has pixels


class History:
    """A run directory as the training tab shows it. For any number of threads.

    Args:
        run: the run directory.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._curves = _Curves(run / "stats.jsonl")
        self._lock = threading.Lock()
        self._state: tuple[object, ...] = ()
        self._content = b""

    def content(self) -> bytes:
        """JSON with all curves and the steps that have a grid.

        `{"series": {name: [[step, ...], [value, ...]]}, "grids": [step, ...]}`. Curves longer
        than 600 points are thinned evenly, first and last kept.
        """
        with self._lock:
            state = self._fingerprint()
            if state != self._state:
                content = {"series": self._series(), "grids": self._grids()}
                self._content = json.dumps(content, separators=(",", ":")).encode()
                self._state = state
            return self._content

    def grid(self, step: int) -> bytes | None:
        """The PNG with the samples of a step, None if there is none."""
        path = self._samples / f"step-{step:08d}.png"
        return path.read_bytes() if path.is_file() else None

    @property
    def _samples(self) -> Path:
        return self.run / "samples"

    def _fingerprint(self) -> tuple[object, ...]:
        """Changes whenever a line is written or a grid is drawn."""
        return (_identity(self._curves.path), _identity(self._samples))

    def _series(self) -> dict[str, tuple[list[int], list[float]]]:
        self._curves.read_on()
        return {name: _thinned(points) for name, points in sorted(self._curves.points.items())}

    def _grids(self) -> list[int]:
        found = (re.fullmatch(r"step-(\d{8,})\.png", p.name) for p in self._samples.glob("*.png"))
        return sorted(int(match[1]) for match in found if match)


class _Curves:
    """The numbers in a file of records that grows: what was read is not read again.

    Attributes:
        path: the file.
        points: {name: {step: value}}, of a step recorded twice the later value.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.points: dict[str, dict[int, float]] = {}
        self._inode = 0
        self._end = 0

    def read_on(self) -> None:
        """Take in the lines that are new: all, where the file was replaced or has shrunk."""
        inode, size, _ = _identity(self.path) or (0, 0, 0)
        if inode != self._inode or size < self._end:
            self.points, self._inode, self._end = {}, inode, 0
        for record in parse_records(self._new_lines() if inode else b""):
            step = int(record["step"])
            for name, value in record.items():
                if name != "step" and math.isfinite(value):
                    self.points.setdefault(name, {})[step] = value

    def _new_lines(self) -> bytes:
        """What follows, but for a last line that is still being written."""
        with self.path.open("rb") as file:
            file.seek(self._end)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._end += len(whole)
        return whole


def _identity(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _thinned(points: dict[int, float]) -> tuple[list[int], list[float]]:
    steps = sorted(points)
    if len(steps) > POINTS:
        last = len(steps) - 1
        steps = [steps[round(i * last / (POINTS - 1))] for i in range(POINTS)]
    return steps, [points[step] for step in steps]
