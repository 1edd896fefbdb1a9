"""Files that cannot be used never stop packing, and each is named with its reason."""

import io
import json
import os
import struct
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sagan.data import describe, open_source, pack
from sagan.data.sources.zip_archive import read_member
from sagan.errors import SaganError, UnreadableError


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


SILENT = (".DS_Store", "Thumbs.db", "__MACOSX/._1.png", "desktop.ini", "._2.png")


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def good(num: int = 60) -> dict[str, bytes]:
    return {f"good-{n:02}.png": png(n) for n in range(num)}


def skipped(out: Path) -> dict[str, str]:
    manifest = json.loads((out / "pack.json").read_text())
    return {file["name"]: file["reason"] for file in manifest["skipped"]}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_bad_files_are_left_out_and_each_is_named_with_its_reason(
    tmp_path: Path, kind: str, bad_images: dict[str, tuple[bytes, str]]
) -> None:
    files = good() | {name: data for name, (data, _) in bad_images.items()}
    files |= dict.fromkeys(SILENT, b"x")
    write = {"folder": write_folder, "zip": write_zip}[kind]
    source = str(write(tmp_path / f"set.{kind}", files))
    dataset = pack(open_source(source), tmp_path / "out", 4)
    assert dataset.images[:, 0, 0, 0].tolist() == list(range(60))
    reasons = skipped(tmp_path / "out")
    assert reasons.keys() == bad_images.keys()
    for name, (_, reason) in bad_images.items():
        assert reason in reasons[name]
    # Looking before training names the same.
    assert describe(source).unreadable == reasons


def test_links_that_lead_in_a_circle_or_nowhere_are_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", good())
    (root / "circle.png").symlink_to(root / "circle.png")
    (root / "nowhere.png").symlink_to(root / "gone.png")
    (root / "myself").symlink_to(root, target_is_directory=True)
    assert len(pack(open_source(str(root)), tmp_path / "out", 4)) == 60
    assert skipped(tmp_path / "out") == {
        "circle.png": "Too many levels of symbolic links",
        "nowhere.png": "No such file or directory",
    }


@pytest.fixture
def not_root() -> Iterator[Path]:
    """A folder to work in without the rights of root."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        if os.geteuid():
            yield Path(folder)
            return
        os.seteuid(65534)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


def test_a_file_that_may_not_be_read_is_named(not_root: Path) -> None:
    root = write_folder(not_root / "set", good() | {"secret.png": png(0)})
    (root / "secret.png").chmod(0)
    assert len(pack(open_source(str(root)), not_root / "out", 4)) == 60
    assert skipped(not_root / "out") == {"secret.png": "Permission denied"}


def test_a_folder_that_may_not_be_listed_is_noted(not_root: Path) -> None:
    root = write_folder(not_root / "set", good() | {"secret/a.png": png(0)})
    (root / "secret").chmod(0)
    try:
        assert any("secret': Permission denied" in note for note in describe(str(root)).notes)
    finally:
        (root / "secret").chmod(0o700)


def test_the_share_of_bad_files_that_stops_can_be_chosen(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", good(8) | {"a.png": b"", "b.png": b""})
    with pytest.raises(SaganError, match=r"2 of 10 .*'a\.png' \(empty file\).*--max-unreadable"):
        pack(open_source(str(root)), tmp_path / "out", 4)
    assert not (tmp_path / "out").exists()
    assert len(pack(open_source(str(root)), tmp_path / "out", 4, max_unreadable=0.2)) == 8
    with pytest.raises(SaganError, match="not in 0 to 1"):
        pack(open_source(str(root)), tmp_path / "out", 4, max_unreadable=2)


def test_a_set_without_readable_images_is_an_error_even_if_all_may_be_unreadable(
    tmp_path: Path,
) -> None:
    root = write_folder(tmp_path / "set", {"a.png": b""})
    with pytest.raises(SaganError, match="no pictures in"):
        pack(open_source(str(root)), tmp_path / "out", 4, max_unreadable=1)


# Zips.


def members(data: bytes) -> list[int]:
    """Where the entries of the central directory begin."""
    starts, at = [], data.find(b"PK\x01\x02")
    while at >= 0:
        starts.append(at)
        at = data.find(b"PK\x01\x02", at + 4)
    return starts


def change(path: Path, name: str, offset: int, form: str, value: int) -> None:
    """Overwrite one field of a member's entry in the central directory."""
    data = bytearray(path.read_bytes())
    for start in members(bytes(data)):
        length = struct.unpack_from("<H", data, start + 28)[0]
        if data[start + 46 : start + 46 + length] == name.encode():
            struct.pack_into(form, data, start + offset, value)
    path.write_bytes(data)


