"""3x3 convolutions after nearest upsampling, with 25 multiplications for 16 results instead of 64.

Along one side, results at even places are the product of the polynomials (w1 + w2) + w0 z, of the
weights, and x0 + x1 z + ..., of the pixels before upsampling. Those at odd places are the product
of w2 + (w0 + w1) z and the same. For each pair of pixels Karatsuba multiplies the first
coefficients, the last ones, and their sums. The sum of the weights is the same in both, so that
four results take five multiplications. In two dimensions they are 25, where the transposed 4x4
convolution of `sagan.nn.resampling` has 64 and the convolution as published 144. Pixels and weights
are only added, so that rounding errors are as small as those of the direct sum.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

RESULTS_AT_A_TIME = 2**20  # 4 MB, which stay in cache; with fewer, products are slow

# The weights' polynomials by parity of the result (even, odd), each by coefficient (first, last).
_POLYNOMIALS = (((0, 1, 1), (1, 0, 0)), ((0, 0, 1), (1, 1, 0)))


def upsample_convolve3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute `conv2d(interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)`.

    It has no gradients.

    Args:
        x: (B, I, H, W), H and W even.
        weight: (O, I, 3, 3).
        bias: (O,) or None.

    Returns:
        (B, O, 2H, 2W), channels_last.
    """
    (batch, _, height, width), outputs = x.shape, len(weight)
    tall, wide = height // 2, width // 2  # pairs
    corners, sides, middle = _kernels(weight)
    result = x.new_empty(batch, 2 * height, 2 * width, outputs)
    num = max(1, RESULTS_AT_A_TIME // result[0].numel())
    for images, part in zip(x.movedim(1, -1).split(num), result.split(num), strict=True):
        shape = len(images), tall, wide
        pixels = _pixels_and_sums(images).flatten(1, 3)  # (9, B * tall * wide, I)
        # Each product has one result by parity in each direction in which nothing is summed.
        plain = torch.bmm(pixels[:4], corners).view(2, 2, *shape, 2, 2, outputs)
        summed = torch.bmm(pixels[4:8], sides).view(2, 2, *shape, 2, outputs)
        both = (pixels[8] @ middle).view(*shape, outputs)
        # Along the width: of single rows, by coefficient and parity, and of their sum.
        rows = x.new_empty(2, 2, *shape, 4, outputs)
        first, last = plain.movedim(-2, 0).unbind(2)
        _combine(first, last, summed[1], rows.movedim(1, 4).unbind(-2), dim=3)
        sums = x.new_empty(*shape, 4, outputs)
        first, last = summed[0].movedim(-2, 0).unbind(1)
        _combine(first, last, both, sums.unbind(-2), dim=2)
        # Along the height.
        out = part.view(*shape[:2], 4, wide, 4, outputs).unbind(2)
        _combine(rows[0], rows[1], sums, out, dim=1)
        if bias is not None:
            part.add_(bias)
    return result.movedim(-1, 1)


def _kernels(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return matrices (4, I, 4 * O), (4, I, 2 * O) and (I, O) for the rows of `_pixels_and_sums`.

    The first are for a coefficient in both directions, with results for all parities; the second
    for the sum of both rows and a coefficient of the columns, then vice versa.
    """
    polynomials = weight.new_tensor(_POLYNOMIALS)
    corners = torch.einsum("pai,qbj,ocij->abcpqo", polynomials, polynomials, weight)
    ones = weight.new_ones(3)
    by_column = torch.einsum("i,qbj,ocij->bcqo", ones, polynomials, weight)
    by_row = torch.einsum("pai,j,ocij->acpo", polynomials, ones, weight)
    return (
        corners.reshape(4, corners.shape[2], -1),
        torch.cat([by_column, by_row]).flatten(2),
        torch.einsum("i,j,ocij->co", ones, ones, weight),
    )


def _pixels_and_sums(images: Tensor) -> Tensor:
    """(B, H, W, C) -> nine sets of every other pixel (9, B, H/2, W/2, C).

    Four by row and column, even or odd; the sums of rows, for both columns; the sums of columns,
    for both rows; the sum of all.
    """
    pairs = images.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
    batch, tall, _, wide, _, channels = pairs.shape
    sets = images.new_empty(9, batch, tall, wide, channels)
    sets[:4].unflatten(0, (2, 2)).copy_(pairs.permute(2, 4, 0, 1, 3, 5))
    torch.add(sets[:2], sets[2:4], out=sets[4:6])
    torch.add(sets[0:4:2], sets[1:4:2], out=sets[6:8])
    torch.add(sets[4], sets[5], out=sets[8])
    return sets


def _combine(first: Tensor, last: Tensor, both: Tensor, out: Sequence[Tensor], dim: int) -> None:
    """Write the four results of each pair of pixels along a dimension.

    Args:
        first: products of the first coefficients, for even and odd results.
        last: likewise of the last, which overlap with the first of the pair that follows.
        both: products of the sums.
        out: the four results.
        dim: of `both`, along which the pairs are.
    """
    inner = both.shape[dim] - 1
    before, after = (dim, 0, inner), (dim, 1, inner)
    torch.add(first[0].narrow(*after), last[0].narrow(*before), out=out[0].narrow(*after))
    out[0].narrow(dim, 0, 1).copy_(first[0].narrow(dim, 0, 1))
    torch.add(last[1].narrow(*before), first[1].narrow(*after), out=out[3].narrow(*before))
    out[3].narrow(dim, inner, 1).copy_(last[1].narrow(dim, inner, 1))
    even, odd = first + last
    torch.sub(both, odd, out=out[1])
    torch.sub(both, even, out=out[2])
