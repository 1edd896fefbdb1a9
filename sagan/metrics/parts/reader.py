"""Two small convolutional networks that read the colors and the eyes of a piece of a drawn face.

`runs/avatar-parts.py` trained them on `avatars`. A piece is all that they see: outside it, images
are gray, so that what they say of two pieces is independent but for the image itself.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sagan.metrics.parts.pieces import SIZE, WHOLE, PartsTable, Piece, What

WIDTHS, REDUCED, HIDDEN = (24, 48, 96), 32, 96
VIEW = 32  # side of what a network sees
EYES_ROWS, EYES_COLUMNS = slice(18, 50), slice(16, 48)  # with the eyes, in all styles


def color_view(images: Tensor) -> Tensor:
    """Return the image at half its resolution: (B, C, 64, 64) -> (B, C, 32, 32)."""
    return F.avg_pool2d(images, 2)


def eyes_view(images: Tensor) -> Tensor:
    """Return the middle of the image: (B, C, 64, 64) -> (B, C, 32, 32)."""
    return images[:, :, EYES_ROWS, EYES_COLUMNS]


def masked(view: Tensor, mask: Tensor) -> Tensor:
    """Return a view (B, 3, 32, 32) with nothing outside a mask (B or 1, 1, 32, 32), and the mask.

    The result is (B, 4, 32, 32).
    """
    mask = mask.expand(len(view), -1, -1, -1)
    # Not a product: 0 * NaN is NaN.
    shown = view.masked_fill(mask == 0, 0.0)
    return torch.cat([shown, mask], dim=1).contiguous(memory_format=torch.channels_last)


class PieceReader(nn.Module):
    """Masked views (B, 4, 32, 32) -> logits (B, `num_logits`)."""

    def __init__(self, num_logits: int) -> None:
        super().__init__()
        first, second, third = WIDTHS
        self.convolutions = nn.Sequential(
            _convolution(4, first, 4, stride=2),  # 16 x 16
            _convolution(first, first, 3),
            _convolution(first, second, 4, stride=2),  # 8 x 8
            _convolution(second, second, 3),
            _convolution(second, third, 4, stride=2),  # 4 x 4
            _convolution(third, REDUCED, 1),
        )
        self.hidden = nn.Linear(REDUCED * (VIEW // 8) ** 2, HIDDEN)
        self.logits = nn.Linear(HIDDEN, num_logits)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        x = self.convolutions(x).flatten(1)
        logits: Tensor = self.logits(F.relu(self.hidden(x)))
        return logits


def _convolution(in_channels: int, out_channels: int, side: int, stride: int = 1) -> nn.Module:
    padding = (side - 1) // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, side, stride, padding, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


class PartsReader(nn.Module):
    """uint8 images (B, H, W, 3) -> the logits of all pieces (B, `table.width`)."""

    def __init__(self, table: PartsTable) -> None:
        super().__init__()
        self.table = table
        values = table.values
        self.num_colors = {what: len(values[what]) for what in color_attributes(table)}
        self.colors = PieceReader(len(table.styles) + sum(self.num_colors.values()))
        self.eyes = PieceReader(len(values["eyes"]))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, in the order of `PartsTable.columns`."""
        x = images.permute(0, 3, 1, 2).float()
        if x.shape[2:] != (SIZE, SIZE):
            x = F.interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=True)
        x = x / 127.5 - 1
        colors, eyes = color_view(x), eyes_view(x)
        seen: dict[tuple[What, Piece], Tensor] = {}
        style = self._read_colors(colors, WHOLE)[0]
        for piece in {p for what in self.num_colors for p in self.table.pieces(what)}:
            found = self._read_colors(colors, piece)[1]
            seen |= {(what, piece): logits for what, logits in found.items()}
        for piece in self.table.pieces("eyes"):
            mask = eyes_view(_as_mask(piece, x))
            seen["eyes", piece] = self.eyes(masked(eyes, mask))
        return torch.cat(
            [style, *(seen[what, piece] for what, piece, _ in self.table.columns())], dim=1
        )

    def _read_colors(self, view: Tensor, piece: Piece) -> tuple[Tensor, Mapping[What, Tensor]]:
        logits = self.colors(masked(view, color_view(_as_mask(piece, view))))
        style, *rest = logits.split([len(self.table.styles), *self.num_colors.values()], dim=1)
        return style, dict(zip(self.num_colors, rest, strict=True))


def color_attributes(table: PartsTable) -> list[What]:
    """Return what the network of colors reads besides the style, in the order of its logits."""
    return [what for what in table.values if what != "eyes"]


def _as_mask(piece: Piece, like: Tensor) -> Tensor:
    return piece.mask().to(like)[None, None]