def test_names_that_leave_the_archive_are_left_out_with_a_note(tmp_path: Path) -> None:
    unsafe = {"../../evil.png": png(9), "/etc/evil.png": png(9), "C:\\evil.png": png(9)}
    path = write_zip(tmp_path / "x.zip", good(3) | unsafe)
    assert pack(open_source(str(path)), tmp_path / "out", 4).images[:, 0, 0, 0].tolist() == [
        0,
        1,
        2,
    ]
    note, flat = json.loads((tmp_path / "out" / "pack.json").read_text())["notes"]
    assert flat.startswith("3 of 3 pictures are nearly of one color")
    assert note.startswith("3 members whose names point out of the archive")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "x.zip"]


@pytest.mark.filterwarnings("ignore:Duplicate name")  # zipfile's, when writing
def test_of_two_members_with_one_name_the_later_counts_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for shade in (1, 2):
            archive.writestr("same.png", png(shade))
    assert pack(open_source(str(path)), tmp_path / "out", 4).images[:, 0, 0, 0].tolist() == [2]
    note, flat = json.loads((tmp_path / "out" / "pack.json").read_text())["notes"]
    assert flat.startswith("1 of 1 pictures are nearly of one color")
    assert "same.png" in note


def test_an_encrypted_member_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", good(20) | {"secret.png": png(1)})
    change(path, "secret.png", 8, "<H", 1)  # the flag that says so
    assert len(pack(open_source(str(path)), tmp_path / "out", 4)) == 20
    assert skipped(tmp_path / "out") == {"secret.png": "encrypted"}


@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
def test_a_truncated_archive_is_refused_in_one_line(tmp_path: Path, share: float) -> None:
    path = write_zip(tmp_path / "x.zip", good())
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(SaganError, match=r"cannot read the zip .*x\.zip'"):
        pack(open_source(str(path)), tmp_path / "out", 4)


