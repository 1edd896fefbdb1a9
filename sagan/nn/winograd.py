"""3x3 convolutions with a quarter of the multiplications (Lavin & Gray 2016, arXiv 1509.09308).

Each tile of 4x4 results depends on 6x6 pixels. Tiles and kernels are transformed to 6x6 numbers
each, whose products, summed over channels, transform back to the results: 36 multiplications
instead of 144. Transforms are sums along one side, then along the other. Rounding errors are about
seven times those of the direct sum, 1e-5 of the largest result in float32.

It is F(4x4, 3x3) of the paper, with interpolation at 0, 1, -1, 2, -2 and infinity.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

TILE = 4  # results along a tile's side
POINTS = 6  # pixels along its side, and numbers after the transform
TILES_AT_A_TIME = 256  # more leave the cache, and with fewer, products are slow

# G of the paper: a row of three weights at the six points.
_KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)


def convolve3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute `conv2d(x, weight, bias, padding=1)`, without gradients.

    Args:
        x: (B, I, H, W), H and W multiples of 4.
        weight: (O, I, 3, 3).
        bias: (O,) or None.

    Returns:
        (B, O, H, W), channels_last.
    """
    (batch, _, height, width), outputs = x.shape, len(weight)
    kernel = weight.new_tensor(_KERNEL)
    kernels = torch.einsum("ai,bj,ocij->abco", kernel, kernel, weight).flatten(0, 1).contiguous()
    # Not a view, which nobody could change in place, as ReLU does.
    result = torch.empty_strided(
        (batch, outputs, height, width),
        (height * width * outputs, 1, width * outputs, outputs),
        dtype=x.dtype,
        device=x.device,
    )
    written = result.movedim(1, -1).view(batch, height // TILE, TILE, width // TILE, TILE, outputs)
    num = _images_at_a_time(x)
    for images, part in zip(x.split(num), written.split(num), strict=True):
        tiles = _image_tiles(images)
        products = torch.bmm(tiles.view(POINTS**2, -1, tiles.shape[-1]), kernels)
        products = products.view(*tiles.shape[:-1], outputs)
        rows = products.new_empty(TILE, *products.shape[1:])
        _from_points(products.unbind(0), rows.unbind(0))
        done = rows.new_empty(TILE, TILE, *rows.shape[2:])
        _from_points(rows.unbind(1), done.unbind(1))
        done = done.permute(2, 3, 0, 4, 1, 5)
        if bias is not None:
            torch.add(done, bias, out=part)
        else:
            part.copy_(done)
    return result


def gradient_of_weight3x3(x: Tensor, grad: Tensor) -> Tensor:
    """Return the gradient (O, I, 3, 3), channels_last, of `convolve3x3`'s weight.

    Args:
        x: (B, I, H, W), H and W multiples of 4.
        grad: gradient of the result, (B, O, H, W).
    """
    inputs, outputs, num = x.shape[1], grad.shape[1], _images_at_a_time(x)
    products = x.new_zeros(POINTS**2, outputs, inputs)
    for images, gradients in zip(x.split(num), grad.split(num), strict=True):
        tiles = _image_tiles(images).view(POINTS**2, -1, inputs)
        gradient_tiles = _gradient_tiles(gradients).view(POINTS**2, -1, outputs)
        products.baddbmm_(gradient_tiles.mT, tiles)
    kernel = x.new_tensor(_KERNEL)
    products = products.unflatten(0, (POINTS, POINTS))
    return torch.einsum("ai,bj,aboc->oijc", kernel, kernel, products).contiguous().movedim(-1, 1)


def _images_at_a_time(x: Tensor) -> int:
    return max(1, TILES_AT_A_TIME * TILE**2 // x.shape[2:].numel())


def _image_tiles(x: Tensor) -> Tensor:
    """(B, C, H, W) -> transformed tiles (6, 6, B, H/4, W/4, C)."""
    batch, channels, height, width = x.shape
    padded = F.pad(x.movedim(1, -1), (0, 0, 1, 1, 1, 1))
    rows = x.new_empty(POINTS, batch, height // TILE, width + 2, channels)
    _to_points([padded[:, i : i + height - 3 : TILE] for i in range(POINTS)], rows.unbind(0))
    tiles = x.new_empty(POINTS, POINTS, batch, height // TILE, width // TILE, channels)
    columns = [rows[:, :, :, i : i + width - 3 : TILE] for i in range(POINTS)]
    _to_points(columns, tiles.unbind(1))
    return tiles


def _gradient_tiles(grad: Tensor) -> Tensor:
    """(B, C, H, W) -> tiles of 4x4 gradients at the points, (6, 6, B, H/4, W/4, C)."""
    parts = grad.movedim(1, -1).unflatten(2, (-1, TILE)).unflatten(1, (-1, TILE))
    batch, tall, _, wide, _, channels = parts.shape
    rows = grad.new_empty(POINTS, batch, tall, wide, TILE, channels)
    _spread(parts.unbind(2), rows.unbind(0))
    tiles = grad.new_empty(POINTS, POINTS, batch, tall, wide, channels)
    _spread(rows.unbind(4), tiles.unbind(1))
    return tiles


def _to_points(x: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """Multiply six pixels by B^T of the paper."""
    torch.add(x[4], x[0], alpha=4, out=out[0]).sub_(x[2], alpha=5)
    even, odd = torch.sub(x[4], x[2], alpha=4), torch.sub(x[3], x[1], alpha=4)
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.sub(x[4], x[2], out=even)
    torch.sub(x[3], x[1], out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.sub(even, odd, alpha=2, out=out[4])
    torch.add(x[5], x[1], alpha=4, out=out[5]).sub_(x[3], alpha=5)


def _from_points(x: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """Multiply six products by A^T of the paper: four results."""
    even, odd = x[1] + x[2], x[1] - x[2]
    far_even, far_odd = x[3] + x[4], x[3] - x[4]
    torch.add(x[0], even, out=out[0]).add_(far_even)
    torch.add(odd, far_odd, alpha=2, out=out[1])
    torch.add(even, far_even, alpha=4, out=out[2])
    torch.add(odd, far_odd, alpha=8, out=out[3]).add_(x[5])


def _spread(x: Sequence[Tensor], out: Sequence[Tensor]) -> None:
    """Multiply the gradients of four results by A: those of the six products."""
    out[0].copy_(x[0])
    even, odd = x[0] + x[2], x[1] + x[3]
    torch.add(even, odd, out=out[1])
    torch.sub(even, odd, out=out[2])
    torch.add(x[0], x[2], alpha=4, out=even)
    torch.add(x[1], x[3], alpha=4, out=odd)
    torch.add(even, odd, alpha=2, out=out[3])
    torch.sub(even, odd, alpha=2, out=out[4])
    out[5].copy_(x[3])
