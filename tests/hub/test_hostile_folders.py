"""A folder that anybody may have made is a model or one line of refusal, and runs no code."""

import json
import os
import pickle
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sagan import load_discriminator, load_generator
from sagan.errors import SaganError
from sagan.model import Model

FILES = ("model.safetensors", "config.json", "README.md")
# What other projects put beside or instead of our files.
FOREIGN = (
    *("pytorch_model.bin", "model.pkl", "diffusion_pytorch_model.safetensors", "model_index.json"),
    *("__init__.py", "sagan.py", "model.py", "torch.py", "trackers.json", "checkpoints"),
)


class Harmful:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.fixture(scope="module")
def folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    saved = tmp_path_factory.mktemp("hub") / "saved"
    model.save_pretrained(saved)
    return saved


def loads_or_is_refused(path: Path, model: Model) -> None:
    """Load a folder, and save to it, as a user would."""

    def load() -> None:
        load_generator(path)
        load_discriminator(path)

    actions: tuple[Callable[[], object], ...] = (load, lambda: model.save_pretrained(path))
    for action in actions:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a tensor read as another dtype
                action()
        except SaganError as error:
            assert 0 < len(str(error).splitlines()) <= 1  # noqa: PT017


@st.composite
def contents(draw: st.DrawFn, original: bytes, marker: Path) -> bytes:
    """The content of a file: truncated, garbled, or something else."""
    kind = draw(st.sampled_from(["cut", "garbled", "pickle", "noise", "json", "deep"]))
    if kind == "cut":
        return original[: draw(st.integers(0, len(original) - 1))]
    if kind == "garbled":
        garbled = bytearray(original)
        for _ in range(draw(st.integers(1, 8))):
            # Most of the first bytes are a header, where a change means more.
            most = draw(st.sampled_from([8, 4096, len(original)]))
            garbled[draw(st.integers(0, min(most, len(original)) - 1))] = draw(st.integers(0, 255))
        return bytes(garbled)
    if kind == "pickle":
        return pickle.dumps(Harmful(marker))
    if kind == "json":
        value = st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(
                ["config", "classes", "library_name", "step"]), inner, max_size=3),
            max_leaves=6,
        )  # fmt: skip
        return json.dumps(draw(value)).encode()
    return b"[" * 100_000 if kind == "deep" else draw(st.binary(max_size=64))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_folder_loads_or_is_refused_in_one_line(
    data: st.DataObject, folder: Path, model: Model, tmp_path: Path
) -> None:
    path, marker = tmp_path / "hostile", tmp_path / "harmed"
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(folder, path)
    for name in data.draw(st.sets(st.sampled_from(FILES), max_size=2)):
        content = data.draw(contents((folder / name).read_bytes(), marker))
        (path / name).write_bytes(content)
    for name in data.draw(st.sets(st.sampled_from(FILES), max_size=1)):
        (path / name).unlink()
    for name in data.draw(st.sets(st.sampled_from(FOREIGN), max_size=2)):
        (path / name).write_bytes(pickle.dumps(Harmful(marker)))
    loads_or_is_refused(path, model)
    assert not marker.exists()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["huge", "folder", "pipe", "link", "zip", "unreadable"])
def test_a_file_of_another_kind_is_refused_in_one_line(
    kind: str, name: str, folder: Path, model: Model, tmp_path: Path
) -> None:
    path = shutil.copytree(folder, tmp_path / "hostile")
    file = path / name
    if kind == "huge":
        os.truncate(file, 2**40)  # a hole, which takes no disk
    else:
        file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "link":
        file.symlink_to("/etc/passwd")
    elif kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Harmful(tmp_path / "harmed")))
    loads_or_is_refused(path, model)
    assert not (tmp_path / "harmed").exists()
    assert Path("/etc/passwd").read_bytes()[:5] == b"root:"
