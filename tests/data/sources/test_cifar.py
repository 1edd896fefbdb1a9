"""CIFAR as published, in its four forms, in an archive or unpacked; and hostile pickles."""

import gzip
import io
import os
import pickle
import pickletools
import re
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from sagan.data import describe, open_source, pack
from sagan.data.sources import cifar
from sagan.data.sources.cifar_pickle import read_pickle
from sagan.data.sources.tar_archive import open_tar
from sagan.errors import SaganError

NAMES = ("airplane", "automobile", "bird")
PER_FILE = 4


def pixels(part: int) -> np.ndarray:
    """The images of file number `part`: uint8 (PER_FILE, 32, 32, 3)."""
    shape = (PER_FILE, 32, 32, 3)
    return np.random.default_rng(part).integers(0, 256, shape, dtype=np.uint8)


def labels(part: int) -> list[int]:
    return [(part + n) % len(NAMES) for n in range(PER_FILE)]


def planes(part: int) -> np.ndarray:
    return np.ascontiguousarray(pixels(part).transpose(0, 3, 1, 2)).reshape(PER_FILE, 3072)


def old_pickle(value: object) -> bytes:
    """A pickle as Python 2 and the NumPy of 2009 wrote it: byte strings, an old module name."""
    data = pickle.dumps(value, protocol=2)
    return data.replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")


def records(part: int, coarse: bool) -> bytes:
    rows = zip(labels(part), planes(part), strict=True)
    return b"".join((b"\7" if coarse else b"") + bytes([n]) + row.tobytes() for n, row in rows)


def python_part(part: int, key: str) -> bytes:
    content = {key.encode(): labels(part), b"data": planes(part), b"filenames": [b"x.png"]}
    return old_pickle(content)


def lines() -> bytes:
    return "\n".join(NAMES).encode() + b"\n\n"


def cifar10_python() -> dict[str, bytes]:
    files = {f"data_batch_{i}": python_part(i, "labels") for i in range(1, 6)}
    files["test_batch"] = python_part(6, "labels")
    meta = {b"label_names": [name.encode() for name in NAMES], b"num_vis": 3072}
    return files | {"batches.meta": old_pickle(meta), "readme.html": b"<html>"}


def cifar10_binary() -> dict[str, bytes]:
    files = {f"data_batch_{i}.bin": records(i, coarse=False) for i in range(1, 6)}
    return files | {"test_batch.bin": records(6, coarse=False), "batches.meta.txt": lines()}


def cifar100_python() -> dict[str, bytes]:
    files = {"train": python_part(1, "fine_labels"), "test": python_part(6, "fine_labels")}
    return files | {"meta": old_pickle({b"fine_label_names": list(NAMES)})}


def cifar100_binary() -> dict[str, bytes]:
    files = {"train.bin": records(1, coarse=True), "test.bin": records(6, coarse=True)}
    names = {"fine_label_names.txt": lines(), "coarse_label_names.txt": b"a\nb\n"}
    return files | names


FORMS = [cifar10_python, cifar10_binary, cifar100_python, cifar100_binary]


def in_folder(root: Path, files: dict[str, bytes]) -> Path:
    (root / "unpacked").mkdir()
    for name, data in files.items():
        (root / "unpacked" / name).write_bytes(data)
    return root / "unpacked"


