"""Measures of attention maps: how far a pixel looks, and how selectively.

Functions take attention as the networks return it: `(num, N, M)`, one row of weights over
M keys for each of N query pixels, both grids row-major, with the image's proportions. M = N, or N/4
when the keys are 2x2 max-pooled. Where a size is asked for, one number means a square, and two are
rows and columns, or height and width. Arithmetic is in float64 whatever the input's type; rows are
divided by their sum first, so that maps computed in half precision lose nothing but their own
rounding.
"""

from math import gcd, isqrt
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from sagan.types import BoolArray, Float64Array, FloatArray, Int64Array

T = TypeVar("T")

Both: TypeAlias = T | tuple[T, T]  # one for both axes, or one for rows and one for columns

# bfloat16 has eight bits, so the sum of a row of softmax weights may differ from 1 by this much.
_ROW_SUM_TOLERANCE = 0.02
# More than float32 rounding, less than anything visible: without it, whether three keys with 1/6
# each add up to a half would be a matter of chance.
_MASS_TOLERANCE = 1e-6


def both(value: Both[T]) -> tuple[T, T]:
    """Return the value for rows and the value for columns."""
    return value if isinstance(value, tuple) else (value, value)


def grids(attention: FloatArray, image_size: Both[int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return rows and columns of the query grid and the key grid of attention `(..., N, M)`.

    Raises:
        ValueError: N or M positions do not form a grid with the image's proportions, or the query
            grid is not a multiple of the key grid.
    """
    if attention.ndim < 2:
        raise ValueError(f"attention must have shape (..., N, M), not {attention.shape}")
    query, key = (grid_of(number, image_size) for number in attention.shape[-2:])
    if query[0] % key[0]:
        raise ValueError(f"keys on a grid of {key[0]} do not tile queries on one of {query[0]}")
    return query, key


def grid_of(number: int, image_size: Both[int]) -> tuple[int, int]:
    """Return rows and columns of the grid with this number of positions over an image.

    Raises:
        ValueError: no grid with the image's proportions has this number, or the image is empty.
    """
    height, width = both(image_size)
    if min(height, width) < 1:
        raise ValueError(f"a grid on an image of {width} x {height} pixels")
    parts = gcd(height, width)
    rows, columns = height // parts, width // parts  # of the smallest such grid
    times = isqrt(number // (rows * columns))
    if number == 0 or times**2 * rows * columns != number:
        shape = "a square grid" if rows == columns else f"a grid with sides as {rows} to {columns}"
        raise ValueError(f"{number} positions do not form {shape}")
    return times * rows, times * columns


def cell_centers(grid: Both[int], image_size: Both[float]) -> Float64Array:
    """Return the centers of the cells of a grid over an image.

    Cell (row i, column j) covers `height / rows` by `width / columns` pixels; its center is at
    `((j + 1/2) * width / columns, (i + 1/2) * height / rows)`. Pixel (0, 0) covers [0, 1) x [0, 1),
    so the center of a pooled key is the middle of the 2x2 block of positions that it stands for.

    Returns:
        float64 `(rows * columns, 2)`: (x, y) in image pixels, row-major.

    Raises:
        ValueError: a side of the grid or of the image is not above 0.
    """
    y, x = (
        (np.arange(cells) + 0.5) * (length / cells)
        for cells, length in checked_axes(grid, image_size)
    )
    x, y = np.meshgrid(x, y)
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def checked_axes(grid: Both[int], image_size: Both[float]) -> list[tuple[int, float]]:
    """Return cells and length of the rows' axis and of the columns' axis.

    Raises:
        ValueError: one is not above 0.
    """
    axes = list(zip(both(grid), both(image_size), strict=True))
    for cells, length in axes:
        if cells < 1 or length <= 0:
            raise ValueError(f"a grid of side {cells} on an image of {length} pixels")
    return axes


def attention_distance(attention: FloatArray, image_size: Both[int]) -> Float64Array:
    """Return how far each query pixel looks: the expected distance to what it attends to.

    `distance[b, n] = sum_m attention[b, n, m] * |center(key m) - center(query n)|`, the mean
    attention distance of Dosovitskiy et al. (2021, section 4.5; the paper's figure 7), there
    averaged over queries as well.

    Args:
        attention: float `(num, N, M)`; each row is at least 0 and sums to 1.
        image_size: of the image in pixels.

    Returns:
        float64 `(num, N)`, in image pixels; at least 0, less than the image's diagonal.

    Raises:
        ValueError: the shape is wrong, a grid does not fit the image, or rows are not
            distributions.
    """
    row_sums = _checked_row_sums(attention)
    distance = _distances(*grids(attention, image_size), image_size)
    expected = np.einsum("bnm,nm->bn", attention, distance, dtype=np.float64)
    return np.asarray(expected / row_sums)


def uniform_distance(
    query_grid: Both[int], key_grid: Both[int], image_size: Both[float]
) -> Float64Array:
    """Return the attention distance of queries with uniform attention: the yardstick for "far".

    A corner pixel is far from most of the image, whatever it attends to. Dividing
    `attention_distance` by this removes the effect of the query's position.

    Returns:
        float64 `(N,)`, in image pixels.

    Raises:
        ValueError: a side is not above 0.
    """
    return np.asarray(_distances(query_grid, key_grid, image_size).mean(axis=-1))


def attention_entropy(attention: FloatArray, *, normalized: bool = False) -> Float64Array:
    """Return how spread out each query pixel's attention is: its Shannon entropy.

    `entropy[b, n] = -sum_m p log p` with `p = attention[b, n, m]` and `0 log 0 = 0`.

    Args:
        attention: float `(num, N, M)`; each row is at least 0 and sums to 1.
        normalized: divide by `log M`, the entropy of uniform attention, so that maps over
            different numbers of keys compare. With a single key it is 0.

    Returns:
        float64 `(num, N)`, in nats, from 0 (one key) to log M (uniform attention); in [0, 1] if
        normalized.

    Raises:
        ValueError: the shape is wrong, or rows are not distributions.
    """
    row_sums = _checked_row_sums(attention)
    entropy = np.empty(row_sums.shape)
    for image, sums, out in zip(attention, row_sums, entropy, strict=True):
        p = image / sums[:, None]  # (N, M): one image at a time, because float64 copies are large
        # log 1 = 0 stands in for 0 log 0; the maximum removes -0.0 and rounding below zero
        out[:] = np.maximum(-(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1), 0)
    keys = attention.shape[-1]
    return entropy / max(np.log(keys), 1e-300) if normalized else entropy


def concentration(attention: FloatArray, mass: float = 0.5) -> Float64Array:
    """Return the smallest share of keys that gets a given part of the attention.

    `concentration[b, n] = k / M` with k the smallest number of keys whose weights add up to at
    least `mass`. Uniform attention has `ceil(mass * M) / M`, so about `mass` itself; a
    single attended key has 1 / M. It is the share of keys in `attended_region`.

    Args:
        attention: float `(num, N, M)`; each row is at least 0 and sums to 1.
        mass: the part of the attention, in (0, 1].

    Returns:
        float64 `(num, N)`, a share in [1/M, 1].

    Raises:
        ValueError: mass lies outside (0, 1], the shape is wrong, or rows are not distributions.
    """
    _check_mass(mass)
    row_sums = _checked_row_sums(attention)
    share = np.empty(row_sums.shape)
    for image, sums, out in zip(attention, row_sums, share, strict=True):
        p = np.sort(image / sums[:, None], axis=-1)[:, ::-1]
        out[:] = (_keys_missing(p, mass) + 1) / p.shape[-1]
    return share


def attention_beyond(
    attention: FloatArray, spans: Both[Int64Array], image_size: Both[int]
) -> Float64Array:
    """Return the share of each query pixel's attention beyond what a convolution sees.

    A key counts as seen if its cell and the query's field share a pixel, so the result is never too
    large.

    Args:
        attention: float `(num, N, M)`; each row is at least 0 and sums to 1.
        spans: int `(rows, 2)` and `(columns, 2)` of the query grid: along each axis, the pixels
            [start, stop) of a query's field, from `sagan.explain.receptive`.
        image_size: of the image in pixels.

    Returns:
        float64 `(num, N)`, a share in [0, 1].

    Raises:
        ValueError: the shape is wrong, or rows are not distributions.
    """
    row_sums = _checked_row_sums(attention)
    query, key = grids(attention, image_size)
    down, across = (
        _seen(*axis) for axis in zip(both(spans), query, key, both(image_size), strict=True)
    )
    maps = attention.reshape(len(attention), *query, *key)
    inside = np.einsum("bijkl,ik,jl->bij", maps, down, across, dtype=np.float64, optimize=True)
    return np.asarray(np.clip(1 - inside.reshape(row_sums.shape) / row_sums, 0, 1))


def _seen(spans: Int64Array, queries: int, keys: int, length: int) -> BoolArray:
    """Along one axis, whether a query's field has a pixel of a key's cell, (queries, keys)."""
    if spans.shape != (queries, 2):
        raise ValueError(f"spans must have shape {(queries, 2)}, not {spans.shape}")
    edges = np.arange(keys + 1) * (length / keys)
    return np.asarray((edges[:-1] < spans[:, 1:]) & (edges[1:] > spans[:, :1]))


def attended_region(attention_row: FloatArray, mass: float = 0.5) -> BoolArray:
    """Return the smallest set of keys that together get `mass` of one query's attention.

    Keys are taken from the most attended on until their weights add up to at least `mass` (to
    1e-6). Among keys of equal weight the first in row-major order is taken first: the set stays
    smallest, but which of the equal keys belong to it then means nothing. Under uniform attention
    the region is simply the upper half of the image; do not present it as a preference.

    Args:
        attention_row: float `(M,)`, at least 0, summing to 1.
        mass: the part of the attention, in (0, 1].

    Returns:
        bool `(M,)`, True for the keys of the region, at least one.

    Raises:
        ValueError: mass lies outside (0, 1], or the row is not a distribution.
    """
    _check_mass(mass)
    if attention_row.ndim != 1 or attention_row.size == 0:
        raise ValueError(f"one row of attention (M,) is needed, not {attention_row.shape}")
    p = attention_row / _row_sums(attention_row[None])
    order = np.argsort(-p, kind="stable")
    region = np.zeros(p.shape, dtype=np.bool_)
    region[order[: int(_keys_missing(p[order], mass)) + 1]] = True
    return region


def _keys_missing(p_descending: Float64Array, mass: float) -> npt.NDArray[np.intp]:
    """How many of the largest weights (..., M) do not yet add up to the mass: 0 .. M - 1."""
    # Without the last sum: all M keys have any mass there is.
    sums = np.cumsum(p_descending, axis=-1)[..., :-1]
    return np.asarray((sums < mass - _MASS_TOLERANCE).sum(axis=-1))


def _distances(query_grid: Both[int], key_grid: Both[int], image_size: Both[float]) -> Float64Array:
    """Distances from each query's center to each key's, (N, M), in image pixels."""
    query = cell_centers(query_grid, image_size)  # (N, 2)
    key = cell_centers(key_grid, image_size)  # (M, 2)
    return np.hypot(query[:, None, 0] - key[:, 0], query[:, None, 1] - key[:, 1])


def _checked_row_sums(attention: FloatArray) -> Float64Array:
    """Row sums (num, N) of attention, checked to have the right shape and be distributions."""
    if attention.ndim != 3:
        raise ValueError(f"attention must have shape (num, N, M), not {attention.shape}")
    return _row_sums(attention)


def _row_sums(rows: FloatArray) -> Float64Array:
    """Sums (...) of rows (..., M), checked to be distributions."""
    sums = np.asarray(rows.sum(axis=-1, dtype=np.float64))
    # Written so that NaN, which compares false with anything, is refused as well.
    if not (np.all(np.abs(sums - 1) <= _ROW_SUM_TOLERANCE) and np.all(rows >= 0)):
        raise ValueError("attention rows must be at least 0 and sum to 1 (a softmax over keys)")
    return sums


def _check_mass(mass: float) -> None:
    if not 0 < mass <= 1:
        raise ValueError(f"mass must lie in (0, 1], not {mass}")
