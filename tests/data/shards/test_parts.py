"""Several hosts pack one set: to the bits of one host, whatever is killed, repeated or mixed up."""

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sagan.data import fingerprint_of, open_source, pack
from sagan.data.parts import Part, pack_part
from sagan.errors import SaganError

SHARD_BYTES = 40 * 8 * 8 * 3  # 40 images


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 images of two classes, with copies, unreadable files and gray ones of 12 bits."""
    root = tmp_path_factory.mktemp("parts") / "set"
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (root / label).mkdir(parents=True)
        for n in range(150):
            noise = rng.integers(0, 256, (10, 10, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / label / f"{n:03}.png")
    for n in (7, 8, 149):
        (root / "a" / f"{n:03}.png").write_bytes(b"broken")
    shutil.copy(root / "a" / "000.png", root / "b" / "100.png")
    for n in (3, 70, 140):
        deep = rng.integers(0, 4096, (10, 10)).astype(np.uint16)
        Image.fromarray(deep).save(root / "b" / f"{n:03}.png")
    return root


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def do_part(source: Path | str, out: Path, text: str, size: int = 8) -> bool:
    """Whether the set is complete after this part."""
    part = Part.parse(text)
    found = pack_part(open_source(str(source)), out, size, part, shard_bytes=SHARD_BYTES)
    return found is not None


@pytest.mark.parametrize("total", [1, 2, 3, 7])
def test_parts_become_the_set_that_one_host_packs_byte_for_byte(
    total: int, images: Path, tmp_path: Path
) -> None:
    pack(open_source(str(images)), tmp_path / "one", 8, shard_bytes=SHARD_BYTES)
    order = list(range(1, total + 1))
    random.Random(total).shuffle(order)
    complete = [do_part(images, tmp_path / "several", f"{k}/{total}") for k in order]
    assert complete == [False] * (total - 1) + [True]
    assert content(tmp_path / "several") == content(tmp_path / "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "several"]


def test_the_gray_range_is_that_of_all_parts_together(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(images, root)
    deep = np.full((10, 10), 4000, np.uint16)
    Image.fromarray(deep).save(root / "a" / "010.png")  # the fourth: now their 12 bits are known
    pack(open_source(str(root)), tmp_path / "one", 8, shard_bytes=SHARD_BYTES)
    assert [do_part(root, tmp_path / "two", f"{k}/2") for k in (1, 2)] == [False, True]
    assert content(tmp_path / "two") == content(tmp_path / "one")
    notes = json.loads((tmp_path / "two" / "pack.json").read_text())["notes"]
    assert any("12-bit" in note for note in notes)


def test_attributes_are_those_that_one_host_writes(tmp_path: Path) -> None:
    source = "avatars:toon-head,micah@200"
    pack(open_source(source), tmp_path / "one", 8, shard_bytes=SHARD_BYTES)
    for k in (2, 1):
        do_part(source, tmp_path / "two", f"{k}/2")
    assert content(tmp_path / "two") == content(tmp_path / "one")
    assert (tmp_path / "two" / "attributes.json").exists()


def test_a_part_done_twice_changes_nothing_and_a_late_one_finds_the_set_complete(
    images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert not do_part(images, out, "1/2")
    before = (tmp_path / "out.parts" / "part-1-16" / "images.npy").stat().st_mtime_ns
    assert not do_part(images, out, "1/2")
    assert (tmp_path / "out.parts" / "part-1-16" / "images.npy").stat().st_mtime_ns == before
    assert do_part(images, out, "2/2")
    whole = content(out)
    assert do_part(images, out, "1/2")
    assert content(out) == whole
    assert not (tmp_path / "out.parts").exists()
    another = r"'.*out' is another packed set, of 297 pictures at 8 x 8 from '.*set'"
    with pytest.raises(SaganError, match=another):
        do_part(images, out, "1/2", size=4)
    with pytest.raises(SaganError, match=another):
        do_part(shutil.copytree(images, tmp_path / "copy"), out, "1/2")
    assert content(out) == whole


def test_a_set_is_known_by_another_way_to_write_its_source_and_not_if_that_has_changed(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = shutil.copytree(images, tmp_path / "set")
    assert do_part(root, tmp_path / "out", "1/1")
    monkeypatch.chdir(tmp_path)
    assert do_part("set", tmp_path / "out", "1/1")
    (root / "a" / "000.png").unlink()
    with pytest.raises(SaganError, match="is another packed set"):
        do_part(root, tmp_path / "out", "1/1")


def test_room_that_the_parts_take_already_is_not_asked_for_again(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = 300 * (8 * 8 * 3 + 8)
    free = [2 * whole]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free[-1]))
    do_part(images, tmp_path / "out", "1/2")
    free.append(whole // 4)
    with pytest.raises(SaganError, match=r"takes 0\.0 GB more, but the disk"):
        do_part(images, tmp_path / "out", "2/2")
    free.append(3 * whole // 2)  # half of the images are decoded
    assert do_part(images, tmp_path / "out", "2/2")


def test_hosts_that_see_other_files_or_settings_are_refused(images: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "set", tmp_path / "out"
    shutil.copytree(images, root)
    do_part(root, out, "1/3")
    with pytest.raises(SaganError, match="another setting: parts was 3 and is now 2"):
        do_part(root, out, "2/2")
    with pytest.raises(SaganError, match="another setting: size was 8 and is now 4"):
        do_part(root, out, "2/3", size=4)
    (root / "a" / "000.png").unlink()
    with pytest.raises(SaganError, match=r"another listing of '.*set': all hosts must see"):
        do_part(root, out, "2/3")


def test_a_version_of_another_host_is_refused(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    do_part(images, tmp_path / "out", "1/2")
    monkeypatch.setattr("PIL.__version__", "1.0")
    with pytest.raises(SaganError, match=r"Pillow was .* and is now 1.0"):
        do_part(images, tmp_path / "out", "2/2")


def test_too_many_unreadable_files_stop_the_part_that_sees_them(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for n in range(20):
        (tmp_path / "set" / f"{n}.png").write_bytes(b"broken")
    with pytest.raises(SaganError, match=r"too many unreadable pictures in '.*set': 3 of 20"):
        do_part(tmp_path / "set", tmp_path / "out", "1/2")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "-1/2", "1/0", "1/2/3"])
def test_a_part_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(SaganError, match="give --part 2/3 for the second of three"):
        Part.parse(text)


@pytest.fixture
def start(start_python: Callable[..., Any]) -> Callable[..., Any]:
    """start(source, out, part, option, ...): a host that packs its part."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(source: Path, out: Path, part: str, *options: str) -> Any:
        command = [
            "-m", "sagan", "data", "pack", source, out, "--size", 8, "--shard-mb",
            SHARD_BYTES / 1e6, "--part", part, *options,
        ]  # fmt: skip
        return start_python(command, environment)

    return run


