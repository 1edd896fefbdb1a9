"""Where to put the dots: query points given by a user, or found in an image.

A query is identified by its row index n in the attention map; users give pixels (x, y). Both count
from the image's top left corner.
"""

import re
from math import gcd

import numpy as np

from sagan.errors import SaganError
from sagan.explain.statistics import (
    Both,
    attention_distance,
    both,
    cell_centers,
    checked_axes,
    grids,
    uniform_distance,
)
from sagan.types import Float64Array, FloatArray, UInt8Array

# Where all pixels attend alike, they differ only by noise. This much is added to particularity so
# that the noise does not choose the dots.
_NOISE_FLOOR = 0.02
# Beyond this share of the image's side, dots gain nothing by being farther apart.
_AMPLE_SPACING = 1 / 3


def interesting_queries(attention: FloatArray, image: UInt8Array, num: int) -> list[int]:
    """Choose the query points that are worth looking at in one image.

    Query points are chosen where attention is long-range and specific to the pixel. Each pixel of
    the attention layer gets a score, the geometric mean of three numbers:

    * Far: its attention distance, divided by the distance that uniform attention would have there,
      so that corners have no advantage.
    * Particular: how much its attention differs from the average over all pixels (the
      Kullback-Leibler divergence). A pixel that attends to everything scores next to nothing,
      and so does one that attends to the same place as all others.
    * On content: how fast colors change within the pixel's cell, so that flat background is passed
      over. Half of the fastest change in the image already counts in full.

    The first dot is the pixel with the highest score. For each further dot, a pixel's score is
    multiplied by its distance to the nearest dot so far, at most a third of the image, and by the
    share of its attention that does not overlap with that of the most similar dot, so that nothing
    is shown twice. The same map and image always give the same dots: nothing is random, and ties
    are broken from the top left.

    Args:
        attention: float `(N, M)`, one image's map; each row is at least 0 and sums to 1.
        image: uint8 `(H, W, 3)`, a whole number of pixels to each cell of the query grid.
        num: how many to choose, 1 .. N.

    Returns:
        num distinct row indices n in [0, N), the most interesting first.

    Raises:
        ValueError: num lies outside 1 .. N, shapes do not fit, or rows are not distributions.
    """
    height, width = image.shape[:2]
    rows, columns = grid = grids(attention, (height, width))[0]
    if not 1 <= num <= rows * columns:
        raise ValueError(f"num must lie in 1 .. {rows * columns}, not {num}")
    content = np.minimum(_relative(_local_contrast(image, grid)), 0.5)
    parts = gcd(height, width)
    far = _farness(attention, (height // parts, width // parts))
    score = np.cbrt(far * _particularity(attention) * content)
    # In units of the shorter side.
    side = min(height, width)
    return _spread_out(score, attention, cell_centers(grid, (height / side, width / side)), num)


def grid_queries(grid: Both[int], num: int) -> list[int]:
    """Return query points on a num x num grid, evenly spread over the image, row by row.

    Args:
        grid: rows and columns of the layer's feature map.
        num: dots in each direction, at most the fewer of these.

    Returns:
        num² distinct row indices n in [0, N), of the cells nearest to the centers of num x num
        equal parts of the image.

    Raises:
        SaganError: num is out of range.
    """
    rows, columns = both(grid)
    if not 1 <= num <= min(rows, columns):
        raise SaganError(
            f"a grid of {num} x {num} dots is too fine: this layer has {columns} x {rows} positions"
        )
    down, across = (((2 * np.arange(num) + 1) * cells) // (2 * num) for cells in (rows, columns))
    return [int(i * columns + j) for i in down for j in across]


def parse_query(text: str) -> tuple[int, int]:
    """Parse a query point as users type it: `"x,y"` in whole pixels from the top left corner.

    Returns:
        `(x, y)`. `pixel_to_query` checks that it lies inside the image.

    Raises:
        SaganError: the text has another form.
    """
    match = re.fullmatch(r"\s*(-?[0-9]{1,9})\s*,\s*(-?[0-9]{1,9})\s*", text)
    if not match:
        raise SaganError(
            f"query {text[:40]!r} is not a pixel: "
            "give x,y in whole pixels from the top left corner, such as 12,20"
        )
    return int(match[1]), int(match[2])


def pixel_to_query(x: int, y: int, image_size: Both[int], grid: Both[int]) -> int:
    """Return the row index n of the query whose cell in the feature map covers a pixel.

    `n = (y * rows // height) * columns + (x * columns // width)`.

    Args:
        x: column, 0 .. width - 1.
        y: row, 0 .. height - 1.
        image_size: of the image in pixels.
        grid: rows and columns of the layer's feature map.

    Raises:
        SaganError: the pixel lies outside the image.
        ValueError: a side is less than 1.
    """
    (rows, height), (columns, width) = checked_axes(grid, image_size)
    if not (0 <= x < width and 0 <= y < height):
        allowed = f"x must be 0 to {width - 1} and y 0 to {height - 1}"
        raise SaganError(f"query {x},{y} lies outside the image: {allowed}")
    return int((y * rows // height) * columns + x * columns // width)


def query_to_pixel(query: int, image_size: Both[float], grid: Both[int]) -> tuple[float, float]:
    """Return the center of a query's cell, (x, y) in image pixels: where its dot belongs.

    Raises:
        ValueError: query lies outside [0, N), or a side is not above 0.
    """
    centers = cell_centers(grid, image_size)
    if not 0 <= query < len(centers):
        raise ValueError(f"query {query} lies outside a grid of {len(centers)} positions")
    x, y = centers[query]
    return float(x), float(y)


def _farness(attention: FloatArray, image_size: tuple[int, int]) -> Float64Array:
    """Attention distance over that of uniform attention, (N,): 0 is itself, 1 no preference."""
    # On a one-pixel feature map both distances are 0: 0 / 0 becomes 0 / tiny.
    uniform = np.maximum(uniform_distance(*grids(attention, image_size), image_size), 1e-12)
    return np.asarray(attention_distance(attention[None], image_size)[0] / uniform)


def _particularity(attention: FloatArray) -> Float64Array:
    """KL divergence from the average attention over log N, its largest possible value, (N,).

    From a small floor, where all pixels attend alike, up to 1.
    """
    rows = np.asarray(attention, dtype=np.float64)
    average = np.maximum(rows.mean(axis=0), np.finfo(np.float64).tiny)
    ratio = np.where(rows > 0, rows / average, 1.0)
    divergence = (rows * np.log(ratio)).sum(axis=1) / max(np.log(len(rows)), 1e-12)
    return np.asarray((np.maximum(divergence, 0) + _NOISE_FLOOR) / (1 + _NOISE_FLOOR))


def _local_contrast(image: UInt8Array, grid: tuple[int, int]) -> Float64Array:
    """Average rate of color change in each query's cell, (N,), in levels per pixel.

    The root of the mean squared gradient, summed over red, green and blue, so that edges between
    colors of the same brightness count too.
    """
    (rows, columns), (height, width) = grid, image.shape[:2]
    whole = not (height % rows or width % columns)
    if image.shape[2:] != (3,) or image.dtype != np.uint8 or not whole:
        raise ValueError(
            f"the image must be uint8 (H, W, 3), H a multiple of {rows} and W of {columns}, "
            f"not {image.dtype} {image.shape}"
        )
    padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="edge")
    down = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    right = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    energy = (np.square(down) + np.square(right)).sum(axis=-1)  # (H, W)
    cells = energy.reshape(rows, height // rows, columns, width // columns)
    return np.asarray(np.sqrt(cells.mean(axis=(1, 3))).ravel())


def _relative(values: Float64Array) -> Float64Array:
    """Values over their maximum; all 1 where the maximum is 0."""
    maximum = values.max()
    return np.asarray(values / maximum) if maximum > 0 else np.ones_like(values)


def _spread_out(
    score: Float64Array, attention: FloatArray, centers: Float64Array, num: int
) -> list[int]:
    """Pick cells greedily: with a high score, far from those picked, and attending elsewhere."""
    # A trace of score everywhere: once all cells with a score are taken, the farthest is next.
    score = score + 1e-6 * max(score.max(), 1e-12)
    spacing = np.full(score.shape, _AMPLE_SPACING)
    novelty = np.ones(score.shape)
    picked: list[int] = []
    for _ in range(num):
        best = int(np.argmax(score * spacing * novelty))  # picked cells have spacing 0
        picked.append(best)
        spacing = np.minimum(spacing, np.hypot(*(centers - centers[best]).T))
        overlap = np.minimum(attention, attention[best]).sum(axis=1)
        novelty = np.minimum(novelty, np.maximum(1 - overlap, 0) + _NOISE_FLOOR)
    return picked
