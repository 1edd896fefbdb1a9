"""Mistakes of a user end in one clear line and exit status 2."""

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from sagan.errors import SaganError


def assert_one_line(result, *words: str) -> None:
    assert result.status == 2, result
    lines = [line for line in result.err.splitlines() if line]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("sagan: ")
    for word in words:
        assert word in lines[0], lines[0]


def train(sagan, source: object, out: Path, *more: object):
    return sagan("train", "--data", source, "--out", out, "--preset", "smoke", *more)


def test_a_missing_folder_is_named(sagan, tmp_path) -> None:
    assert_one_line(train(sagan, tmp_path / "nowhere", tmp_path / "run"), "nowhere")


def test_an_empty_folder_is_named(sagan, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    assert_one_line(train(sagan, tmp_path / "empty", tmp_path / "run"), "empty")


def test_a_folder_without_a_readable_image_is_named(sagan, tmp_path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_text("not a picture")
    assert_one_line(train(sagan, tmp_path / "broken", tmp_path / "run"), "broken")


def test_a_run_directory_with_a_name_that_is_not_utf8_is_refused(sagan, pictures, tmp_path) -> None:
    assert_one_line(train(sagan, pictures, f"{tmp_path}/t\udcffx"), "UTF-8", "--out")


def test_the_minutes_of_a_demo_are_finite(sagan, tmp_path) -> None:
    assert_one_line(sagan("demo", "--minutes", "inf", "--out", tmp_path / "d"), "--minutes inf")
    assert not (tmp_path / "d").exists()


DEVICE_TAKERS = {
    "demo": [],
    "train": ["--data", "photos", "--out", "run"],
    "sample": ["model", "--out", "o.png"],
    "evaluate": ["model", "--data", "photos"],
    "explain": ["model", "--out", "o.png"],
    "explore": ["model", "--no-open"],
    "project": ["model", "photo.jpg", "--out", "o.png"],
    "study": ["attention", "--data", "photos", "--out", "study"],
}


@pytest.mark.parametrize("command", DEVICE_TAKERS)
@pytest.mark.parametrize(
    ("device", "words"), [("gpu", ("'gpu'", "cpu, cuda or mps")), ("cuda", ("'cuda'", "cpu"))]
)
def test_an_unknown_or_unavailable_device_is_named(
    sagan, tmp_path, monkeypatch, command, device, words
) -> None:
    """Without a GPU; the device is checked before anything else is opened."""
    monkeypatch.chdir(tmp_path)
    result = sagan(command, *DEVICE_TAKERS[command], "--device", device)
    assert_one_line(result, *words)
    assert not list(tmp_path.iterdir())


def test_too_many_samples_for_the_memory_end_in_one_line(sagan, tmp_path) -> None:
    out = tmp_path / "all.zip"
    result = sagan("sample", "openmoji-64", "--num", 10**13, "--out", out)
    assert_one_line(result, "memory")
    assert not out.exists()


def test_characters_missing_from_a_pipes_encoding_are_escaped(pictures, tmp_path) -> None:
    folder = shutil.copytree(pictures, tmp_path / "日本")
    done = subprocess.run(
        [sys.executable, "-m", "sagan", "data", "info", folder],
        env=os.environ | {"PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        check=True,
    )
    assert rb"\u65e5\u672c" in done.stdout


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "sagan: not enough memory: ask for less at a time"),
        (
            PermissionError(13, "Permission denied", "a\x1bb"),
            "sagan: 'a\ufffdb': Permission denied",
        ),
        (OSError("too many links"), "sagan: too many links"),
    ],
)
def test_an_error_of_the_system_is_one_line(sagan, monkeypatch, error, line) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("sagan.model.open_model", fail)
    assert_one_line(sagan("inspect", "model"), line)


def test_a_warning_is_one_line_without_control_codes(sagan, monkeypatch) -> None:
    def warn(*_: object) -> None:
        warnings.warn("half\na \x1b[31mwarning", stacklevel=1)
        raise SaganError("stop")

    monkeypatch.setattr("sagan.model.open_model", warn)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # restored afterwards
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        result = sagan("inspect", "model")
    assert result.err == "sagan: warning: half\ufffda \ufffd[31mwarning\nsagan: stop\n"


def test_an_unknown_preset_suggests_similar_ones(sagan, pictures, tmp_path) -> None:
    result = sagan("train", "--data", pictures, "--out", tmp_path / "r", "--preset", "sagan-31")
    assert_one_line(result, "sagan-31", "sagan-32")


def test_an_unknown_setting_suggests_similar_ones(sagan, pictures, tmp_path) -> None:
    assert_one_line(train(sagan, pictures, tmp_path / "r", "--set", "lrg=1"), "lrg", "lr_g")


