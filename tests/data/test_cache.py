"""open_dataset packs once, finds the set again, and works in several processes at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from sagan.data import open_dataset, open_source, pack
from sagan.errors import SaganError
from sagan.storage.files import cache_folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split in ("train", "test"):
        (tmp_path / "set" / split).mkdir(parents=True)
        for n in range(4):
            Image.new("RGB", (6, 4), (n, n, n)).save(tmp_path / "set" / split / f"{n}.png")
    return tmp_path / "set"


def test_a_source_is_packed_once_and_the_user_learns_where(root: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    progress: list[tuple[int, int]] = []

    def open_it() -> Path:
        return open_dataset(
            str(root), 4, cache=tmp_path / "cache", notify=notes.append,
            progress=lambda *call: progress.append(call),
        ).path  # fmt: skip

    first = open_it()
    assert first.parent == tmp_path / "cache"
    assert "packing 4 pictures" in notes[0]
    assert str(first) in notes[0]
    assert len(progress) == 4
    assert open_it() == first
    # The images of this set are flat, which only packing shows; it is said again each time.
    assert notes[1].startswith("4 of 4 pictures are nearly of one color")
    assert notes[2] == notes[1]
    assert "packed earlier" in notes[3]
    assert len(progress) == 4


def test_every_spelling_of_a_path_means_the_same_set(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_dataset(str(root), 4, cache=tmp_path / "cache").path
    assert first.name.startswith("set-train-4-crop-")
    monkeypatch.chdir(root)
    for spelt in (".", "../set"):
        assert open_dataset(spelt, 4, cache=tmp_path / "cache").path == first


def test_a_folder_that_is_reached_twice_has_both_names_and_a_note(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        Image.new("RGB", (6, 4)).save(tmp_path / "set" / name / "0.png")
    (tmp_path / "set" / "animal").symlink_to(tmp_path / "set" / "dog", target_is_directory=True)
    notes: list[str] = []
    dataset = open_dataset(str(tmp_path / "set"), 4, cache=tmp_path / "cache", notify=notes.append)
    assert dataset.classes == ("animal", "cat", "dog")
    assert any("animal' is the same folder as " in line for line in notes)


def test_any_spelling_of_a_packed_sets_split_is_taken(root: Path, tmp_path: Path) -> None:
    (root / "test").rename(root / "val")
    pack(open_source(str(root), "validation"), tmp_path / "packed", 4)
    assert len(open_dataset(str(tmp_path / "packed"), 4, split="val"))
    with pytest.raises(SaganError, match="contains the split 'validation', not 'train'"):
        open_dataset(str(tmp_path / "packed"), 4, split="train")


def test_a_packed_set_is_no_source_to_pack(root: Path, tmp_path: Path) -> None:
    pack(open_source(str(root)), tmp_path / "packed", 4)
    for source in (str(tmp_path / "packed"), "http://127.0.0.1/packed"):
        with pytest.raises(SaganError, match="is a packed data set, which is used as it is"):
            open_source(source)


def test_the_home_of_an_unknown_user_is_no_data_set() -> None:
    with pytest.raises(SaganError, match="no data set at '~nobody-of-that-name/photos'"):
        open_dataset("~nobody-of-that-name/photos", 4)


def test_unreadable_files_are_reported_again_each_time(root: Path, tmp_path: Path) -> None:
    for n in range(20):
        Image.new("RGB", (6, 4), (n, 0, n)).save(root / "train" / f"more{n}.png")
    (root / "train" / "empty.png").touch()
    for _ in range(2):
        notes: list[str] = []
        path = open_dataset(str(root), 4, cache=tmp_path / "cache", notify=notes.append).path
        assert any("1 unreadable file is left out" in line for line in notes)
        assert any(f"delete {path}" in line for line in notes)


def test_photos_beside_stray_files_are_read_and_unreadable_formats_are_counted(
    root: Path, tmp_path: Path
) -> None:
    train = root / "train"
    for stray in ("old-backup.tar", "state.json", "IMG_1.CR2", "IMG_2.cr2", "notes.txt"):
        (train / stray).write_bytes(b"anything")
    (train / "@eaDir" / "0.png").mkdir(parents=True)
    Image.new("RGB", (6, 4)).save(train / "@eaDir" / "0.png" / "SYNOPHOTO_THUMB_M.png")
    notes: list[str] = []
    dataset = open_dataset(str(train), 4, cache=tmp_path / "cache", notify=notes.append)
    assert len(dataset) == 4
    assert "2 .cr2 files are not read: convert them to .jpg or .png first" in notes


def test_size_fit_split_and_changed_files_each_make_another_set(root: Path, tmp_path: Path) -> None:
    def path(**options: object) -> Path:
        return open_dataset(str(root), **{"size": 4, "cache": tmp_path / "cache", **options}).path

    paths = [path(), path(size=2), path(fit="pad"), path(split="test")]
    os.utime(root / "train" / "0.png", ns=(1, 1))
    assert len({*paths, path()}) == 5


def test_the_cache_folder_comes_from_the_environment(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "mine"))
    assert open_dataset(str(root), 4).path.parent == tmp_path / "mine" / "data"
    monkeypatch.delenv("SAGAN_CACHE")
    assert cache_folder("data").parts[-2:] == ("sagan", "data")


def test_a_damaged_cached_set_is_packed_again(root: Path, tmp_path: Path) -> None:
    first = open_dataset(str(root), 4, cache=tmp_path / "cache")
    (first.path / "images.npy").write_bytes(b"")
    notes: list[str] = []
    again = open_dataset(str(root), 4, cache=tmp_path / "cache", notify=notes.append)
    assert again.fingerprint == first.fingerprint
    assert "damaged" in notes[0]


def test_processes_that_pack_the_same_at_once_all_get_it(root: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sagan.data import open_dataset;"
        "print(open_dataset(sys.argv[1], 4, cache=Path(sys.argv[2])).fingerprint)"
    )
    command = [sys.executable, "-c", code, str(root), str(tmp_path / "cache")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len(set(outputs)) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_the_loser_of_a_race_uses_the_winners_set(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    winner: list[Path] = []

    def another_process_finishes_first(done: int, total: int) -> None:
        if done == total and not winner:
            winner.append(Path())  # the packing below must not come here again
            winner[0] = open_dataset(str(root), 4, cache=cache).path

    loser = open_dataset(str(root), 4, cache=cache, progress=another_process_finishes_first)
    assert loser.path == winner[0]
    assert list(cache.iterdir()) == [loser.path]


def test_a_packed_set_is_used_as_it_is(root: Path, tmp_path: Path) -> None:
    packed = pack(open_source(str(root)), tmp_path / "out", 4)
    opened = open_dataset(str(tmp_path / "out"), 4, cache=tmp_path / "cache")
    assert (opened.path, opened.fingerprint) == (packed.path, packed.fingerprint)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(SaganError, match="has size 4, not 8"):
        open_dataset(str(tmp_path / "out"), 8)
    with pytest.raises(SaganError, match="split 'train', not 'test'"):
        open_dataset(str(tmp_path / "out"), 4, split="test")


@pytest.mark.parametrize("split", ["test", "all"])
def test_a_packed_set_of_another_split_opens_without_naming_it(
    root: Path, tmp_path: Path, split: str
) -> None:
    packed = pack(open_source(str(root), split), tmp_path / "out", 4)
    assert open_dataset(str(packed.path), 4).fingerprint == packed.fingerprint


def test_data_does_not_import_torch() -> None:
    code = "import sys, sagan.data; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )
