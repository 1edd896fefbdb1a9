"""Text in images fits its place and is legible."""

import numpy as np
import pytest

from sagan.images.lettering import LINE_HEIGHT, draw_lines, fitted, text_width, wrapped

NAMES = (
    "cat", "German shorthaired pointer", "n02124075_Egyptian_cat", "x" * 300, "a-b-c", "",
    "кошка", "猫", "\ud800\x1b[31m", "l'été", "_" * 50, "   ",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [30, 96])
def test_text_is_no_wider_and_no_longer_than_its_place(name: str, width: int) -> None:
    lines = wrapped(name, width, 2)
    assert len(lines) <= 2
    assert all(text_width(line) <= width for line in [*lines, fitted(name, width)])


def test_names_break_at_spaces_hyphens_and_underscores() -> None:
    assert wrapped("n02124075_Egyptian_cat", 96, 2) == ["n02124075_", "Egyptian_cat"]
    assert wrapped("German shepherd", 96, 2) == ["German", "shepherd"]
    assert wrapped("cat", 96, 2) == ["cat"]
    assert wrapped("German shorthaired pointer", 96, 2)[1].endswith("…")


def test_unknown_and_control_characters_are_replaced_and_others_kept() -> None:
    assert fitted("кошка, Αθήνα, l'été", 300) == "кошка, Αθήνα, l'été"
    assert fitted("猫\x1b\n", 300) == "\N{REPLACEMENT CHARACTER}" * 3


def test_lines_are_drawn_at_their_place_and_clipped_to_the_image() -> None:
    image = np.full((3 * LINE_HEIGHT, 60, 3), 255, np.uint8)
    draw_lines(image, 20, LINE_HEIGHT, ["a", "very long line of text"])
    dark = (image < 128).any(axis=2)
    assert not dark[:LINE_HEIGHT].any()
    assert not dark[:, :20].any()
    assert dark[LINE_HEIGHT : 2 * LINE_HEIGHT].any()
    assert dark[2 * LINE_HEIGHT :, 50:].any()
