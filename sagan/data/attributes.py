"""Attributes of a packed set's images, where its source knows any: attributes.json beside them."""

import json
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from sagan.data.packed import PackedDataset
from sagan.errors import SaganError, UnreadableError, first_problem
from sagan.storage.files import read_file
from sagan.types import Int64Array

ATTRIBUTES = "attributes.json"
MAX_BYTES = 64 * 1024**2  # half a million images with 40 attributes each
ABSENT = -1


@dataclass(frozen=True, eq=False)
class Attribute:
    """One attribute of N images.

    Attributes:
        values: its V different values.
        codes: int64 (N,), the index of each image's value in `values`, or -1 without one.
    """

    values: tuple[str, ...]
    codes: Int64Array


class _Column(BaseModel):
    """An attribute as it is saved."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    values: tuple[str, ...]
    codes: tuple[Annotated[int, Field(ge=ABSENT)], ...]

    @model_validator(mode="after")
    def _check_codes(self) -> "_Column":
        if max(self.codes, default=ABSENT) >= len(self.values):
            raise ValueError("a code without a value")
        return self


class AttributeTable:
    """Collects the attributes of images in order, to be saved."""

    def __init__(self) -> None:
        self._num = 0
        self._values: dict[str, dict[str, int]] = {}
        self._codes: dict[str, array[int]] = {}

    def add(self, attributes: Mapping[str, str]) -> None:
        """Add the next image."""
        for name, value in attributes.items():
            codes = self._codes.setdefault(name, array("i"))
            codes.extend([ABSENT] * (self._num - len(codes)))
            values = self._values.setdefault(name, {})
            codes.append(values.setdefault(value, len(values)))
        self._num += 1

    def to_json(self) -> str:
        """Return name -> values and codes as JSON; see `Attribute`."""
        columns = {}
        for name, codes in sorted(self._codes.items()):
            codes.extend([ABSENT] * (self._num - len(codes)))
            columns[name] = {"values": list(self._values[name]), "codes": codes.tolist()}
        return json.dumps(columns, separators=(",", ":")) + "\n"


def read_attributes(dataset: PackedDataset) -> dict[str, Attribute]:
    """Return the attributes of a packed set's images by name; empty where its source knows none.

    Those of `avatars` are parts and colors: `hairVariant`, `skinColor`, `eyesVariant` and so on.

    Raises:
        SaganError: attributes.json is damaged.
    """
    path = dataset.path / ATTRIBUTES
    if not path.exists():
        return {}
    return {
        name: Attribute(column.values, np.array(column.codes, dtype=np.int64))
        for name, column in _read_columns(path, len(dataset)).items()
    }


def _read_columns(path: Path, num_images: int) -> dict[str, _Column]:
    try:
        columns = TypeAdapter(dict[str, _Column]).validate_json(read_file(path, MAX_BYTES))
    except UnreadableError as error:
        raise SaganError(f"cannot read '{path}': {error}") from None
    except ValidationError as error:
        raise SaganError(f"'{path}' is damaged: {first_problem(error)}; pack it again") from None
    for name, column in columns.items():
        if len(column.codes) != num_images:
            raise SaganError(
                f"'{path}' is damaged: {name!r} has {len(column.codes):,} codes for "
                f"{num_images:,} images; pack it again"
            )
    return columns
