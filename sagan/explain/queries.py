"""Where to put the dots: query points given by a user, or found in a picture.

A query is known by its row index n in the attention map; a user knows pixels. Both count from the
picture's top left corner, pixels as (x, y).
"""

import re

import numpy as np

from sagan.errors import SaganError
from sagan.explain.statistics import attention_distance, cell_centers, grid_sides, uniform_distance
from sagan.types import Float64Array, FloatArray, UInt8Array

# Where all pixels attend alike they differ by noise; so much is added to particularity that the
# noise does not choose the dots.
_NOISE_FLOOR = 0.02
# Dots farther apart than this share of the picture's side gain nothing by being farther still.
_AMPLE_SPACING = 1 / 3


def interesting_queries(attention: FloatArray, image: UInt8Array, num: int) -> list[int]:
    """Choose the query points worth looking at in one picture.

    How the dots are chosen: each pixel of the attention layer gets a score, the geometric mean of
    three numbers.

    * Far: its attention distance, divided by the distance it would have if it attended to the
      whole picture alike, so that corners have no advantage.
    * Particular: how far its attention departs from the average over all pixels (their
      Kullback-Leibler divergence). A pixel which attends to everything scores next to nothing,
      and so does one which attends, like all others, to a place that serves the whole picture.
    * On content: how fast the picture's colors change within the pixel's cell, so that flat
      background is passed over. Half of the fastest change in the picture already counts in full.

    The first dot is the pixel with the highest score. For each further dot a pixel's score is
    multiplied by its distance to the nearest dot so far, distances beyond a third of the picture
    counting as a third, and by the share of its attention that goes elsewhere than the attention
    of the dot most like it: what is shown already is not shown again. The same map and picture
    always give the same dots: nothing is random, and equals are taken from the top left.

    Args:
        attention: float `(N, M)`, one image's map; each row is at least 0 and sums to 1.
        image: uint8 `(H, W, 3)`, H = W a multiple of the query grid's side.
        num: how many to choose, 1 .. N.

    Returns:
        num distinct row indices n in [0, N), the most interesting first.

    Raises:
        ValueError: num lies outside 1 .. N, shapes do not fit, or rows are no distributions.
    """
    query_side, _ = grid_sides(attention)
    if not 1 <= num <= query_side**2:
        raise ValueError(f"num must lie in 1 .. {query_side**2}, not {num}")
    content = np.minimum(_relative(_local_contrast(image, query_side)), 0.5)
    score = np.cbrt(_farness(attention) * _particularity(attention) * content)
    return _spread_out(score, attention, num)


def grid_queries(side: int, num: int) -> list[int]:
    """Query points on a num x num grid, evenly spread over the picture, row by row.

    Args:
        side: side of the layer's feature map.
        num: dots each way, 1 .. side.

    Returns:
        num² distinct row indices n in [0, side²): those whose cells lie nearest to the centers
        of num x num equal parts of the picture.

    Raises:
        SaganError: num lies outside 1 .. side.
    """
    if not 1 <= num <= side:
        raise SaganError(f"a grid of {num} x {num} dots: this layer has {side} x {side} positions")
    line = ((2 * np.arange(num) + 1) * side) // (2 * num)
    return [int(i * side + j) for i in line for j in line]


def parse_query(text: str) -> tuple[int, int]:
    """Read a query point as a user types it: `"x,y"` in whole pixels from the top left corner.

    Returns:
        `(x, y)`. Whether it lies inside the picture is for `pixel_to_query` to say.

    Raises:
        SaganError: the text is something else.
    """
    match = re.fullmatch(r"\s*(-?[0-9]{1,9})\s*,\s*(-?[0-9]{1,9})\s*", text)
    if match is None:
        raise SaganError(
            f"query {text[:40]!r} is not a pixel: "
            "write x,y in whole pixels from the top left corner, such as 12,20"
        )
    return int(match[1]), int(match[2])


