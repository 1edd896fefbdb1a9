"""A packed set is checked before it is trusted."""

import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan.data import PackedDataset, describe, open_dataset, open_source, pack
from sagan.errors import SaganError


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("packed")
    for name in ("a", "b"):
        (root / "set" / name).mkdir(parents=True)
        for n in range(3):
            Image.new("RGB", (4, 4), (n, n, n)).save(root / "set" / name / f"{n}.png")
    return pack(open_source(str(root / "set")), root / "out", 4).path


def edit(**changes: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        manifest = json.loads((path / "pack.json").read_text())
        (path / "pack.json").write_text(json.dumps(manifest | changes))

    return change


def write(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda path: (path / name).write_bytes(data) and None


def save(name: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path / name, array)


def truncate(path: Path) -> None:
    data = (path / "images.npy").read_bytes()
    (path / "images.npy").write_bytes(data[:-1])


def promise_terabytes(path: Path) -> None:
    with (path / "images.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": (10**12, 4, 4, 3)}
        np.lib.format.write_array_header_1_0(file, header)


def as_archive(path: Path) -> None:
    with (path / "labels.npy").open("wb") as file:
        np.savez(file, labels=np.zeros(6, np.int64))


def link_images(path: Path) -> None:
    """To the very same images: a set is complete in its folder."""
    (path / "images.npy").rename(path.parent / "elsewhere.npy")
    (path / "images.npy").symlink_to(path.parent / "elsewhere.npy")


def link_manifest(path: Path) -> None:
    (path / "pack.json").rename(path.parent / "elsewhere.json")
    (path / "pack.json").symlink_to(path.parent / "elsewhere.json")


DAMAGE = {
    "images that are a link": link_images,
    "a manifest that is a link": link_manifest,
    "a manifest of 8 MiB": edit(source="x" * 2**23),
    "a list of other things": edit(skipped=[0] * 1000),
    "no manifest": lambda path: (path / "pack.json").unlink(),
    "no images": lambda path: (path / "images.npy").unlink(),
    "no labels": lambda path: (path / "labels.npy").unlink(),
    "truncated images": truncate,
    "images that promise terabytes": promise_terabytes,
    "images of another type": save("images.npy", np.zeros((6, 4, 4, 3), np.float32)),
    "images of another shape": save("images.npy", np.zeros((6, 4, 5, 3), np.uint8)),
    "images in Fortran order": save("images.npy", np.zeros((6, 4, 4, 3), np.uint8, order="F")),
    "images that are not an array": write("images.npy", b"hello"),
    "a pickle for images": save("images.npy", np.array([{}, []], dtype=object)),
    "labels out of range": save("labels.npy", np.array([0, 0, 0, 1, 1, 2])),
    "negative labels": save("labels.npy", np.array([-1, 0, 0, 1, 1, 1])),
    "labels against the counts": save("labels.npy", np.array([0, 0, 1, 1, 1, 1])),
    "too few labels": save("labels.npy", np.array([0, 0, 0, 1, 1])),
    "labels of another type": save("labels.npy", np.zeros(6, np.int32)),
    "an archive for labels": as_archive,
    "labels without classes": edit(classes=[], counts=[]),
    "a count too many": edit(counts=[3, 3, 0]),
    "another number of images": edit(num_images=5),
    "a number as text": edit(size="4"),
    "an unknown fit": edit(fit="squash"),
    "no fingerprint": edit(fingerprint=""),
    "a newer version": edit(format_version=99),
    "a manifest that is not JSON": write("pack.json", b"{"),
    "a manifest that is not text": write("pack.json", b"\xff\xfe"),
    "a manifest that is a list": write("pack.json", b"[]"),
    "a manifest nested too deeply": write("pack.json", b"[" * 100_000),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_set_is_refused_in_one_line_that_names_it(
    whole: Path, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "set"
    shutil.copytree(whole, path)
    PackedDataset.open(path)
    DAMAGE[damage](path)
    with pytest.raises(SaganError) as error:
        PackedDataset.open(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_manifest_of_many_unknown_entries_takes_little_memory(
    whole: Path, tmp_path: Path
) -> None:
    path = shutil.copytree(whole, tmp_path / "set")
    edit(**{f"key{i}": i for i in range(200_000)})(path)
    tracemalloc.start()
    with pytest.raises(SaganError, match="unknown entry 'key0'"):
        PackedDataset.open(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 150 * 2**20


def test_nothing_can_be_written_through_an_open_set(whole: Path) -> None:
    dataset = PackedDataset.open(whole)
    assert isinstance(dataset.images, np.memmap)
    assert dataset.labels is not None
    for array in (dataset.images, dataset.labels):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@pytest.mark.parametrize("kind", ["link", "folder", "dangling"])
def test_a_set_with_something_else_in_its_manifests_place_is_not_read_as_images(
    whole: Path, tmp_path: Path, kind: str
) -> None:
    path = shutil.copytree(whole, tmp_path / "set")
    (path / "pack.json").unlink()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("RGB", (8, 8)).save(elsewhere / "secret.png")
    if kind == "folder":
        (path / "pack.json").mkdir()
    else:
        (path / "pack.json").symlink_to(elsewhere if kind == "link" else tmp_path / "nothing")
    for read in (
        lambda: open_dataset(str(path), 8, cache=tmp_path / "cache"),
        lambda: describe(str(path)),
    ):
        with pytest.raises(SaganError, match=r"is damaged: pack\.json cannot be read"):
            read()