def test_a_setting_without_a_value_is_explained(sagan, pictures, tmp_path) -> None:
    assert_one_line(train(sagan, pictures, tmp_path / "r", "--set", "lr_g"), "key=value")


@pytest.mark.parametrize("steps", [-1, 0])
def test_steps_must_be_positive(sagan, pictures, tmp_path, steps) -> None:
    assert_one_line(train(sagan, pictures, tmp_path / "r", "--steps", steps), "steps", str(steps))


def test_an_out_that_is_a_file_is_named(sagan, pictures, tmp_path) -> None:
    (tmp_path / "taken").write_text("mine")
    assert_one_line(train(sagan, pictures, tmp_path / "taken"), "taken", "is a file")
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_folder_with_other_files_is_left_alone(sagan, pictures, tmp_path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "home.txt").write_text("dear")
    assert_one_line(train(sagan, pictures, tmp_path / "letters"), "letters", "home.txt")
    assert [path.name for path in (tmp_path / "letters").iterdir()] == ["home.txt"]


def test_conditional_training_needs_labels(sagan, pictures, tmp_path) -> None:
    result = train(sagan, pictures, tmp_path / "r", "--set", "conditional=true")
    assert_one_line(result, "labels", "one folder per class")


def test_the_deconvolution_family_cannot_be_conditional(sagan, pictures, tmp_path) -> None:
    result = sagan(
        "train", "--data", pictures, "--out", tmp_path / "r", "--preset", "dcgan-64",
        "--set", "conditional=true",
    )  # fmt: skip
    assert_one_line(result, "unconditional")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"{}" * 50, b"\xff" * 8 + b"junk"])
@pytest.mark.parametrize("command", ["sample", "explain", "inspect", "export"])
def test_a_file_that_is_not_a_model_is_named(sagan, tmp_path, command, content) -> None:
    (tmp_path / "junk.safetensors").write_bytes(content)
    out = tmp_path / "out.safetensors" if command == "export" else tmp_path / "out.png"
    arguments = {"inspect": [], "export": [out]}.get(command, ["--out", out])
    assert_one_line(sagan(command, tmp_path / "junk.safetensors", *arguments), "junk.safetensors")


@pytest.mark.parametrize("card", ["no-such.md", ".", "latin1.md"])
def test_a_model_card_that_is_not_text_is_named(sagan, run, tmp_path, card) -> None:
    (tmp_path / "latin1.md").write_bytes("été".encode("latin-1"))
    out = tmp_path / "out.safetensors"
    result = sagan("export", run, out, "--card", tmp_path / card)
    assert_one_line(result, str(tmp_path / card))
    assert not out.exists()


def test_control_characters_in_a_message_are_replaced(sagan, tmp_path) -> None:
    result = sagan("sample", "\x1b[31mno\nsuch", "--out", tmp_path / "o.png")
    assert_one_line(result, "\ufffd[31mno\ufffdsuch")


def test_a_model_that_does_not_exist_is_named(sagan, tmp_path) -> None:
    assert_one_line(sagan("sample", "no-such", "--out", tmp_path / "o.png"), "no-such")


def test_a_folder_that_is_not_a_run_is_named(sagan, tmp_path) -> None:
    assert_one_line(sagan("inspect", tmp_path), str(tmp_path))


def test_classes_of_an_unconditional_model_are_refused(sagan, run, tmp_path) -> None:
    result = sagan("sample", run, "--out", tmp_path / "o.png", "--classes", "cat")
    assert_one_line(result, "unconditional")


def test_an_unknown_class_lists_the_known_ones(sagan, labeled_run, tmp_path) -> None:
    result = sagan("sample", labeled_run, "--out", tmp_path / "o.png", "--classes", "cat,crow")
    assert_one_line(result, "crow", "cat", "dog")


@pytest.mark.parametrize("query", ["32,3", "-1,3", "a,b", "3"])
def test_a_query_outside_the_image_is_named(sagan, run, tmp_path, query) -> None:
    assert_one_line(sagan("explain", run, "--out", tmp_path / "o.png", f"--query={query}"), query)


def test_more_queries_than_a_figure_shows_are_refused(sagan, run, tmp_path) -> None:
    queries = [f"--query={x},3" for x in range(7)]
    assert_one_line(sagan("explain", run, "--out", tmp_path / "o.png", *queries), "at most 6")


def test_query_grid_and_dots_exclude_each_other(sagan, run, tmp_path) -> None:
    for pair in (["--query=1,2", "--grid=2"], ["--query=1,2", "--dots=6"]):
        result = sagan("explain", run, "--out", tmp_path / "o.png", *pair)
        assert_one_line(result, "--query", "--grid", "--dots")


@pytest.mark.parametrize("option", ["--num=3", "--classes=cat"])
def test_options_that_choose_samples_are_refused_with_photos(sagan, run, tmp_path, option) -> None:
    arguments = ["--image", "me.jpg", option, "--out", tmp_path / "o.png"]
    assert_one_line(sagan("explain", run, *arguments), "leave them out")


