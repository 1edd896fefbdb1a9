"""Checkpoints are read as they were written; anything else is refused in one line."""

import errno
import hashlib
import itertools
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sagan.errors import SaganError, UnreadableError
from sagan.model import export_model, open_model
from sagan.run import checkpoint, directory
from sagan.run.checkpoint import latest_checkpoint, save_checkpoint, verify_checkpoint

CONTENT = {
    "generator": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7)},
    "discriminator": {"a": torch.full((3,), 0.5)},
    "ema": {"a": torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last)},
    "optimizer": {},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    return tmp_path / "run"


@pytest.fixture
def copied_run(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run, tmp_path / "copied")


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(SaganError) as caught:
        action()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


def damage(folder: Path) -> str:
    """The only file that a checkpoint's refusal names, in one line that also names the folder."""
    message = refusal(lambda: verify_checkpoint(folder))
    assert str(folder) in message
    (name,) = [name for name in (*checkpoint.FILES, "manifest.json") if f"{name}'" in message]
    return name


def files(folder: Path) -> dict[str, bytes]:
    """The content of all files in the folder and below, hidden or not."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def flip(path: Path, position: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position % len(data)] ^= 1 << bit
    path.write_bytes(data)


# ---------------------------------------------------------------------------------------------
# Writing


def test_a_checkpoint_contains_the_tensors_and_the_state_that_were_saved(run: Path) -> None:
    state = {"seconds": 0.1 + 0.2, "augment": {"p": 1 / 3}}
    folder = save_checkpoint(run, 12, CONTENT, state)
    assert folder == run / "checkpoints" / "step-00000012"
    assert checkpoint.step_of(folder) == 12
    for name, tensors in CONTENT.items():
        found = checkpoint.read_checkpoint(folder, name)
        assert found.keys() == tensors.keys()
        for key, tensor in tensors.items():
            assert torch.equal(found[key], tensor)
            assert found[key].dtype == tensor.dtype
    assert json.loads((folder / "state.json").read_text()) == {"step": 12, **state}
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000012"]


def test_the_manifest_has_the_sha256_of_every_other_file(run: Path) -> None:
    folder = save_checkpoint(run, 1, CONTENT, {})
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["sha256"] == {
        name: hashlib.sha256(content).hexdigest()
        for name, content in files(folder).items()
        if name != "manifest.json"
    }
    weights = {f"{name}.safetensors" for name in CONTENT}
    assert set(manifest["sha256"]) == weights | {"state.json"}


def failing(number: int) -> Callable[..., None]:
    """A system call that fails with an `errno`."""

    def call(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return call


@pytest.mark.parametrize("name", ["os.mkdir", "os.write", "os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize(
    ("number", "explanation"),
    [
        (errno.ENOSPC, "No space left on device (make room on that disk)"),
        (errno.EDQUOT, "Disk quota exceeded (free some of your quota)"),
        (errno.EROFS, "Read-only file system (choose a place that can be written)"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_failed_save_is_one_line_and_leaves_only_the_old_checkpoint(
    run: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int, explanation: str
) -> None:
    """scripts/faults.py makes every single call of a save fail."""
    save_checkpoint(run, 1, CONTENT, {})
    before = files(run)
    with monkeypatch.context() as patch:
        patch.setattr(name, failing(number))
        message = refusal(lambda: save_checkpoint(run, 2, CONTENT, {}))
    assert "step-00000002" in message
    assert explanation in message
    assert files(run) == before
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000001"]
    assert latest_checkpoint(run) == run / "checkpoints" / "step-00000001"
    save_checkpoint(run, 2, CONTENT, {})  # when the call works again
    assert latest_checkpoint(run) == run / "checkpoints" / "step-00000002"


def test_the_newest_checkpoints_stay_and_the_others_are_removed(run: Path) -> None:
    for step in (2, 4, 6, 8, 10):
        save_checkpoint(run, step, CONTENT, {})
    steps = [checkpoint.step_of(folder) for folder in checkpoint.checkpoints(run)]
    assert steps == [6, 8, 10]
    assert checkpoint.KEEP == 3


def test_the_checkpoint_just_saved_is_never_removed(run: Path) -> None:
    """If all newer ones are damaged, training resumes from before them."""
    for step in (10, 20, 30):
        save_checkpoint(run, step, CONTENT, {})
        flip(run / "checkpoints" / f"step-{step:08d}" / "ema.safetensors", -1)
    saved = save_checkpoint(run, 5, CONTENT, {})
    assert saved.is_dir()
    verify_checkpoint(saved)


def test_checkpoints_are_ordered_by_step(run: Path) -> None:
    for step in (99_999_999, 100_000_000, 7):
        save_checkpoint(run, step, {}, {})
    steps = [checkpoint.step_of(folder) for folder in checkpoint.checkpoints(run)]
    assert steps == [7, 99_999_999, 100_000_000]


def test_a_damaged_checkpoint_of_the_same_step_is_replaced_and_stays_marked_to_keep(
    run: Path,
) -> None:
    folder = save_checkpoint(run, 1, CONTENT, {})
    (folder / "ema.safetensors").write_bytes(b"")
    (folder / "keep").touch()
    save_checkpoint(run, 1, CONTENT, {})
    verify_checkpoint(folder)
    assert (folder / "keep").is_file()


def test_a_file_with_the_name_of_the_checkpoint_is_replaced(run: Path) -> None:
    (run / "checkpoints" / "step-00000001").write_text("not a folder")
    verify_checkpoint(save_checkpoint(run, 1, CONTENT, {}))


def test_everything_is_written_even_if_each_call_writes_a_single_byte(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = os.write
    with monkeypatch.context() as patch:
        patch.setattr("os.write", lambda descriptor, data: plain(descriptor, data[:1]))
        folder = save_checkpoint(run, 1, {"ema": {"a": torch.arange(9)}}, {})
    assert torch.equal(checkpoint.read_checkpoint(folder, "ema")["a"], torch.arange(9))


def test_unfinished_files_of_a_killed_process_are_removed(
    tmp_path: Path, finished_run: Path
) -> None:
    """Also if it was killed at its first file, before the folder was recognizable as a run."""
    run = tmp_path / "run"
    (run / "checkpoints" / ".step-00000009.tmp").mkdir(parents=True)
    (run / "checkpoints" / ".step-00000001.old.tmp").mkdir()
    (run / ".lock").touch()
    (run / ".config.json.99.tmp").write_text("{")
    with directory.locked(run):
        directory.create_run(run, directory.read_description(finished_run), {})
        save_checkpoint(run, 10, CONTENT, {})
    assert [path for path in run.rglob("*") if path.name.endswith(".tmp")] == []
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-00000010"]


def test_unfinished_files_of_a_process_killed_after_its_last_save_are_removed_on_resuming(
    finished_run: Path, tmp_path: Path
) -> None:
    """No later save would remove them."""
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "checkpoints" / ".step-00000002.old.tmp").mkdir()
    directory.create_run(run, directory.read_description(run), {})
    assert [path for path in run.rglob("*") if path.name.endswith(".tmp")] == []


def test_files_have_the_permissions_of_the_users_umask(finished_run: Path, tmp_path: Path) -> None:
    """safetensors itself writes files that only their owner can read."""
    before = os.umask(0o027)
    try:
        export_model(open_model(finished_run), tmp_path / "model.safetensors")
    finally:
        os.umask(before)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o640


def test_a_path_that_cannot_be_written_is_refused_in_one_line(
    tmp_path: Path, finished_run: Path
) -> None:
    model = open_model(finished_run)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.safetensors").mkdir()
    for out in ("file/model.safetensors", "folder.safetensors"):
        assert out in refusal(lambda out=out: export_model(model, tmp_path / out))
    assert "model.pt" in refusal(lambda: export_model(model, tmp_path / "model.pt"))
    description = directory.read_description(finished_run)
    assert "file" in refusal(lambda: directory.create_run(tmp_path / "file", description, {}))
    inside = tmp_path / "file" / "run"
    assert str(inside) in refusal(lambda: directory.create_run(inside, description, {}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.safetensors"]


# ---------------------------------------------------------------------------------------------
# Damage


def test_a_flipped_bit_anywhere_is_detected(run: Path) -> None:
    """One bit in every byte of every file, and in the manifest every bit."""
    folder = save_checkpoint(run, 1, CONTENT, {"seconds": 1.5})
    names = [path.name for path in folder.iterdir()]
    assert set(names) == {*checkpoint.FILES, "manifest.json"}
    rng = np.random.default_rng(0)
    for name in names:
        sound = (folder / name).read_bytes()
        for position in range(len(sound)):
            bits = range(8) if name == "manifest.json" else [int(rng.integers(8))]
            for bit in bits:
                flip(folder / name, position, bit)
                found = damage(folder)
                assert found == name or name == "manifest.json"
                (folder / name).write_bytes(sound)
    verify_checkpoint(folder)


@pytest.fixture(params=[*checkpoint.FILES, "manifest.json"])
def victim(request: pytest.FixtureRequest, run: Path) -> Path:
    """One file of an undamaged checkpoint."""
    return save_checkpoint(run, 1, CONTENT, {}) / str(request.param)


def test_a_longer_shorter_or_missing_file_is_detected(victim: Path) -> None:
    sound = victim.read_bytes()
    for content in (sound + b"\0", sound + b"\n", b" " + sound, sound[:-1], sound[1:], b""):
        victim.write_bytes(content)
        assert damage(victim.parent) == victim.name
    victim.unlink()
    assert damage(victim.parent) == victim.name


def test_a_link_folder_or_pipe_in_place_of_a_file_is_detected(victim: Path, tmp_path: Path) -> None:
    """Even a link to the original: a checkpoint is complete in its folder."""
    elsewhere = victim.rename(tmp_path / "elsewhere")
    victim.symlink_to(elsewhere)
    assert damage(victim.parent) == victim.name
    victim.unlink()
    victim.symlink_to("nowhere")
    assert damage(victim.parent) == victim.name
    victim.unlink()
    victim.mkdir()
    assert damage(victim.parent) == victim.name
    victim.rmdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(victim)
        assert damage(victim.parent) == victim.name


def test_swapped_files_are_detected(run: Path) -> None:
    folder = save_checkpoint(run, 1, CONTENT, {})
    sound = files(folder)
    for one, other in itertools.combinations(sorted(sound), 2):
        (folder / one).write_bytes(sound[other])
        (folder / other).write_bytes(sound[one])
        assert damage(folder) in (one, other)
        for name in (one, other):
            (folder / name).write_bytes(sound[name])
    verify_checkpoint(folder)


def test_files_of_another_checkpoint_are_detected(run: Path) -> None:
    one, other = save_checkpoint(run, 1, CONTENT, {}), save_checkpoint(run, 2, CONTENT, {})
    shutil.copy(other / "state.json", one / "state.json")
    assert damage(one) == "state.json"


def test_a_file_that_cannot_be_read_counts_as_damaged(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(run, 1, CONTENT, {})
    newest = save_checkpoint(run, 2, CONTENT, {})
    plain = checkpoint.open_file

    def opened(path: Path, *arguments: Any, **more: Any) -> Any:
        if path == newest / "ema.safetensors":
            raise UnreadableError(os.strerror(errno.EIO))
        return plain(path, *arguments, **more)

    monkeypatch.setattr(checkpoint, "open_file", opened)
    with pytest.warns(UserWarning, match=r"ema\.safetensors.*going back 1 step "):
        assert latest_checkpoint(run) == run / "checkpoints" / "step-00000001"


@pytest.mark.parametrize("name", checkpoint.FILES)
def test_a_file_of_terabytes_is_refused_without_being_read(
    run: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with holes takes no space, whatever its size, and hours to be read."""
    monkeypatch.setenv("SAGAN_MEMORY_GIB", "1e6")  # not refused for its size alone
    folder = save_checkpoint(run, 1, CONTENT, {})
    os.truncate(folder / name, 2**40)
    started = time.monotonic()
    assert damage(folder) == name
    assert time.monotonic() - started < 5


