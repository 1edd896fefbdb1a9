"""The pieces of a face that are read, and what is compared between them.

A piece is a half plane of the 64 x 64 image, such as the columns left of 28. Two pieces that do not
overlap show parts of the same face: one side of its hair and the other, its face and its neck.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

SIZE = 64
Side: TypeAlias = Literal["left", "right", "above", "below", "whole"]
What: TypeAlias = Literal["hair", "skin", "eyes"]
Kind: TypeAlias = Literal["hair", "skin", "neck", "eyes"]

# What the two pieces of a kind are read for, and where they lie.
READ: dict[Kind, What] = {"hair": "hair", "skin": "skin", "neck": "skin", "eyes": "eyes"}
SIDES: dict[Kind, tuple[Side, Side]] = {
    "hair": ("left", "right"),
    "skin": ("left", "right"),
    "neck": ("above", "below"),
    "eyes": ("left", "right"),
}
KINDS = tuple(READ)


@dataclass(frozen=True, order=True)
class Piece:
    """The part of an image on one side of a line.

    Attributes:
        side: of the line; "whole" is the whole image.
        cut: the first column or row after the line, in 0..64.
    """

    side: Side
    cut: int = SIZE

    def mask(self) -> Tensor:
        """Return which pixels it has: bool (64, 64)."""
        columns = torch.arange(SIZE).expand(SIZE, SIZE)
        place = columns if self.side in ("left", "right") else columns.T
        return place < self.cut if self.side in ("left", "above", "whole") else place >= self.cut


WHOLE = Piece("whole")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class Pair(_Frozen):
    """Two pieces that can be compared in one style.

    Attributes:
        kind: what is compared.
        style: in which style.
        cuts: of the first and of the second piece; the distance between them is the difference.
        accuracy: how often each is read correctly in drawings that the reader has not seen.
    """

    kind: Kind
    style: str
    cuts: tuple[Annotated[int, Field(ge=0, le=SIZE)], Annotated[int, Field(ge=0, le=SIZE)]]
    accuracy: tuple[float, float]

    @property
    def pieces(self) -> tuple[Piece, Piece]:
        """The two pieces."""
        first, second = SIDES[self.kind]
        return Piece(first, self.cuts[0]), Piece(second, self.cuts[1])

    @property
    def distance(self) -> int:
        """Pixels between the two, at 64 x 64."""
        return self.cuts[1] - self.cuts[0]


class Value(_Frozen):
    """A value that an attribute has in one style, such as a hair color; "" for none."""

    style: str
    value: str


class PartsTable(_Frozen):
    """What the reader can read, and which pieces are compared.

    Attributes:
        styles: names of the styles, in the order of the style's logits.
        values: what is read -> its values, in the order of their logits.
        pairs: what is compared.
    """

    styles: tuple[str, ...]
    values: dict[What, tuple[Value, ...]]
    pairs: tuple[Pair, ...]

    @model_validator(mode="after")
    def _check(self) -> "PartsTable":
        if set(self.values) != set(READ.values()):
            raise ValueError("not the attributes that are read")
        known = {(what, value.style) for what, values in self.values.items() for value in values}
        for pair in self.pairs:
            if (READ[pair.kind], pair.style) not in known or pair.style not in self.styles:
                raise ValueError("a pair without values")
        return self

    def pieces(self, what: What) -> list[Piece]:
        """Return the pieces that one attribute is read from, each once."""
        pairs = (pair for pair in self.pairs if READ[pair.kind] == what)
        return sorted(set(itertools.chain.from_iterable(pair.pieces for pair in pairs)))

    def columns(self) -> Iterator[tuple[What, Piece, slice]]:
        """Yield which logits of the reader are an attribute's, as seen in a piece.

        The first `len(styles)` are those of the style, as seen in the whole image.
        """
        start = len(self.styles)
        for what, values in self.values.items():
            for piece in self.pieces(what):
                yield what, piece, slice(start, start + len(values))
                start += len(values)

    @property
    def width(self) -> int:
        """Number of logits."""
        return len(self.styles) + sum(
            len(values) * len(self.pieces(what)) for what, values in self.values.items()
        )