@pytest.mark.parametrize("option", ["--query=1,2", "--grid=2", "--dots=3"])
def test_query_points_are_refused_for_a_page_alone(sagan, run, tmp_path, option) -> None:
    page = tmp_path / "page.html"
    assert_one_line(sagan("explain", run, "--html", page, option), "leave them out")
    assert not page.exists()


@pytest.mark.parametrize("name", ["o.bmp", "o.jpeg"])
def test_an_unsupported_file_format_is_named(sagan, run, tmp_path, name) -> None:
    assert_one_line(sagan("sample", run, "--out", tmp_path / name), name)
    assert_one_line(sagan("explain", run, "--out", tmp_path / name), name)


@pytest.mark.parametrize("name", ["s.bmp", "s.tar"])
def test_an_unsupported_file_format_is_refused_before_samples_are_drawn(
    sagan, run, tmp_path, name
) -> None:
    result = sagan("sample", run, "--out", tmp_path / name, "--num", 10**9)
    assert_one_line(result, name, "FILE.zip")


def test_samples_are_not_written_into_a_folder_with_other_files(sagan, run, tmp_path) -> None:
    (tmp_path / "mine.txt").touch()
    assert_one_line(sagan("sample", run, "--out", tmp_path), str(tmp_path), "not empty")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_page_with_too_many_samples_is_refused(sagan, labeled_run, tmp_path) -> None:
    classes = ",".join(["0"] * 25)
    result = sagan("explain", labeled_run, "--html", tmp_path / "p.html", "--classes", classes)
    assert_one_line(result, "at most 24 samples")


@pytest.mark.parametrize("name", ["figure.png", "."])
def test_a_page_is_written_to_an_html_file_only(sagan, run, tmp_path, name) -> None:
    result = sagan("explain", run, "--html", tmp_path / name)
    assert_one_line(result, "FILE.html")


def test_an_interpolation_takes_no_number_of_images(sagan, run, tmp_path) -> None:
    arguments = ["--out", tmp_path / "way.png", "--interpolate", 3, "--num", 5]
    assert_one_line(sagan("sample", run, *arguments), "--interpolate", "--num")


def test_a_photo_that_is_not_an_image_is_named(sagan, run, tmp_path) -> None:
    (tmp_path / "photo.jpg").write_text("not an image")
    arguments = ["--image", tmp_path / "photo.jpg", "--out", tmp_path / "o.png"]
    assert_one_line(sagan("explain", run, *arguments), "photo.jpg")


def test_a_run_is_not_resumed_with_other_settings(sagan, run, pictures) -> None:
    settings = ["--set", "lr_g=0.5", "--set", "channels_g=8"]
    result = train(sagan, pictures, run, "--steps", 4, *settings)
    assert_one_line(result, "lr_g was 0.0002 and is now 0.5")


def test_a_dry_run_refuses_fewer_steps_than_a_run_has_done(sagan, run, pictures) -> None:
    result = train(sagan, pictures, run, "--steps", 1, "--dry-run")
    assert_one_line(result, "already, which is more than 1 step:")


def test_a_contact_sheet_in_another_format_is_refused_before_anything_is_read(
    sagan, tmp_path
) -> None:
    result = sagan("data", "info", tmp_path / "nowhere", "--sheet", tmp_path / "sheet.gif")
    assert_one_line(result, "sheet.gif", ".png")


def test_evaluate_without_model_or_data_says_what_to_give(sagan, run) -> None:
    assert_one_line(sagan("evaluate"), "MODEL", "--compare")
    assert_one_line(sagan("evaluate", run), "--data")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--metrics", "fib"], ("fib", "fid")),
        (["--features", "vgg"], ("vgg", "inception")),
        (["--split", "test"], ("test", "plain")),
        (["--metrics", "intra-fid"], ("intra-fid", "conditional")),
        (["--weights", "w.pth"], ("--weights",)),
        (["--features", "dinov2", "--weights", "w.pth"], ("w.pth",)),
        (["--num", "3"], ("needs", "3")),
    ],
)
def test_an_impossible_evaluation_says_why(sagan, run, pictures, arguments, words) -> None:
    assert_one_line(sagan("evaluate", run, "--data", pictures, "--num", "8", *arguments), *words)


def test_without_a_network_the_message_says_which_weights_to_fetch_and_where_to_put_them(
    sagan, run, pictures, tmp_path, monkeypatch
) -> None:
    from sagan.metrics.features import inception
    from sagan.metrics.features.weights import PublishedWeights

    url = f"file://{tmp_path}/nowhere/weights-inception.pth"
    monkeypatch.setattr(inception, "CANONICAL", PublishedWeights(url, "0" * 64))
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))
    result = sagan("evaluate", run, "--data", pictures, "--features", "inception")
    place = str(tmp_path / "cache" / "metrics" / "weights-inception.pth")
    lines = [line for line in result.err.splitlines() if line]
    assert result.status == 2
    assert url in lines[-1]
    assert place in lines[-1]
    assert "--weights" in lines[-1]


