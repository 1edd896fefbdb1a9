"""The built-in data set."""

import hashlib

import numpy as np
import pytest

from sagan.data.sources.openmoji import OpenMojiSource
from sagan.errors import SaganError


def test_there_are_4495_images_without_labels_in_the_order_of_their_names() -> None:
    source = OpenMojiSource()
    drawings = list(source.images())
    assert source.num_images == len(drawings) == 4495
    assert {drawing.label for drawing in drawings} == {-1}
    names = [drawing.name for drawing in drawings]
    assert names == sorted(set(names))
    assert source.classes == ()


def test_a_render_has_the_same_pixels_on_every_machine() -> None:
    source = OpenMojiSource()
    chosen = list(source.images())[::450]
    digest = hashlib.sha256()
    for drawing in chosen:
        digest.update(source.decode(drawing.read(), size=32, fit="crop").tobytes())
    assert (len(chosen), digest.hexdigest()) == (10, EXPECTED)


EXPECTED = "eb87a7a916985ed5046b84332853753f79e7c41efc46b5d5ce84cd95f0dea654"


def test_a_drawing_is_on_white_and_not_blank() -> None:
    source = OpenMojiSource()
    for drawing in list(source.images())[::900]:
        image = source.decode(drawing.read(), size=32, fit="crop")
        corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert (corners == 255).all()
        assert (image != 255).any(axis=-1).mean() > 0.03


def test_a_red_heart_is_red() -> None:
    source = OpenMojiSource()
    heart = next(drawing for drawing in source.images() if drawing.name == "2764.svg")
    red, green, blue = source.decode(heart.read(), size=33, fit="crop")[16, 16].astype(np.int64)
    assert red > 200 > 100 > max(green, blue)


def test_there_is_only_the_train_split() -> None:
    with pytest.raises(SaganError, match="only 'train'"):
        OpenMojiSource("test")
