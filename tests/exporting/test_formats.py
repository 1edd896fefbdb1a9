"""The ending of a file's name decides what is written; whatever cannot be done is refused."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sagan.errors import SaganError
from sagan.exporting import formats
from sagan.model import Model, open_model


def test_the_ending_decides_the_format(labeled_model: Model, tmp_path: Path) -> None:
    model_file, program = tmp_path / "a.safetensors", tmp_path / "new" / "a.pt2"
    assert list(formats.export(labeled_model, model_file, "# Another card")) == [
        f"wrote {model_file}"
    ]
    assert open_model(model_file).card == "# Another card"
    lines = list(formats.export(open_model(model_file), program, discriminator=True, maps=True))
    assert lines[0].startswith(f"wrote {program}: the discriminator as a program of torch.export, ")
    assert lines[1] == (
        "images, labels -> logits, features, class_logits, discriminator.attention_16"
    )
    said, _, difference = lines[2].rpartition(" ")
    assert said == "run from the file, it differs from the model by at most"
    assert 0 <= float(difference) < 1e-4
    assert b"# Another card" in program.read_bytes()


def test_the_difference_from_the_model_is_measured(
    labeled_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network_format = formats._network_format

    def inexact(out: Path) -> formats.NetworkFormat:
        exact = network_format(out)

        def run(content: bytes, inputs: Any) -> Any:
            return [output + np.float32(0.5) for output in exact.run(content, inputs)]

        return formats.NetworkFormat(exact.title, exact.content, run)

    monkeypatch.setattr(formats, "_network_format", inexact)
    lines = list(formats.export(labeled_model, tmp_path / "a.pt2", discriminator=True))
    assert lines[2].endswith("at most 0.5")


@pytest.mark.parametrize("name", ["a", "a.onnx.zip", ".onnx", "a.ONNX", "a.pt"])
def test_other_endings_are_refused(labeled_model: Model, tmp_path: Path, name: str) -> None:
    with pytest.raises(SaganError, match=r"does not end in \.safetensors, \.onnx or \.pt2"):
        list(formats.export(labeled_model, tmp_path / name))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"maps": True}, {"discriminator": True}])
def test_a_model_file_has_no_maps_and_both_networks(
    labeled_model: Model, tmp_path: Path, options: dict[str, bool]
) -> None:
    with pytest.raises(SaganError, match=r"call it NAME\.onnx or NAME\.pt2, or leave out"):
        list(formats.export(labeled_model, tmp_path / "a.safetensors", **options))


@pytest.mark.parametrize("ending", ["onnx", "pt2"])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(
    labeled_model: Model, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "trace_network", None)  # which calling would raise TypeError
    (tmp_path / f"folder.{ending}").mkdir()
    (tmp_path / "file").write_text("")
    for name in (f"folder.{ending}", f"file/a.{ending}"):
        with pytest.raises(SaganError, match=f"cannot write '.*{name}'"):
            list(formats.export(labeled_model, tmp_path / name))


def test_a_failure_leaves_the_old_file(
    labeled_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.pt2"
    out.write_text("old")

    def fail(*_: object) -> dict[str, float]:
        raise MemoryError

    monkeypatch.setattr(formats, "differences", fail)
    with pytest.raises(MemoryError):
        list(formats.export(labeled_model, out, discriminator=True))
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt2"]
    assert out.read_text() == "old"


@pytest.mark.parametrize("library", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_one_line_says_which_is_wanted(
    labeled_model: Model, tmp_path: Path, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "sagan.exporting.onnx_file", raising=False)
    for loaded in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, library, None)  # type: ignore[arg-type]
    with pytest.raises(SaganError) as refusal:
        list(formats.export(labeled_model, tmp_path / "a.onnx"))
    assert str(refusal.value) == (
        f"exporting to ONNX needs the library '{library}': pip install '.[onnx]' in the checkout"
    )
