"""Measures of attention maps: how far a pixel looks, and how selectively.

Functions take attention as the networks return it: `(num, N, M)`, one row of weights over
M keys for each of N query pixels, both grids square and row-major. M = N, or N/4 when the keys
are 2x2 max-pooled. Arithmetic is in float64 whatever the input's type; rows are divided by their
sum first, so that maps computed in half precision lose nothing but their own rounding.
"""

from math import isqrt

import numpy as np
import numpy.typing as npt

from sagan.types import BoolArray, Float64Array, FloatArray

# bfloat16 has eight bits, so the sum of a row of softmax weights may differ from 1 by this much.
_ROW_SUM_TOLERANCE = 0.02
# More than float32 rounding, less than anything visible: without it, whether three keys with 1/6
# each add up to a half would be a matter of chance.
_MASS_TOLERANCE = 1e-6


def grid_sides(attention: FloatArray) -> tuple[int, int]:
    """Return the sides of the query grid and the key grid of an attention array `(..., N, M)`.

    Returns:
        `(query_side, key_side)`, so that N = query_side² and M = key_side².

    Raises:
        ValueError: N or M is not a square number, or query_side is not a multiple of key_side.
    """
    if attention.ndim < 2:
        raise ValueError(f"attention must have shape (..., N, M), not {attention.shape}")
    query_side, key_side = (square_side(number) for number in attention.shape[-2:])
    if query_side % key_side:
        raise ValueError(f"keys on a grid of {key_side} do not tile queries on one of {query_side}")
    return query_side, key_side


def square_side(number: int) -> int:
    """Return the side of a square grid with this number of positions.

    Raises:
        ValueError: the number is 0 or not a square.
    """
    side = isqrt(number)
    if number == 0 or side**2 != number:
        raise ValueError(f"{number} positions do not form a square grid")
    return side


def cell_centers(side: int, image_size: int) -> Float64Array:
    """Return the centers of the cells of a side x side grid over an image.

    Cell (row i, column j) covers `image_size / side` pixels in each direction; its center is at
    `((j + 1/2), (i + 1/2)) * image_size / side`. Pixel (0, 0) covers [0, 1) x [0, 1), so the
    center of a pooled key is the middle of the 2x2 block of positions that it stands for.

    Returns:
        float64 `(side * side, 2)`: (x, y) in image pixels, row-major.

    Raises:
        ValueError: side or image_size is less than 1.
    """
    if side < 1 or image_size < 1:
        raise ValueError(f"a grid of side {side} on an image of {image_size} pixels")
    centers = (np.arange(side) + 0.5) * (image_size / side)
    x, y = np.meshgrid(centers, centers)
    return np.stack([x.ravel(), y.ravel()], axis=-1)


def attention_distance(attention: FloatArray, image_size: int) -> Float64Array:
    """Return how far each query pixel looks: the expected distance to what it attends to.

    `distance[b, n] = sum_m attention[b, n, m] * |center(key m) - center(query n)|`, the mean
    attention distance of Dosovitskiy et al. (2021, section 4.5; the paper's figure 7), there
    averaged over queries as well.

    Args:
        attention: float `(num, N, M)`; each row is at least 0 and sums to 1.
        image_size: side of the image in pixels.

    Returns:
        float64 `(num, N)`, in image pixels; at least 0, less than `sqrt(2) * image_size`.

    Raises:
        ValueError: the shape is wrong, a grid is not square, or rows are not distributions.
    """
    row_sums = _checked_row_sums(attention)
    distance = _distances(*grid_sides(attention), image_size)
    expected = np.einsum("bnm,nm->bn", attention, distance, dtype=np.float64)
    return np.asarray(expected / row_sums)


def uniform_distance(query_side: int, key_side: int, image_size: int) -> Float64Array:
    """Return the attention distance of queries with uniform attention: the yardstick for "far".

    A corner pixel is far from most of the image, whatever it attends to. Dividing
    `attention_distance` by this removes the effect of the query's position.

    Returns:
        float64 `(query_side²,)`, in image pixels.

    Raises:
        ValueError: a side or image_size is less than 1.
    """
    return np.asarray(_distances(query_side, key_side, image_size).mean(axis=-1))


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
        ValueError: the shape is wrong, a grid is not square, or rows are not distributions.
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
        ValueError: mass lies outside (0, 1], the shape is wrong, a grid is not square, or rows are
            not distributions.
    """
    _check_mass(mass)
    row_sums = _checked_row_sums(attention)
    share = np.empty(row_sums.shape)
    for image, sums, out in zip(attention, row_sums, share, strict=True):
        p = np.sort(image / sums[:, None], axis=-1)[:, ::-1]
        out[:] = (_keys_missing(p, mass) + 1) / p.shape[-1]
    return share


def attention_beyond(
    attention: FloatArray, spans: npt.NDArray[np.int64], image_size: int
) -> Float64Array:
    """Return the share of each query pixel's attention beyond what a convolution sees.

    A key counts as seen if its cell and the query's field share a pixel, so the result is never too
    large.

    Args:
        attention: float `(num, N, M)`; each row is at least 0 and sums to 1.
        spans: int `(side, 2)`, with the side of the query grid: along one axis, the pixels
            [start, stop) of each query's field, from `sagan.explain.receptive`.
        image_size: side of the image in pixels.

    Returns:
        float64 `(num, N)`, a share in [0, 1].

    Raises:
        ValueError: the shape is wrong, a grid is not square, or rows are not distributions.
    """
    row_sums = _checked_row_sums(attention)
    query_side, key_side = grid_sides(attention)
    if spans.shape != (query_side, 2):
        raise ValueError(f"spans must have shape {(query_side, 2)}, not {spans.shape}")
    edges = np.arange(key_side + 1) * (image_size / key_side)
    seen = (edges[:-1] < spans[:, 1:]) & (edges[1:] > spans[:, :1])  # (query_side, key_side)
    grids = attention.reshape(len(attention), query_side, query_side, key_side, key_side)
    inside = np.einsum("bijkl,ik,jl->bij", grids, seen, seen, dtype=np.float64, optimize=True)
    return np.asarray(np.clip(1 - inside.reshape(row_sums.shape) / row_sums, 0, 1))


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


def _distances(query_side: int, key_side: int, image_size: int) -> Float64Array:
    """Distances from each query's center to each key's, (N, M), in image pixels."""
    query = cell_centers(query_side, image_size)  # (N, 2)
    key = cell_centers(key_side, image_size)  # (M, 2)
    return np.hypot(query[:, None, 0] - key[:, 0], query[:, None, 1] - key[:, 1])


def _checked_row_sums(attention: FloatArray) -> Float64Array:
    """Row sums (num, N) of attention, checked to have the right shape and be distributions."""
    if attention.ndim != 3:
        raise ValueError(f"attention must have shape (num, N, M), not {attention.shape}")
    grid_sides(attention)
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