def pixel_to_query(x: int, y: int, image_size: int, side: int) -> int:
    """Row index n of the query whose cell of the feature map covers a pixel of the picture.

    `n = (y * side // image_size) * side + (x * side // image_size)`.

    Args:
        x: column, 0 .. image_size - 1.
        y: row, 0 .. image_size - 1.
        image_size: side of the picture in pixels.
        side: side of the layer's feature map.

    Raises:
        SaganError: the pixel lies outside the picture.
        ValueError: side or image_size is less than 1.
    """
    if side < 1 or image_size < 1:
        raise ValueError(f"a grid of side {side} on a picture of {image_size} pixels")
    if not (0 <= x < image_size and 0 <= y < image_size):
        raise SaganError(
            f"query {x},{y} lies outside the picture: x and y must be 0 to {image_size - 1}"
        )
    return (y * side // image_size) * side + x * side // image_size


def query_to_pixel(query: int, image_size: int, side: int) -> tuple[float, float]:
    """Center of a query's cell, (x, y) in image pixels: where its dot belongs.

    Raises:
        ValueError: query lies outside [0, side²), or side or image_size is less than 1.
    """
    centers = cell_centers(side, image_size)
    if not 0 <= query < len(centers):
        raise ValueError(f"query {query} lies outside a grid of {side} x {side}")
    x, y = centers[query]
    return float(x), float(y)


def _farness(attention: FloatArray) -> Float64Array:
    """Attention distance over that of uniform attention, (N,): 0 is itself, 1 is no preference."""
    query_side, key_side = grid_sides(attention)
    # A one-pixel feature map has nowhere far to look: 0 / 0 becomes 0 / tiny.
    uniform = np.maximum(uniform_distance(query_side, key_side, 1), 1e-12)
    return np.asarray(attention_distance(attention[None], 1)[0] / uniform)


def _particularity(attention: FloatArray) -> Float64Array:
    """KL divergence from the average attention over log N, its largest possible value, (N,).

    From a small floor where all pixels attend alike up to 1.
    """
    rows = np.asarray(attention, dtype=np.float64)
    average = np.maximum(rows.mean(axis=0), np.finfo(np.float64).tiny)
    ratio = np.where(rows > 0, rows / average, 1.0)
    divergence = (rows * np.log(ratio)).sum(axis=1) / max(np.log(len(rows)), 1e-12)
    return np.asarray((np.maximum(divergence, 0) + _NOISE_FLOOR) / (1 + _NOISE_FLOOR))


def _local_contrast(image: UInt8Array, side: int) -> Float64Array:
    """How fast colors change on average over each query's cell, (side²,), in levels per pixel.

    The root of the mean squared gradient, summed over red, green and blue, so that edges between
    colors of the same brightness count too.
    """
    size = image.shape[0]
    if image.shape != (size, size, 3) or image.dtype != np.uint8 or size == 0 or size % side:
        raise ValueError(
            f"the picture must be uint8 (H, W, 3), H = W a multiple of {side}, "
            f"not {image.dtype} {image.shape}"
        )
    padded = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)), mode="edge")
    down = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    right = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    energy = (np.square(down) + np.square(right)).sum(axis=-1)  # (H, W)
    cells = energy.reshape(side, size // side, side, size // side)
    return np.asarray(np.sqrt(cells.mean(axis=(1, 3))).ravel())


def _relative(values: Float64Array) -> Float64Array:
    """Values over their maximum; all 1 where the maximum is 0."""
    maximum = values.max()
    return np.asarray(values / maximum) if maximum > 0 else np.ones_like(values)


def _spread_out(score: Float64Array, attention: FloatArray, num: int) -> list[int]:
    """Pick num cells greedily: of high score, apart from those picked, attending elsewhere."""
    centers = cell_centers(grid_sides(attention)[0], 1)
    # A trace of score everywhere: once all cells of any merit are taken, the farthest is next.
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