def test_a_sound_header_with_more_content_than_memory_allows_is_refused(run: Path) -> None:
    folder = save_checkpoint(run, 1, CONTENT, {})
    tensor = {"dtype": "F32", "shape": [2**33], "data_offsets": [0, 2**35]}
    header = json.dumps({"a": tensor}).encode()
    path = folder / "generator.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    os.truncate(path, 8 + len(header) + 2**35)
    message = refusal(lambda: verify_checkpoint(folder))
    assert f"'{path}' needs about 32.0 GiB of memory for its content" in message


@pytest.mark.parametrize(
    "manifest",
    [
        b"", b"{", b"\xff\xfe", b"[]", b"null", b"3", b'"x"', b"[" * 100_000, b"{}",
        b'{"sha256": []}', b'{"sha256": null}', b'{"sha256": {"state.json": null}}',
        b'{"sha256": {"state.json": "00"}}', b'{"sha256": {"": "0"}}', b'{"sha256": {".": "0"}}',
        b'{"sha256": {"..": "0"}}', b'{"sha256": {"a\\u0000b": "0"}}',
        b'{"sha256": {"a\\nb": "0"}}', b'{"sha256": {"' + b"x" * 300 + b'": "0"}}',
    ],
)  # fmt: skip
def test_an_invalid_manifest_is_refused_in_one_line(run: Path, manifest: bytes) -> None:
    folder = save_checkpoint(run, 1, CONTENT, {})
    (folder / "manifest.json").write_bytes(manifest)
    assert damage(folder) == "manifest.json"