def test_comparing_a_file_that_is_not_an_evaluation_is_one_line(sagan, tmp_path) -> None:
    (tmp_path / "a.json").write_text("{}")
    result = sagan("evaluate", "--compare", tmp_path / "a.json", tmp_path / "b.json")
    assert_one_line(result, "a.json", "sagan evaluate --json")


def test_a_report_on_a_folder_that_is_not_a_run_is_one_line(sagan, tmp_path) -> None:
    assert_one_line(sagan("report", tmp_path, "--out", tmp_path / "a.html"), "config.json")


def test_every_command_refuses_a_run_with_a_link_in_it(sagan, run, pictures, tmp_path) -> None:
    outside = shutil.move(shutil.copytree(run, tmp_path / "run") / "checkpoints", tmp_path / "out")
    (tmp_path / "run" / "checkpoints").symlink_to(outside)
    (outside / ".precious.tmp").touch()
    before = sorted(outside.rglob("*"))
    linked, target = tmp_path / "run", tmp_path / "target"
    for command in (
        ["train", "--data", pictures, "--out", linked, "--steps", 3],
        ["sample", linked, "--out", f"{target}.png"],
        ["evaluate", linked, "--data", pictures],
        ["explain", linked, "--out", f"{target}.png"],
        ["explore", linked, "--no-open"],
        ["report", linked, "--out", f"{target}.html"],
        ["export", linked, f"{target}.safetensors"],
        ["inspect", linked],
    ):
        assert_one_line(sagan(*command), "checkpoints' is a link")
    assert sorted(outside.rglob("*")) == before


def test_an_export_that_cannot_be_is_refused_in_one_line(sagan, run, tmp_path) -> None:
    (tmp_path / "folder.pt2").mkdir()
    assert_one_line(sagan("export", run, tmp_path / "a.zip"), "a.zip' does not end in")
    assert_one_line(sagan("export", run, tmp_path / "folder.pt2"), "folder.pt2'")
    assert_one_line(sagan("export", tmp_path / "no", tmp_path / "a.pt2"), "cannot find", "no'")
    assert_one_line(sagan("export", run, tmp_path / "a.safetensors", "--maps"), "--maps")


def test_a_study_is_not_written_through_a_link_in_its_folder(sagan, pictures, tmp_path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "runs").symlink_to(tmp_path / "outside")
    options = ("--data", pictures, "--out", tmp_path / "study", "--preset", "smoke")
    assert_one_line(sagan("study", "attention", *options), "runs' is a link")
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_demo_does_not_replace_what_a_link_in_its_folder_leads_to(sagan, tmp_path) -> None:
    (tmp_path / "mine.png").write_text("mine")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "samples.png").symlink_to(tmp_path / "mine.png")
    assert_one_line(sagan("demo", "--out", tmp_path / "demo"), "samples.png' is a link")


COMMANDS = {
    "sample": ("sagan.gallery.write_samples", ["--out", "o.png"]),
    "inspect": ("sagan.model.open_model", []),
    "explain": ("sagan.explain.draw.write_figure", ["--out", "o.png"]),
    "explore": ("sagan.explorer.app.create_app", ["--no-open", "--port", 0]),
    "export": ("sagan.exporting.formats.export_model", ["o.safetensors"]),
    "report": ("sagan.report.write_report", ["--out", "o.html"]),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_memory_that_runs_out_on_a_cpu_is_one_line_in_every_command(
    command: str, sagan, run, tmp_path, monkeypatch
) -> None:
    def full(*_: object, **__: object) -> None:
        torch.empty(2**60, dtype=torch.uint8)

    place, options = COMMANDS[command]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(place, full)
    result = sagan(command, run, *options)
    assert result.status == 2
    assert result.err == "sagan: not enough memory: ask for less at a time\n"


def test_a_refusal_is_short_even_if_a_name_is_long(sagan, tmp_path) -> None:
    result = sagan("sample", "x" * 100_000, "--out", tmp_path / "o.png")
    assert_one_line(result)
    assert len(result.err) < 1100


def test_under_a_launcher_only_the_first_process_does_what_is_not_divided(
    sagan, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    out = tmp_path / "model.safetensors"
    result = sagan("export", finished_run, out)
    assert result.status == 0
    assert result.err == "sagan: process 1 of 2 leaves this to process 0\n"
    assert not out.exists()
    monkeypatch.setenv("RANK", "0")
    assert sagan("export", finished_run, out).status == 0
    assert out.exists()
