"""sagan evaluate, with features that need no download, and sagan report, in a shell."""

import json
from pathlib import Path

import pytest
from PIL import Image

from sagan.errors import SaganError

FEW = ["--num", 12]


def test_numbers_are_printed_and_saved_with_their_protocol(sagan, run, pictures, tmp_path) -> None:
    out = tmp_path / "new" / "numbers.json"
    result = sagan("evaluate", run, "--data", pictures, *FEW, "--json", out)
    assert result.status == 0, result.err
    document = json.loads(out.read_text())
    assert document["metrics"].keys() >= {
        "FD-EfficientNet", "KD-EfficientNet", "precision", "recall", "density", "coverage",
    }  # fmt: skip
    for name, value in document["metrics"].items():
        assert f"{name} " in result.out
        assert f"{value:.5g}" in result.out
    for words in (
        "efficientnet-lite0", "579344248a93", "128 x 128", "float32", "split train", "pictures 12",
        "weights ema", "running statistics", "truncation 1.0", "seed 0", "uint8",
        document["protocol"]["reference"]["fingerprint"][:12], "is not FID", "biased",
    ):  # fmt: skip
        assert words in result.out, words
    assert "FID " not in result.out.replace("is not FID ", "")


def test_metrics_of_held_out_images_classes_and_copies_are_printed(
    sagan, labeled_run, splits, tmp_path
) -> None:
    result = sagan(
        "evaluate", labeled_run, "--data", splits, "--split", "test", *FEW, "--metrics",
        "class-accuracy, near-copies,intra-fid", "--neighbors", tmp_path / "n.png",
    )  # fmt: skip
    assert result.status == 0, result.err
    for words in ("class-accuracy/real", "near-copies/nearer", "intra-FD-EfficientNet"):
        assert words in result.out
    with Image.open(tmp_path / "n.png") as image:
        image.load()


def test_two_evaluations_are_ranked_only_under_the_same_protocol(
    sagan, run, pictures, tmp_path
) -> None:
    def evaluated(name: str, *more: object) -> Path:
        out = tmp_path / name
        arguments = ["--data", pictures, "--num", 12, "--metrics", "kid", "--json", out]
        assert sagan("evaluate", run, *arguments, *more).status == 0
        return out

    one, same = evaluated("a.json"), evaluated("b.json")
    ranked = sagan("evaluate", "--compare", one, same)
    assert ranked.status == 0
    assert "KD-EfficientNet" in ranked.out
    assert "neither" in ranked.out
    other = evaluated("c.json", "--truncation", 0.5)
    refused = sagan("evaluate", "--compare", one, other)
    assert refused.status == 2
    assert "samples truncation: 1.0 and 0.5" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert "KD-EfficientNet" not in refused.out


def test_a_folder_of_images_is_measured_and_ranked_beside_a_model(
    sagan, run, pictures, tmp_path
) -> None:
    files, theirs, ours = tmp_path / "samples", tmp_path / "a.json", tmp_path / "b.json"
    assert sagan("sample", run, "--num", 12, "--out", files).status == 0
    arguments = ["--data", pictures, "--metrics", "kid", "--json"]
    measured = sagan("evaluate", files, *arguments, theirs)
    assert measured.status == 0, measured.err
    assert "pictures 12, seed 0, not stated: weights, batch norm, truncation" in measured.out
    assert sagan("evaluate", run, "--num", 12, *arguments, ours).status == 0
    ranked = sagan("evaluate", "--compare", theirs, ours)
    assert ranked.status == 0
    assert "note: these conditions of given images are unknown" in ranked.out
    refused = sagan("evaluate", files, "--raw", "--data", pictures)
    assert refused.status == 2
    assert "a model's" in refused.err


@pytest.mark.parametrize(
    "mistake",
    [
        ("--json", "file/a.json"),
        ("--json", "folder"),
        ("--neighbors", "file/a.png"),
        ("--neighbors", "a.jpeg"),
        ("--metrics", "fib"),
        ("--truncation", "inf"),
    ],
)
def test_mistakes_are_reported_before_the_data_is_opened(
    sagan, run, tmp_path, monkeypatch, mistake
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("folder").mkdir()
    result = sagan("evaluate", run, "--data", "nowhere", *FEW, *mistake)
    assert result.status == 2
    assert len(result.err.splitlines()) == 1
    assert mistake[1] in result.err
    assert "nowhere" not in result.err


def test_numbers_that_cannot_be_saved_are_still_printed(
    sagan, run, pictures, tmp_path, monkeypatch
) -> None:
    def full(path: Path, value: object) -> None:
        raise SaganError(f"cannot write {path}")

    monkeypatch.setattr("sagan.storage.files.write_json", full)
    arguments = [*FEW, "--metrics", "kid", "--json", tmp_path / "a.json"]
    result = sagan("evaluate", run, "--data", pictures, *arguments)
    assert result.status == 2
    assert len(result.err.splitlines()) == 1
    assert "KD-EfficientNet" in result.out


def test_comparing_two_files_refuses_a_model(sagan, run, tmp_path) -> None:
    result = sagan("evaluate", run, "--compare", tmp_path / "a", tmp_path / "b")
    assert result.status == 2
    assert "leave MODEL" in result.err


def test_the_latest_weights_are_recorded_as_raw(sagan, run, pictures, tmp_path) -> None:
    arguments = ["--data", pictures, "--num", 12, "--metrics", "kid", "--json", tmp_path / "a.json"]
    assert sagan("evaluate", run, "--raw", *arguments).status == 0
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["protocol"]["samples"]["weights"] == "raw"


def test_a_report_is_one_page(sagan, run, tmp_path) -> None:
    result = sagan("report", run, "--out", tmp_path / "run.html")
    assert result.status == 0, result.err
    assert (tmp_path / "run.html").read_text().startswith("<!doctype html>")


def test_unknown_features_are_refused_before_images_are_read(sagan, pictures) -> None:
    result = sagan("evaluate", pictures, "--data", "missing", "--features", "efficientnet")
    assert result.status == 2
    assert "unknown features 'efficientnet': choose from efficientnet-lite0, " in result.err
