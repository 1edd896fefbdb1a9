"""The built-in faces: as many drawings of people as you ask for, in ten styles, which are classes.

DiceBear's generator assembles each from parts and colors that its seed chooses, with the same
result on every machine; they are known for each image (`attributes_of`). The seed is the image's
name, such as "micah-17", or "micah-test-17" in the test split.
"""

import difflib
import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

from dicebear import Avatar, Style

from sagan.data.sources.base import SourceImage
from sagan.data.sources.svg import draw
from sagan.data.sources.tree import ALL_SPLITS, DEFAULT_SPLIT, NO_LABEL
from sagan.errors import SaganError, UnreadableError
from sagan.images.decode import Fit, ImageFacts
from sagan.images.shape import Colors, Resolution
from sagan.types import UInt8Array

# People, recognizable at 32 pixels, under a license that lets you use and share them.
STYLES = (
    "toon-head", "big-ears", "micah", "open-peeps", "personas", "adventurer", "lorelei",
    "notionists", "miniavs", "dylan",
)  # fmt: skip
LICENSES = ("CC0 1.0", "CC BY 4.0")
GENERATOR_CREDIT = (
    "Avatars by DiceBear (https://www.dicebear.com), licenses at https://creativecommons.org"
)
DEFAULT_NUMBER = 20_000
TEST_SHARE = 4  # training images for each test image
MAX_NUMBER = 500_000
FORM = "avatars[:STYLE,STYLE...][@NUMBER]"

_SPEC = re.compile(r"avatars(?::(?P<styles>[^@]*))?(?:@(?P<number>.*))?", re.DOTALL)


def decode_avatar(data: bytes, size: Resolution, fit: Fit, *, colors: Colors = "rgb") -> UInt8Array:
    """Draw an avatar, as DiceBear's JSON: uint8 (H, W, C), such as (size, size, 3), in 0..255.

    Raises:
        UnreadableError: it cannot be drawn.
    """
    return draw(json.loads(data)["svg"], size, fit, colors)


def examine_avatar(data: bytes) -> ImageFacts:
    """Return an avatar's facts, as `decode.examine` does; width and height in its own units."""
    found = re.search(r'viewBox="0 0 (\d+) (\d+)"', json.loads(data)["svg"])
    if not found:
        raise UnreadableError("a drawing without a size")
    return ImageFacts(int(found[1]), int(found[2]), "RGB", "SVG")


def attributes_of(data: bytes) -> dict[str, str]:
    """Return the parts and colors of an avatar, such as `hairVariant` and `hairColor`.

    Names and values are DiceBear's; colors are like "#d6b370". A part that an image lacks, such as
    glasses, has no entry.
    """
    attributes: dict[str, str] = {}
    for name, value in json.loads(data)["options"].items():
        if name.endswith("Variant"):
            attributes[name] = str(value)
        elif name.endswith("Color") and value:  # a list: several would be a gradient
            attributes[name] = ",".join(value)
    return attributes


class AvatarsSource:
    """Faces in several styles by turns: the first images of a longer set are those of a shorter.

    Args:
        spec: `avatars`, or with styles, with a number of training images, or both:
            `avatars:toon-head,micah@5000`. The test split has a quarter as many.
        split: "train", "test" or "all".

    Raises:
        SaganError: a style is unknown or its license does not allow its use, or the number or the
            split is out of range.
    """

    splits: tuple[str, ...] = ("test", "train")
    decode = staticmethod(decode_avatar)
    examine = staticmethod(examine_avatar)
    attributes = staticmethod(attributes_of)
    notes: tuple[str, ...] = ()

    def __init__(self, spec: str, split: str = DEFAULT_SPLIT) -> None:
        if split not in (*self.splits, ALL_SPLITS):
            raise SaganError(f"no split '{split}' in avatars: it has test, train, or {ALL_SPLITS}")
        found = _SPEC.fullmatch(spec)
        if not found:
            raise SaganError(f"'{spec}' is not {FORM}")
        self.name = spec
        self.split = split
        self._styles = _parse_styles(found["styles"])
        # As with folders, a single class gives no labels.
        self.classes = self._styles if len(self._styles) > 1 else ()
        number = _parse_number(found["number"])
        numbers = {"train": number, "test": -(-number // TEST_SHARE)}
        self._numbers = numbers if split == ALL_SPLITS else {split: numbers[split]}

    @property
    def num_images(self) -> int:
        return sum(self._numbers.values())

    @property
    def credits(self) -> str:
        return "\n".join((GENERATOR_CREDIT, *map(_credit, self._styles)))

    def images(self) -> Iterator[SourceImage]:
        for split, number in self._numbers.items():
            infix = "test-" if split == "test" else ""
            for index in range(number):
                turn, place = divmod(index, len(self._styles))
                style = self._styles[place]
                name = f"{style}-{infix}{turn}"
                label = place if self.classes else NO_LABEL
                yield SourceImage(name, label, partial(_assemble, style, name))

    def listing_digest(self) -> str:
        packages = ("dicebear-core", "dicebear-styles", "resvg-py")
        versions = [metadata.version(name) for name in packages]
        what = ("avatars", versions, self._styles, self._numbers)
        return hashlib.sha256(repr(what).encode()).hexdigest()


def _assemble(style: str, seed: str) -> bytes:
    """Return an avatar as DiceBear's JSON: its SVG, and the options that its seed chose."""
    return json.dumps(Avatar(_open_style(style), {"seed": seed}).to_json()).encode()


@functools.cache
def _open_style(name: str) -> Style:
    return Style(_definition(name))


def _definition(name: str) -> dict[str, Any]:
    definition: dict[str, Any] = json.loads((_folder() / f"{name}.json").read_text("utf-8"))
    return definition


@functools.cache
def _folder() -> Path:
    distribution = metadata.distribution("dicebear-styles")
    return Path(str(distribution.locate_file("dicebear_styles")))


def _credit(style: str) -> str:
    meta: Mapping[str, Any] = _definition(style)["meta"]
    return (
        f"{style}: remix of '{meta['source']['name']}' by {meta['creator']['name']}, "
        f"{meta['license']['name']}"
    )


def _parse_styles(text: str | None) -> tuple[str, ...]:
    styles = tuple(text.split(",")) if text is not None else STYLES
    known = [file.stem for file in sorted(_folder().glob("*.json"))]
    for style in styles:
        if style not in known:
            close = difflib.get_close_matches(style, known, n=3) or STYLES
            raise SaganError(
                f"avatars have no style '{style}': did you mean {' or '.join(close[:3])}? "
                f"'avatars' alone is a mixture of {', '.join(STYLES)}"
            )
        license_name = _definition(style)["meta"]["license"]["name"]
        if license_name not in LICENSES:
            raise SaganError(
                f"the license of the style '{style}' ({license_name.rstrip('.')}) does not let "
                f"you share what you make of it: choose from {', '.join(STYLES)}"
            )
    if len(set(styles)) != len(styles):
        raise SaganError(f"'avatars:{text}' contains a style twice: give each once")
    return styles


def _parse_number(text: str | None) -> int:
    text = text if text is not None else str(DEFAULT_NUMBER)
    if not re.fullmatch("[0-9]{1,6}", text) or not 1 <= int(text) <= MAX_NUMBER:
        raise SaganError(
            f"'@{text}' is not a number of avatars: give {FORM}, with 1 to {MAX_NUMBER:,} of them"
        )
    return int(text)