def test_a_member_that_inflates_to_more_than_it_says_is_cut_off(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", good(20) | {"bomb.png": bytes(50_000_000)})
    change(path, "bomb.png", 24, "<I", 1000)
    assert len(pack(open_source(str(path)), tmp_path / "out", 4)) == 20
    assert "CRC" in skipped(tmp_path / "out")["bomb.png"]


@pytest.mark.parametrize("form", ["huge", "claims"])
def test_a_member_that_is_or_claims_to_be_huge_is_not_inflated(tmp_path: Path, form: str) -> None:
    content = bytes(257 * 1024**2) if form == "huge" else png(1)
    path = write_zip(tmp_path / "x.zip", good(20) | {"bomb.png": content})
    if form == "claims":
        change(path, "bomb.png", 20, "<I", 2**32 - 2)  # its compressed size
    assert len(pack(open_source(str(path)), tmp_path / "out", 4)) == 20
    assert "larger than 256 MiB" in skipped(tmp_path / "out")["bomb.png"]


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """The zip bomb without recursion (Fifield 2019): many entries point at one compressed body."""
    path = write_zip(tmp_path / "x.zip", good(40) | {"y.png": png(1), "z.png": png(1)})
    data = path.read_bytes()
    offset = struct.unpack_from("<I", data, members(data)[-2] + 42)[0]
    change(path, "z.png", 42, "<I", offset)
    assert len(pack(open_source(str(path)), tmp_path / "out", 4)) == 41
    assert "overlaps" in skipped(tmp_path / "out")["z.png"]


def test_a_directory_that_points_nowhere_makes_only_those_members_unreadable(
    tmp_path: Path,
) -> None:
    path = write_zip(tmp_path / "x.zip", good(20) | {"lost.png": png(1)})
    change(path, "lost.png", 42, "<I", len(path.read_bytes()) - 10)
    assert len(pack(open_source(str(path)), tmp_path / "out", 4)) == 20
    assert skipped(tmp_path / "out").keys() == {"lost.png"}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_also_read(tmp_path: Path, method: int) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in good(20).items():
            archive.writestr(name, data)
    assert pack(open_source(str(path)), tmp_path / "out", 4).images[:, 0, 0, 0].tolist() == list(
        range(20)
    )


@pytest.mark.parametrize("prefix", ["./", "folder\\"])
def test_other_compressions_are_read_whatever_way_the_archive_writes_names(
    tmp_path: Path, prefix: str
) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        for name, data in good(3).items():
            archive.writestr(prefix + name, data)
    assert len(pack(open_source(str(path)), tmp_path / "out", 4)) == 3


def test_a_member_that_zlib_cannot_inflate_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", good(20) | {"lost.png": png(1)})
    deflated = zlib.compress(png(1), wbits=-15)
    data = path.read_bytes()
    assert data.count(deflated) == 2  # lost.png and good-01.png
    at = data.rindex(deflated)
    path.write_bytes(data[:at] + b"\xff" * len(deflated) + data[at + len(deflated) :])
    assert len(pack(open_source(str(path)), tmp_path / "out", 4)) == 20
    assert skipped(tmp_path / "out").keys() == {"lost.png"}


def test_an_archive_without_members_is_refused_in_one_line(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {})
    with pytest.raises(SaganError, match="no pictures in"):
        pack(open_source(str(path)), tmp_path / "out", 4)


def test_a_zip_with_any_bytes_changed_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", good(12))
    sound = path.read_bytes()
    start = sound.find(b"PK\x01\x02")  # the directory: members' bytes have a checksum
    messages: list[str] = []
    num_images: list[int] = []
    for seed in range(30):
        data = bytearray(sound)
        rng = np.random.default_rng(seed)
        for place in rng.integers(start, len(data), 3):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            dataset = pack(open_source(str(path)), tmp_path / "out", 4, max_unreadable=1)
        except SaganError as error:
            messages.append(str(error))
        else:
            shades = dataset.images[:, 0, 0, 0].tolist()
            assert set(shades) <= set(range(12)), seed
            num_images.append(len(shades))
    assert all(message and "\n" not in message for message in messages)
    # Not trivially: some are refused; of the others some have lost images, some have not.
    assert messages
    assert min(num_images) < max(num_images) == 12


def test_a_zip_is_read_on_a_system_without_pread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.delattr(os, "pread", raising=False)
    long_names = {f"{'n' * 200}-{name}": data for name, data in good(20).items()}
    path = write_zip(tmp_path / "x.zip", long_names)  # a name that takes a second read
    dataset = pack(open_source(str(path)), tmp_path / "out", 4)
    assert dataset.images[:, 0, 0, 0].tolist() == list(range(20))


@pytest.mark.parametrize("offset", [2**63 - 1, 2**63, 2**64 - 1])
def test_a_member_beyond_the_end_of_any_file_is_unreadable(tmp_path: Path, offset: int) -> None:
    path = write_zip(tmp_path / "x.zip", good(1))
    with pytest.raises(UnreadableError):
        read_member(str(path), (offset, 10, 10, 0, zipfile.ZIP_STORED, False, False))


def test_a_zip_that_is_gone_makes_its_members_unreadable(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", good(1))
    (image,) = open_source(str(path)).images()
    path.unlink()
    with pytest.raises(UnreadableError, match="No such file"):
        image.read()


# Pipes and devices.


def a_pipe_among_images(root: Path) -> Path:
    write_folder(root, good(20))
    os.mkfifo(root / "pipe.png")
    return root


def a_pipe_called(name: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        os.mkfifo(root / name)
        return root / name

    return make


def a_folder_with_a_pipe_called(name: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        os.mkfifo(root / name)
        return root

    return make


@pytest.mark.parametrize(
    "make",
    [
        a_pipe_called("x.png"),
        a_pipe_called("x.zip"),
        a_pipe_called("x.tar.gz"),
        a_pipe_called("x.parquet"),
        a_folder_with_a_pipe_called("x.parquet"),
        a_folder_with_a_pipe_called("x.arrow"),
        a_folder_with_a_pipe_called("x.tar"),
        lambda _: Path("/dev/zero"),
    ],
)
def test_a_pipe_or_a_device_as_a_source_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    path = make(tmp_path)
    errors: list[Exception] = []

    def use() -> None:
        try:
            open_source(str(path))
        except SaganError as error:
            errors.append(error)

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    thread.join(timeout=60)  # importing `datasets` takes some of it
    (error,) = errors
    assert "not a regular file" in str(error)
    assert str(path) in str(error)


def test_a_pipe_among_images_is_named(tmp_path: Path) -> None:
    root = a_pipe_among_images(tmp_path / "set")
    assert len(pack(open_source(str(root)), tmp_path / "out", 4)) == 20
    assert skipped(tmp_path / "out") == {"pipe.png": "not a regular file"}