def test_hosts_that_wait_for_each_other_write_one_set(
    images: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    pack(open_source(str(images)), tmp_path / "one", 8, shard_bytes=SHARD_BYTES)
    # Part 2 by mistake twice.
    hosts = [start(images, tmp_path / "several", f"{k}/3", "--wait") for k in (1, 2, 2, 3)]
    outputs = ["".join(host.communicate(timeout=120)) for host in hosts]
    assert [host.returncode for host in hosts] == [0] * 4, outputs
    assert all("297 pictures of" in output for output in outputs)
    assert content(tmp_path / "several") == content(tmp_path / "one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "several"]


def test_a_set_that_was_there_is_not_said_to_be_written(
    images: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    outputs = [start(images, tmp_path / "out", "1/1").communicate()[0] for _ in range(2)]
    assert "out: 297 pictures of" in outputs[0]
    assert "out was there already: 297 pictures of" in outputs[1]


def test_hosts_killed_at_any_moment_resume_to_the_same_bits(
    images: Path, tmp_path: Path, start: Callable[..., Any]
) -> None:
    whole = pack(open_source(str(images)), tmp_path / "one", 8, shard_bytes=SHARD_BYTES)
    begun = time.monotonic()
    start(images, tmp_path / "timed", "1/1").communicate()
    seconds = time.monotonic() - begun
    rng = random.Random(0)
    for kill in range(6):
        host = start(images, tmp_path / "out", f"{1 + kill % 2}/2")
        time.sleep(rng.uniform(0.5, 1.1) * seconds)
        host.send_signal(signal.SIGKILL)
        host.communicate()
    outputs = [start(images, tmp_path / "out", f"{k}/2").communicate() for k in (1, 2)]
    assert "297 pictures of" in outputs[1][0]
    assert content(tmp_path / "out") == content(tmp_path / "one")
    assert fingerprint_of(whole) == whole.fingerprint
