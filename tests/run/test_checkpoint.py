"""Checkpoints and models are read as they were written; anything else is refused in one line."""

import errno
import hashlib
import itertools
import json
import os
import shutil
import struct
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.model import export_model, load_discriminator, load_generator, open_model, shipped_models
from sagan.run import checkpoint, directory
from sagan.run.checkpoint import latest_checkpoint, save_checkpoint, verify_checkpoint
from sagan.training.optimizer import optimizer_tensors, restore_optimizer

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


@pytest.fixture(scope="session")
def model_file(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "model.safetensors"
    export_model(open_model(finished_run), out, card="# A card")
    return out


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_model_knows_how_its_images_were_made_square(
    fit: str, labeled: PackedDataset, train_run: Callable[..., Path], tmp_path: Path
) -> None:
    packed = shutil.copytree(labeled.path, tmp_path / "packed")
    manifest = json.loads((packed / "pack.json").read_text()) | {"fit": fit}
    (packed / "pack.json").write_text(json.dumps(manifest))
    run = train_run(tmp_path / "run", PackedDataset.open(packed), steps=1)
    export_model(open_model(run), tmp_path / "model.safetensors")
    assert open_model(run).fit == open_model(tmp_path / "model.safetensors").fit == fit


@pytest.mark.parametrize(
    "code",
    [
        "from sagan import load_generator; load_generator(sys.argv[1])",
        "from sagan import load_discriminator; load_discriminator(sys.argv[1])",
        "from sagan.build import build_empty; from sagan.config import resolve;"
        "build_empty(resolve('cpu-32', {'conditional': True}), 10)",
    ],
)
def test_without_drawing_weights_torchs_compiler_is_not_imported(
    code: str, model_file: Path
) -> None:
    code = f"import sys; {code}; assert 'torch._dynamo' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(model_file)], check=True)


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(SaganError) as caught:
        action()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


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
        found = checkpoint.read_tensors(folder, name)
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
    assert torch.equal(checkpoint.read_tensors(folder, "ema")["a"], torch.arange(9))


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
    refusal(lambda: directory.create_run(inside, description, {}))
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
                message = refusal(lambda: verify_checkpoint(folder))
                assert str(folder) in message
                assert name == "manifest.json" or name in message
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
        assert victim.name in refusal(lambda: verify_checkpoint(victim.parent))
    victim.unlink()
    assert victim.name in refusal(lambda: verify_checkpoint(victim.parent))


def test_a_link_folder_or_pipe_in_place_of_a_file_is_detected(victim: Path, tmp_path: Path) -> None:
    """Even a link to the original: a checkpoint is complete in its folder."""
    elsewhere = victim.rename(tmp_path / "elsewhere")
    victim.symlink_to(elsewhere)
    assert victim.name in refusal(lambda: verify_checkpoint(victim.parent))
    victim.unlink()
    victim.symlink_to("nowhere")
    refusal(lambda: verify_checkpoint(victim.parent))
    victim.unlink()
    victim.mkdir()
    refusal(lambda: verify_checkpoint(victim.parent))
    victim.rmdir()
    if hasattr(os, "mkfifo"):
        os.mkfifo(victim)
        refusal(lambda: verify_checkpoint(victim.parent))


def test_swapped_files_are_detected(run: Path) -> None:
    folder = save_checkpoint(run, 1, CONTENT, {})
    sound = files(folder)
    for one, other in itertools.combinations(sorted(sound), 2):
        (folder / one).write_bytes(sound[other])
        (folder / other).write_bytes(sound[one])
        refusal(lambda: verify_checkpoint(folder))
        for name in (one, other):
            (folder / name).write_bytes(sound[name])
    verify_checkpoint(folder)


def test_files_of_another_checkpoint_are_detected(run: Path) -> None:
    one, other = save_checkpoint(run, 1, CONTENT, {}), save_checkpoint(run, 2, CONTENT, {})
    shutil.copy(other / "state.json", one / "state.json")
    refusal(lambda: verify_checkpoint(one))


def test_a_file_that_cannot_be_read_counts_as_damaged(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(run, 1, CONTENT, {})
    newest = save_checkpoint(run, 2, CONTENT, {})
    plain = Path.open

    def opened(path: Path, *arguments: Any, **more: Any) -> Any:
        if path == newest / "ema.safetensors":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return plain(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.warns(UserWarning, match=r"ema\.safetensors.*going back 1 steps"):
        assert latest_checkpoint(run) == run / "checkpoints" / "step-00000001"


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
    refusal(lambda: verify_checkpoint(folder))


def test_a_manifest_that_does_not_list_every_file_is_refused(run: Path) -> None:
    """Otherwise the files that it omits would not be checked."""
    folder = save_checkpoint(run, 1, CONTENT, {})
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["sha256"]["ema.safetensors"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    refusal(lambda: verify_checkpoint(folder))
    (folder / "manifest.json").write_text(json.dumps(manifest | {"sha256": {}}))
    refusal(lambda: verify_checkpoint(folder))


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
    refusal(lambda: verify_checkpoint(folder))
    assert all(path.parent == folder for path in opened)


def test_a_file_with_the_name_of_a_checkpoint_is_skipped(copied_run: Path) -> None:
    (copied_run / "checkpoints" / "step-00000099").write_text("not a folder")
    (copied_run / "checkpoints" / "step-x").mkdir()
    (copied_run / "checkpoints" / ".step-00000098.1.tmp").mkdir()
    with pytest.warns(UserWarning, match="step-00000099"):
        assert latest_checkpoint(copied_run) == copied_run / "checkpoints" / "step-00000006"


# ---------------------------------------------------------------------------------------------
# Models


def samples(generator: Any) -> Any:
    return generator.sample(5, labels=[0, 1, 2, 0, 1], seed=3)


def test_a_model_file_draws_the_same_samples_as_the_runs_average(
    finished_run: Path, model_file: Path
) -> None:
    from_run, from_file = load_generator(finished_run), load_generator(model_file)
    assert np.array_equal(samples(from_run), samples(from_file))
    assert not np.array_equal(samples(from_run), samples(load_generator(finished_run, "raw")))
    newest = finished_run / "checkpoints" / "step-00000006"
    ema = load_file(newest / "ema.safetensors")
    stored = load_file(model_file)
    for name, tensor in ema.items():
        assert torch.equal(stored[f"generator.{name}"], tensor)
    assert {name.split(".")[0] for name in stored} == {"generator", "discriminator"}


def test_raw_weights_are_those_of_the_last_update(
    finished_run: Path, labeled: PackedDataset, start_training: Callable[..., Any]
) -> None:
    training = start_training(labeled, ema_half_life=20)
    for _ in range(6):
        training.advance()
    for weights, network in (
        ("raw", training.adversaries.generator),
        ("ema", training.average.generator),
    ):
        loaded = load_generator(finished_run, weights)
        # Folding rounds differently: by up to one gray level.
        difference = samples(loaded).astype(int) - samples(network)
        assert abs(difference).max() <= 1


def test_run_and_model_file_give_the_same_discriminator(
    finished_run: Path, model_file: Path, labeled: PackedDataset
) -> None:
    images = np.array(labeled.images[:4])
    one, other = load_discriminator(finished_run), load_discriminator(model_file)
    assert np.array_equal(one.features(images), other.features(images))
    assert not one.training
    assert not any(parameter.requires_grad for parameter in one.parameters())


def test_a_model_file_knows_its_configuration_classes_step_and_card(
    finished_run: Path, model_file: Path
) -> None:
    from_run, from_file = open_model(finished_run), open_model(str(model_file))
    assert from_file.config == from_run.config
    assert from_file.classes == from_run.classes == ("class0", "class1", "class2")
    assert from_file.step == from_run.step == 6
    assert from_file.card == "# A card"
    assert from_file.labels("class2, 0") == [2, 0]
    assert "class9" in refusal(lambda: from_file.labels("class9"))
    assert "3" in refusal(lambda: from_file.labels("3"))
    assert "raw" in refusal(lambda: from_file.generator("raw"))


def test_a_shipped_models_origin_is_its_name() -> None:
    for name in shipped_models():
        assert open_model(name).origin == name


def test_exporting_a_model_file_again_keeps_everything(model_file: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.safetensors"
    export_model(open_model(model_file), again)
    one, other = load_file(model_file), load_file(again)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    first, second = open_model(model_file), open_model(again)
    for field in ("config", "classes", "step", "card"):
        assert getattr(first, field) == getattr(second, field)


def test_a_model_of_half_the_size_draws_and_judges_nearly_the_same(
    finished_run: Path, model_file: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half.safetensors"
    export_model(open_model(finished_run), half, half=True)
    assert half.stat().st_size < 0.6 * model_file.stat().st_size
    images = load_generator(model_file).sample(12, labels=[0, 1, 2] * 4)
    others = load_generator(half).sample(12, labels=[0, 1, 2] * 4)
    assert 0 < np.abs(images.astype(int) - others).max() <= 1
    one, other = load_discriminator(model_file), load_discriminator(half)
    assert {parameter.dtype for parameter in other.parameters()} == {torch.float32}
    features, approximate = one.features(images), other.features(images)
    assert 0 < np.abs(features - approximate).max() < 0.01 * np.abs(features).max()


def test_weights_beyond_half_precision_are_not_halved(finished_run: Path, tmp_path: Path) -> None:
    model, out = open_model(finished_run), tmp_path / "half.safetensors"
    large = replace(model, read=lambda name: {"weight": torch.full((2, 2), 1e5)})
    assert "without --half" in refusal(lambda: export_model(large, out, half=True))
    assert not out.exists()


def test_precisions_other_than_float32_and_bfloat16_are_refused(finished_run: Path) -> None:
    with pytest.raises(ValueError, match="float16"):
        load_generator(finished_run, precision="float16")  # type: ignore[arg-type]


def test_weights_other_than_ema_and_raw_are_refused(finished_run: Path) -> None:
    with pytest.raises((SaganError, ValueError)):
        load_generator(finished_run, "average")


@pytest.mark.parametrize("name", ["no-such-model", "x" * 300, "a/b/c", "nul\0byte", "~"])
def test_a_missing_model_is_refused_in_one_line(name: str) -> None:
    message = refusal(lambda: load_generator(name))
    assert "no model" in message


def test_a_folder_that_is_not_a_run_is_refused_in_one_line(
    tmp_path: Path, finished_run: Path
) -> None:
    assert "config.json" in refusal(lambda: load_generator(tmp_path))
    for content in (b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"config": 1}',
                    b'{"config": {}, "preset": "x", "data": {}}',
                    b'{"config": {}, "preset": "x", "data": {"classes": 3}}',
                    b'{"config": {}, "preset": "x", "data": {"classes": "abc"}}',
                    b'{"config": {}, "preset": "x", "data": [1]}',
                    b'{"config": {"lr": 1}, "preset": "x", "data": {"classes": []}}',
                    b'{"config": {"lr_g": "x"}, "preset": "x", "data": {"classes": []}}',
                    ):  # fmt: skip
        (tmp_path / "config.json").write_bytes(content)
        refusal(lambda: load_generator(tmp_path))
    shutil.copy(finished_run / "config.json", tmp_path / "config.json")
    assert "no checkpoint yet" in refusal(lambda: load_generator(tmp_path))


def header(metadata: Any, tensors: Any = None) -> bytes:
    """A safetensors file with this header and 16 bytes of data."""
    text = json.dumps({"__metadata__": metadata, **(tensors or {})}).encode()
    return struct.pack("<Q", len(text)) + text + bytes(16)


TENSOR = {"generator.x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}
GOOD = {"config": "{}", "classes": "[]", "step": "3"}
JUNK = {
    "empty": b"",
    "short": b"\0" * 7,
    "zeros": bytes(100),
    "huge header": struct.pack("<Q", 2**60) + b"{}",
    "an image": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "random": np.random.default_rng(0).bytes(5000),
    "no metadata": header({}, TENSOR),
    "no classes": header({"config": "{}", "step": "1"}, TENSOR),
    "config not JSON": header(GOOD | {"config": "{"}, TENSOR),
    "config deep": header(GOOD | {"config": "[" * 100_000}, TENSOR),
    "config a list": header(GOOD | {"config": "[]"}, TENSOR),
    "config unknown key": header(GOOD | {"config": '{"x": 1}'}, TENSOR),
    "config null value": header(GOOD | {"config": '{"lr_g": null}'}, TENSOR),
    "classes an object": header(GOOD | {"classes": "{}"}, TENSOR),
    "step not a number": header(GOOD | {"step": "many"}, TENSOR),
    "other tensors": header(GOOD | {"config": '{"channels_g": 8, "channels_d": 8}'}, TENSOR),
    "offsets outside": header(
        GOOD, {"generator.x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 999]}}
    ),
    "shape too large": header(
        GOOD, {"generator.x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 16]}}
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", JUNK)
def test_a_file_that_is_not_a_model_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(JUNK[kind])
    refusal(lambda: load_generator(path))
    refusal(lambda: load_discriminator(path))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_or_a_device_in_place_of_a_file_is_not_read(
    copied_run: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "model.safetensors"
    os.mkfifo(pipe)
    assert "pipe" in refusal(lambda: load_generator(pipe))
    assert "device" in refusal(lambda: load_generator("/dev/zero"))
    (copied_run / "config.json").unlink()
    os.mkfifo(copied_run / "config.json")
    refusal(lambda: load_generator(copied_run))
    (copied_run / "config.json").unlink()
    (copied_run / "config.json").symlink_to("/dev/zero")
    refusal(lambda: load_generator(copied_run))


def test_a_truncated_model_file_is_refused_in_one_line(model_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    content = model_file.read_bytes()
    for length in (1, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        assert "not a sagan model file" in refusal(lambda: load_generator(path))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_model_with_a_damaged_header_loads_or_is_refused_in_one_line(
    data: st.DataObject, model_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(model_file.read_bytes())
    (length,) = struct.unpack("<Q", content[:8])
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, 7 + length))
        content[position] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "mutated.safetensors"
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a tensor read as another dtype
            model = open_model(path)
            if model.config.channels_g <= 16:  # a flipped digit can make it huge
                model.generator()
    except SaganError as error:
        assert str(error)  # noqa: PT017


def changed_model(model_file: Path, out: Path, change: Callable[[dict[str, Tensor]], None]) -> Path:
    with safe_open(model_file, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(model_file)
    change(tensors)
    save_file(tensors, out, metadata=metadata)
    return out


def test_weights_with_other_names_or_shapes_are_refused(model_file: Path, tmp_path: Path) -> None:
    name = "generator.norm.weight"

    def shorter(tensors: dict[str, Tensor]) -> None:
        tensors[name] = tensors[name][:-1].clone()

    def scalar(tensors: dict[str, Tensor]) -> None:
        tensors[name] = torch.tensor(1.0)

    def one(tensors: dict[str, Tensor]) -> None:
        tensors[name] = torch.ones(1)

    def missing(tensors: dict[str, Tensor]) -> None:
        del tensors[name]

    def more(tensors: dict[str, Tensor]) -> None:
        tensors["generator.more"] = torch.ones(3)

    for change in (shorter, scalar, one, missing, more):
        path = changed_model(model_file, tmp_path / "changed.safetensors", change)
        assert "do not fit" in refusal(lambda path=path: load_generator(path))
        load_discriminator(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("linear.parametrizations.weight.original", 0.0, id="normalized to 0 / 0"),
        pytest.param("linear.parametrizations.weight.0.u", 0.0, id="no singular vector"),
        pytest.param("linear.bias", 1e300, id="beyond float32"),
        pytest.param("norm.running_var", -1.0, id="a negative variance"),
        pytest.param(
            "blocks.0.norm1.norm.running_var", -1.0, id="a negative variance that is not folded"
        ),
    ],
)
def test_weights_that_cannot_draw_are_refused(
    name: str, value: float, model_file: Path, tmp_path: Path
) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors[f"generator.{name}"] = tensors[f"generator.{name}"].double().fill_(value)

    path = changed_model(model_file, tmp_path / "changed.safetensors", spoil)
    assert "is damaged" in refusal(lambda: load_generator(path))


def test_weights_of_unusual_types_are_read_or_refused(model_file: Path, tmp_path: Path) -> None:
    def eight_bits(tensors: dict[str, Tensor]) -> None:
        name = "generator.linear.bias"
        tensors[name] = tensors[name].to(torch.float8_e4m3fn)

    def complex_ones(tensors: dict[str, Tensor]) -> None:
        name = "generator.linear.bias"
        tensors[name] = tensors[name].to(torch.complex64)

    load_generator(changed_model(model_file, tmp_path / "8.safetensors", eight_bits)).sample(1, [0])
    path = changed_model(model_file, tmp_path / "complex.safetensors", complex_ones)
    assert "do not fit" in refusal(lambda: load_generator(path))


def test_a_model_file_removed_after_opening_is_one_line(model_file: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(model_file, tmp_path / "model.safetensors"))
    model = open_model(path)
    path.unlink()
    assert str(path) in refusal(model.generator)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"classes": "[]"}, id="no classes for networks with labels"),
        pytest.param({"classes": '["a", 1, null]'}, id="classes that are not names"),
        pytest.param({"step": "-7"}, id="a negative step"),
    ],
)
def test_impossible_classes_and_steps_are_refused(
    changes: dict[str, str], model_file: Path, tmp_path: Path
) -> None:
    with safe_open(model_file, framework="pt") as file:
        metadata = file.metadata() | changes
    save_file(load_file(model_file), tmp_path / "changed.safetensors", metadata=metadata)
    refusal(lambda: open_model(tmp_path / "changed.safetensors"))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_refused(
    value: float, model_file: Path, tmp_path: Path
) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        for network in ("generator", "discriminator"):
            tensors[f"{network}.linear.bias"][0] = value

    path = changed_model(model_file, tmp_path / "changed.safetensors", spoil)
    assert "linear.bias" in refusal(lambda: load_generator(path))
    assert "linear.bias" in refusal(lambda: load_discriminator(path))


def test_an_unknown_way_to_make_images_square_is_refused(
    model_file: Path, copied_run: Path, tmp_path: Path
) -> None:
    with safe_open(model_file, framework="pt") as file:
        metadata = file.metadata() | {"fit": "squeeze"}
    save_file(load_file(model_file), tmp_path / "changed.safetensors", metadata=metadata)
    assert "squeeze" in refusal(lambda: open_model(tmp_path / "changed.safetensors"))
    content = json.loads((copied_run / "config.json").read_text())
    content["data"]["fit"] = "squeeze"
    (copied_run / "config.json").write_text(json.dumps(content))
    assert "squeeze" in refusal(lambda: open_model(copied_run))


@pytest.fixture
def optimizer_state(
    unlabeled: PackedDataset, start_training: Callable[..., Any]
) -> tuple[Any, Any, dict[str, Tensor]]:
    training = start_training(unlabeled)
    training.advance()
    adversaries = training.adversaries
    tensors = optimizer_tensors(adversaries.optimizer_g, adversaries.generator)
    return adversaries.optimizer_g, adversaries.generator, tensors


@pytest.mark.parametrize("shape", [(), (1,), (3,), (16, 1), None])
def test_an_optimizer_state_with_other_shapes_is_refused(
    optimizer_state: tuple[Any, Any, dict[str, Tensor]], shape: tuple[int, ...] | None
) -> None:
    """Even if it could be broadcast."""
    optimizer, generator, tensors = optimizer_state
    name = "norm.weight/exp_avg"
    assert tensors[name].shape == (32,)
    if shape is None:
        del tensors[name]
    else:
        tensors[name] = torch.zeros(shape)
    assert "norm.weight" in refusal(lambda: restore_optimizer(optimizer, generator, tensors))


def test_an_optimizer_state_is_restored_bit_for_bit_as_a_copy(
    optimizer_state: tuple[Any, Any, dict[str, Tensor]],
) -> None:
    optimizer, generator, tensors = optimizer_state
    saved = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    for state in optimizer.state.values():
        for tensor in state.values():
            tensor.zero_()
    restore_optimizer(optimizer, generator, saved)
    restored = optimizer_tensors(optimizer, generator)
    assert restored.keys() == saved.keys()
    for name, tensor in saved.items():
        assert torch.equal(restored[name], tensor)
        assert restored[name].data_ptr() != tensor.data_ptr()
    for parameter in generator.parameters():
        assert optimizer.state[parameter]["exp_avg"].stride() == parameter.stride()


def test_a_configuration_larger_than_its_weights_takes_no_memory(
    model_file: Path, tmp_path: Path
) -> None:
    """A generator of 4096 channels at 256 pixels would be terabytes."""
    with safe_open(model_file, framework="pt") as file:
        metadata = file.metadata()
    settings = json.loads(metadata["config"]) | {
        "resolution": 256, "channels_g": 4096, "channels_d": 4096, "latent_size": 4096,
    }  # fmt: skip
    hostile = tmp_path / "hostile.safetensors"
    save_file(load_file(model_file), hostile, metadata | {"config": json.dumps(settings)})
    assert "do not fit" in refusal(lambda: load_generator(hostile))
    assert "do not fit" in refusal(lambda: load_discriminator(hostile))
