"""How a run has gone, while it goes on: the curves of stats.jsonl and the grids of samples/.

Reads the run directory only, so that it can be looked at while another process trains in it.
"""

import hashlib
import json
import math
import re
from pathlib import Path

from sagan.records import read_statistics

POINTS = 600  # of each curve: more than a chart has pixels


class History:
    """A run directory as the training tab shows it.

    Args:
        run: the run directory.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self._state: tuple[object, ...] = ()
        self._content = b""

    def content(self) -> tuple[bytes, str]:
        """JSON with all curves and the steps that have a grid, and a tag that changes with it.

        ``{"series": {name: [[step, ...], [value, ...]]}, "grids": [step, ...]}``. Curves longer
        than 600 points are thinned evenly, first and last kept.
        """
        state = self._fingerprint()
        if state != self._state:
            content = {"series": self._series(), "grids": self._grids()}
            self._content = json.dumps(content, separators=(",", ":")).encode()
            self._state = state
        return self._content, hashlib.sha256(self._content).hexdigest()[:32]

    def grid(self, step: int) -> bytes | None:
        """The PNG with the samples of a step, None if there is none."""
        path = self._samples / f"step-{step:08d}.png"
        return path.read_bytes() if path.is_file() else None

    @property
    def _samples(self) -> Path:
        return self.run / "samples"

    def _fingerprint(self) -> tuple[object, ...]:
        """Changes whenever a line is written or a grid is drawn."""
        return (_identity(self.run / "stats.jsonl"), _identity(self._samples))

    def _series(self) -> dict[str, tuple[list[int], list[float]]]:
        series: dict[str, dict[int, float]] = {}
        for record in read_statistics(self.run):
            step = int(record["step"])
            for name, value in record.items():
                if name != "step" and math.isfinite(value):
                    series.setdefault(name, {})[step] = value
        return {name: _thinned(points) for name, points in sorted(series.items())}

    def _grids(self) -> list[int]:
        found = (re.fullmatch(r"step-(\d{8,})\.png", p.name) for p in self._samples.glob("*.png"))
        return sorted(int(match[1]) for match in found if match)


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
