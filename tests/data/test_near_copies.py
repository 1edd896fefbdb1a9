"""Near-copies are found, other pictures are not, and contradicting labels are reported."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan.data import describe, near_copies, open_source, pack
from sagan.data.advice import warnings
from sagan.images.signature import signature
from sagan.summary import dataset_lines


def photo(seed: int, side: int = 96) -> Image.Image:
    """Colored clouds, with as much detail in the large as in the small, as photos have."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((side, side, 3))
    for cells in (3, 6, 12, 24):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        pixels += np.asarray(noise.resize((side, side), Image.Resampling.BICUBIC)) / cells
    return Image.fromarray((pixels / pixels.max() * 255).astype(np.uint8))


def recompressed(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=30)
    return Image.open(io.BytesIO(file.getvalue()))


ALIKE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "recompressed": recompressed,
    "halved": lambda image: image.resize((48, 48)),
    "doubled": lambda image: image.resize((192, 192)),
    "cropped": lambda image: image.crop((3, 1, 95, 94)),
    "cropped, halved and recompressed": lambda image: recompressed(
        image.crop((2, 2, 94, 94)).resize((50, 50))
    ),
}
DIFFERENT: dict[str, Callable[[Image.Image], Image.Image]] = {
    "another photo": lambda _: photo(99),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "in other colors": lambda image: Image.merge("RGB", image.split()[::-1]),
    "a part of it": lambda image: image.crop((0, 0, 64, 64)),
}


def found(images: list[Image.Image]) -> list[tuple[int, int]]:
    data = b"".join(signature(image.convert("RGB")) for image in images)
    return sorted(near_copies.near_copies(near_copies.as_signatures(data)))


@pytest.mark.parametrize("name", ALIKE)
def test_versions_of_an_image_are_near_copies_of_it(name: str) -> None:
    photos = [photo(seed) for seed in range(20)]
    assert found(photos) == []
    assert found([*photos, *map(ALIKE[name], photos)]) == [(20 + n, n) for n in range(20)]


@pytest.mark.parametrize("name", DIFFERENT)
def test_other_images_are_not_near_copies(name: str) -> None:
    colorful = Image.merge("RGB", [photo(seed).getchannel("R") for seed in (1, 2, 3)])
    assert found([colorful, DIFFERENT[name](colorful)]) == []


def test_images_of_one_color_are_not_compared() -> None:
    assert found([Image.new("RGB", (8, 8), (n, n, n)) for n in range(100, 110)]) == []


@pytest.mark.parametrize("block", [1, 7, 64])
def test_every_image_is_compared_with_every_other_in_blocks_of_any_size(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    photos = [photo(seed) for seed in range(12)]
    expected = found([*photos, *photos])
    assert expected == [(12 + n, n) for n in range(12)]
    monkeypatch.setattr(near_copies, "_BLOCK", block)
    assert found([*photos, *photos]) == expected


def test_a_very_large_set_takes_a_bounded_number_of_comparisons(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    signatures = rng.integers(100, 156, (4000, 259), dtype=np.uint8)
    compared = []
    nearest = near_copies._nearest

    def counting(coarse: np.ndarray, block: slice, first: int) -> tuple[np.ndarray, np.ndarray]:
        compared.append((block.stop - first) * (block.stop - block.start))
        return nearest(coarse, block, first)

    monkeypatch.setattr(near_copies, "_nearest", counting)
    monkeypatch.setattr(near_copies, "_BLOCK", 100)
    monkeypatch.setattr(near_copies, "_MAX_PAIRS", 1_000_000)
    steps: list[tuple[int, int | None]] = []
    list(near_copies.near_copies(signatures, lambda done, total: steps.append((done, total))))
    assert sum(compared) < 1_000_000
    assert len(steps) == 40
    assert steps[-1] == (4000, 4000)


def test_info_warns_of_near_copies_and_of_one_picture_under_two_labels(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
    for seed in range(6):
        photo(seed).save(tmp_path / "cat" / f"{seed}.png")
        photo(seed + 50).save(tmp_path / "dog" / f"{seed}.png")
    photo(0).resize((64, 64)).save(tmp_path / "cat" / "small.jpg")
    recompressed(photo(1)).save(tmp_path / "dog" / "again.jpg")
    photo(2).save(tmp_path / "dog" / "copy.png")
    info = describe(str(tmp_path))
    assert (info.num_copies, info.num_contradicting) == (1, 1)
    assert info.near_copies == (
        ("cat/small.jpg", "cat/0.png"), ("dog/again.jpg", "cat/1.png"),
    )  # fmt: skip
    assert (info.num_near_copies, info.num_near_contradicting) == (2, 1)
    lines = "\n".join(dataset_lines(info))
    assert "near-copy    cat/small.jpg is nearly the same as cat/0.png" in lines
    assert "2 pictures look nearly the same as others" in lines
    assert "one picture under two labels: 1 are copies of others with another label" in lines


def test_info_warns_of_images_of_nearly_one_color_by_the_range_that_packing_will_use(
    tmp_path: Path,
) -> None:
    ramp = np.tile(np.linspace(0, 3000, 8).astype(np.uint16), (8, 1))
    for n in range(4):
        Image.fromarray(ramp + n).save(tmp_path / f"{n}.png")
    info = describe(str(tmp_path), thumbnails=True)
    assert info.num_flat == 0
    assert max(image.max() for image in info.thumbnails[""]) > 150
    for n in range(4):
        Image.new("RGB", (8, 8), (n, 3, 3)).save(tmp_path / f"flat{n}.png")
    info = describe(str(tmp_path))
    assert info.num_flat == 4
    assert any("4 of 8 pictures are nearly of one color" in line for line in warnings(info))


def test_packing_notes_one_picture_under_two_labels(tmp_path: Path) -> None:
    for label in ("cat", "dog"):
        (tmp_path / "set" / label).mkdir(parents=True)
        photo(1).save(tmp_path / "set" / label / "1.png")
    pack(open_source(str(tmp_path / "set")), tmp_path / "out", 8)
    notes = describe(str(tmp_path / "out")).notes
    assert any("1 picture is a copy of another with another label" in note for note in notes)
