"""From one row of attention to what is drawn over an image: heat, and the region's outline.

NumPy only; `panels.py` draws them.
"""

import numpy as np
import numpy.typing as npt

from sagan.explain.statistics import Both, both
from sagan.types import BoolArray, Float64Array, FloatArray

# A row that peaks below this many times uniform is not stretched to full brightness.
MIN_PEAK = 4.0
# If half of the attention takes more than this share of the keys, no region is shown.
NEARLY_UNIFORM = 0.4


def heat(attention_row: FloatArray, peak: float | None = None) -> Float64Array:
    """Return the brightness of each key: its attention relative to uniform, on a log scale.

    `heat[m] = log(max(M * attention[m], 1)) / log(peak)`, at most 1. A key that gets no more
    than uniform attention, 1/M, is not highlighted at all. The peak is the row's own maximum,
    `max(M * attention)`, but at least 4: attention that is uniform except for noise, as before
    training, stays dark instead of having its noise amplified.

    Args:
        attention_row: float `(M,)`, at least 0, summing to 1.
        peak: the multiple of uniform attention that is brightest, above 1. Rows with the same peak
            have comparable brightness. None takes the row's own.

    Returns:
        float64 `(M,)` in [0, 1].

    Raises:
        ValueError: peak is 1 or less.
    """
    ratio = np.maximum(attention_row.astype(np.float64) * attention_row.size, 1)
    peak = peak if peak is not None else max(float(ratio.max()), MIN_PEAK)
    if not peak > 1:
        raise ValueError(f"peak must be above 1, uniform attention, not {peak}")
    return np.asarray(np.minimum(np.log(ratio) / np.log(peak), 1))


def upsample_bilinear(grid: Float64Array, size: Both[int]) -> Float64Array:
    """Interpolate a `(rows, columns)` grid of cell values to `size` pixels.

    Values belong to the cells' centers and are interpolated linearly in both directions; beyond
    the outermost centers they are constant. No value leaves the range of its neighbors.
    """
    height, width = both(size)
    lower, upper, weight = _between(grid.shape[0], height)
    rows = grid[lower] * (1 - weight)[:, None] + grid[upper] * weight[:, None]
    lower, upper, weight = _between(grid.shape[1], width)
    return np.asarray(rows[:, lower] * (1 - weight) + rows[:, upper] * weight)


def _between(
    cells: int, pixels: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Float64Array]:
    """Along one axis, the cells below and above each pixel's center, and the latter's weight."""
    # position of each pixel's center, in cells, from the first cell's center
    position = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    lower = np.minimum(position.astype(np.intp), max(cells - 2, 0))
    return lower, np.minimum(lower + 1, cells - 1), position - lower


def outline(region: BoolArray) -> Float64Array:
    """Return the border of a region of grid cells, as straight segments along the cells' edges.

    Args:
        region: bool `(rows, columns)`.

    Returns:
        float64 `(K, 2, 2)`: K segments of two (x, y) points in [0, 1], the image's width and
        height. Consecutive edges on a line are joined into one segment.
    """
    padded = np.pad(region, 1).astype(np.int8)
    horizontal = _runs(padded[1:, 1:-1] - padded[:-1, 1:-1])
    vertical = _runs((padded[1:-1, 1:] - padded[1:-1, :-1]).T)
    segments = [[(start, line), (stop, line)] for line, start, stop in horizontal]
    segments += [[(line, start), (line, stop)] for line, start, stop in vertical]
    rows, columns = region.shape
    return np.asarray(np.array(segments, np.float64).reshape(-1, 2, 2) / (columns, rows))


def _runs(edges: npt.NDArray[np.int8]) -> list[tuple[int, int, int]]:
    """Maximal runs (line, start, stop) of equal non-zero values along each line of edges."""
    runs = []
    for line, values in enumerate(edges):
        # A change of sign ends a run: there, two cells of the region touch only at a corner.
        stops = [*(np.flatnonzero(np.diff(values)) + 1), len(values)]
        start = 0
        for stop in stops:
            if values[start]:
                runs.append((line, start, int(stop)))
            start = int(stop)
    return runs