def in_tar(root: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(root / "set.tar.gz", "w:gz") as archive:
        for name, data in reversed(files.items()):  # published archives are in no order either
            member = tarfile.TarInfo(f"cifar-batches/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return root / "set.tar.gz"


@pytest.mark.parametrize("write", [in_folder, in_tar])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_its_pixels_labels_and_class_names(tmp_path, form, write) -> None:
    source = str(write(tmp_path, form()))
    parts = range(1, 6) if "cifar10_" in form.__name__ else [1]
    train = pack(open_source(source), tmp_path / "train", 32)
    assert np.array_equal(train.images, np.concatenate([pixels(part) for part in parts]))
    assert train.labels.tolist() == [label for part in parts for label in labels(part)]
    assert train.classes == NAMES
    test = pack(open_source(source, "test"), tmp_path / "test", 32)
    assert np.array_equal(test.images, pixels(6))
    assert describe(source, split="test").counts == {"airplane": 2, "automobile": 1, "bird": 1}
    both = pack(open_source(source, "all"), tmp_path / "all", 32)
    assert np.array_equal(both.images, np.concatenate([train.images, test.images]))
    with pytest.raises(SaganError, match="no split 'val'"):
        pack(open_source(source, "val"), tmp_path / "val", 32)


@pytest.mark.parametrize("form", FORMS)
def test_a_damaged_part_is_named(tmp_path, form) -> None:
    files = form()
    name = next(name for name in files if "test" in name)
    files[name] = files[name][:-100]
    source = str(in_folder(tmp_path, files))
    with pytest.raises(SaganError, match=f"cannot read {name}"):
        pack(open_source(source, "test"), tmp_path / "out", 32)


def test_a_label_without_a_name_is_refused(tmp_path) -> None:
    files = cifar10_binary() | {"batches.meta.txt": b"airplane\n"}
    with pytest.raises(SaganError, match="label 1 without a name"):
        pack(open_source(str(in_folder(tmp_path, files))), tmp_path / "out", 32)


# Pickles.


class Attack:
    """Pickles to a call of any function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


@pytest.mark.parametrize("protocol", range(5))
def test_pickles_of_every_protocol_are_read(protocol) -> None:
    content = {"labels": [1, 2], "data": planes(1), "name": "x", b"raw": b"\xff"}
    read = read_pickle(pickle.dumps(content, protocol=protocol))
    assert read["labels"] == [1, 2]
    assert np.array_equal(read["data"], planes(1))
    assert (read["name"], read["raw"]) == ("x", "\xff")


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("wrapped", [lambda v: v, lambda v: {b"labels": v}, lambda v: {"a": [v]}])
@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        ("os", "mkdir", ("HERE",)),
        ("builtins", "eval", ("__import__('os').mkdir('HERE')",)),
        ("posix", "mkdir", ("HERE",)),
        ("numpy", "save", ("HERE", 1)),
        ("numpy", "load", ("HERE",)),
        ("numpy.core.multiarray", "fromstring", ("x",)),
        ("numpy", "ndarray.tofile", ("HERE",)),
        ("sagan.data.sources.cifar_pickle", "_Array", ()),
        ("_codecs", "encode", ("x", "rot13")),
        ("_codecs", "lookup", ("x",)),
    ],
)
def test_a_pickle_that_calls_anything_is_refused_before_it_does(
    tmp_path, protocol, wrapped, module, name, arguments
) -> None:
    marker = str(tmp_path / "attacked")
    value = Attack(
        len, *(a.replace("HERE", marker) if isinstance(a, str) else a for a in arguments)
    )
    data = pickle.dumps(wrapped(value), protocol=protocol)
    # The call of len becomes a call of the name under test.
    data = renamed(data, module, name)
    with pytest.raises(ValueError, match=r"only arrays are allowed|encoding"):
        read_pickle(data)
    assert list(tmp_path.iterdir()) == []


def renamed(data: bytes, module: str, name: str) -> bytes:
    if b"\x93" in data:  # STACK_GLOBAL: two strings of known lengths, and no frame around them
        old = b"\x8c\x08builtins\x94\x8c\x03len\x94"
        new = b"".join(b"\x8c" + bytes([len(w)]) + w.encode() + b"\x94" for w in (module, name))
        start = data.index(b"\x95") if b"\x95" in data[:4] else None
        if start is not None:
            data = data[:start] + data[start + 9 :]
        assert old in data
        return data.replace(old, new)
    for old_module in (b"__builtin__", b"builtins"):
        data = data.replace(b"c" + old_module + b"\nlen\n", f"c{module}\n{name}\n".encode())
    pickletools.dis(data, out=io.StringIO())
    return data


OBJECTS = np.array([{}, "x"], dtype=object)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a pickle",
        pickle.dumps([1, 2]),
        pickle.dumps({"data": OBJECTS}, protocol=2),
        pickle.dumps({"data": np.zeros(4)}, protocol=2),
        pickle.dumps({"data": np.zeros((2, 3), np.uint8, order="F")}, protocol=2),
        # A string that claims 2 GB, a persistent object, a registered extension.
        b"\x80\x02T\xff\xff\xff\x7fabc.",
        b"\x80\x02U\x01aQ.",
        b"\x80\x02\x82\x01.",
        # An array whose shape does not fit its bytes, and one that is never filled.
        old_pickle({"data": planes(1)}).replace(b"M\x00\x0c", b"M\xff\x0c"),
    ],
)
def test_a_pickle_of_anything_else_is_refused(data) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (each has its own message)
        read_pickle(data)


def test_a_large_index_into_the_memo_reserves_no_memory() -> None:
    # Python's unpickler in C asks for 32 GB at this, and may be killed for it.
    assert read_pickle(b"\x80\x02}r\xff\xff\xff\x7f.") == {}


def test_a_hostile_archive_is_refused_in_one_line(tmp_path) -> None:
    files = cifar10_python()
    files["data_batch_1"] = renamed(pickle.dumps(Attack(len, "x"), protocol=2), "os", "system")
    with pytest.raises(SaganError, match=r"data_batch_1.*asks for os\.system") as error:
        pack(open_source(str(in_folder(tmp_path, files))), tmp_path / "out", 32)
    assert "\n" not in str(error.value)


def test_a_file_of_zeros_is_refused_at_once(tmp_path) -> None:
    """Of the decompressors for a .tar, one would read zeros to their end."""
    path = tmp_path / "zeros.tar.xz"
    path.touch()
    os.truncate(path, 2**40)
    started = time.monotonic()
    with pytest.raises(SaganError, match=re.escape(str(path))):
        open_source(str(path))
    assert time.monotonic() - started < 5


def test_an_archive_that_unpacks_to_more_than_cifar_is_not_unpacked(tmp_path) -> None:
    names = []
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", compresslevel=1) as archive:
        for i in range(3):
            member = tarfile.TarInfo(f"zeros{i}")
            member.size = 2**20
            archive.addfile(member, io.BytesIO(bytes(member.size)))
            names.append(member.name)
    assert cifar.first_names(tmp_path / "a.tar.gz") == names
    huge = tarfile.TarInfo("huge")
    huge.size = 2**40
    (tmp_path / "b.tar").write_bytes(huge.tobuf())
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(huge.tobuf()))
    for name in ("b.tar", "b.tar.gz"):
        assert cifar.first_names(tmp_path / name) == []


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_gigabytes_of_attributes_are_refused_before_they_are_read(tmp_path, kind) -> None:
    header = tarfile.TarInfo("name")
    header.type, header.size = kind, 2**36
    path = tmp_path / "x.tar"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT))
    os.truncate(path, 2**36 + 512)
    with pytest.raises(SaganError, match=r"x\.tar"):
        open_source(str(path))
    with (
        path.open("rb") as file,
        pytest.raises(tarfile.ReadError, match="68,719,476,736 bytes of attributes"),
    ):
        open_tar(file)
