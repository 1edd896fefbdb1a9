"""The built-in data set."""

import hashlib

import numpy as np
import pytest

from sagan.data.sources.openmoji import OpenMojiSource
from sagan.errors import SaganError


def test_there_are_4495_images_without_labels_in_the_order_of_their_names() -> None:
    source = OpenMojiSource()
    pictures = list(source.images())
    assert source.num_images == len(pictures) == 4495
    assert {picture.label for picture in pictures} == {-1}
    names = [picture.name for picture in pictures]
    assert names == sorted(set(names))
    assert source.classes == ()


def test_a_render_has_the_same_pixels_on_every_machine() -> None:
    source = OpenMojiSource()
    chosen = list(source.images())[::450]
    digest = hashlib.sha256()
    for picture in chosen:
        digest.update(source.decode(picture.read(), size=32, fit="crop").tobytes())
    assert (len(chosen), digest.hexdigest()) == (10, EXPECTED)


EXPECTED = "eb87a7a916985ed5046b84332853753f79e7c41efc46b5d5ce84cd95f0dea654"


def test_a_drawing_is_on_white_and_not_blank() -> None:
    source = OpenMojiSource()
    for picture in list(source.images())[::900]:
        image = source.decode(picture.read(), size=32, fit="crop")
        corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
        assert (corners == 255).all()
        assert (image != 255).any(axis=-1).mean() > 0.03


def test_a_red_heart_is_red() -> None:
    source = OpenMojiSource()
    heart = next(picture for picture in source.images() if picture.name == "2764.svg")
    red, green, blue = source.decode(heart.read(), size=33, fit="crop")[16, 16].astype(np.int64)
    assert red > 200 > 100 > max(green, blue)


def test_there_is_only_the_train_split() -> None:
    with pytest.raises(SaganError, match="only 'train'"):
        OpenMojiSource("test")