def test_a_manifest_that_does_not_list_every_file_is_refused(run: Path) -> None:
    """Otherwise the files that it omits would not be checked."""
    folder = save_checkpoint(run, 1, CONTENT, {})
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["sha256"]["ema.safetensors"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert damage(folder) in ("manifest.json", "ema.safetensors")
    (folder / "manifest.json").write_text(json.dumps(manifest | {"sha256": {}}))
    assert damage(folder) == "manifest.json"


@pytest.mark.parametrize("name", ["../../x", "../secret.txt", "/etc/hostname", "..\\x"])
def test_no_file_outside_its_folder_is_opened_for_a_manifest(
    run: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_checkpoint(run, 1, CONTENT, {})
    (run / "x").write_text("secret")
    (run / "checkpoints" / "secret.txt").write_text("secret")
    opened: list[Path] = []
    plain = checkpoint._sha256

    def watched(path: Path) -> str:
        opened.append(path)
        return plain(path)

    monkeypatch.setattr(checkpoint, "_sha256", watched)
    digest = plain(run / "x")
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "sha256": {name: digest}}))
    assert damage(folder) == "manifest.json"
    assert {path.parent for path in opened} == {folder}


def test_a_file_with_the_name_of_a_checkpoint_is_skipped(copied_run: Path) -> None:
    (copied_run / "checkpoints" / "step-00000099").write_text("not a folder")
    (copied_run / "checkpoints" / "step-x").mkdir()
    (copied_run / "checkpoints" / ".step-00000098.1.tmp").mkdir()
    with pytest.warns(UserWarning, match="step-00000099"):
        assert latest_checkpoint(copied_run) == copied_run / "checkpoints" / "step-00000006"
