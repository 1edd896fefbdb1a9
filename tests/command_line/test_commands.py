"""Each command does what its help says, on real files."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from sagan import demo
from sagan.errors import SaganError
from sagan.images.grid import GAP
from sagan.images.lettering import LINE_HEIGHT
from sagan.model import open_model
from sagan.run.checkpoint import latest_checkpoint, step_of
from sagan.run.directory import read_description
from sagan.training import session

SMALL = ["--set", "channels_g=8", "--set", "channels_d=8", "--set", "batch_size=4"]


def size_of(path) -> tuple[int, int]:
    with Image.open(path) as picture:
        picture.load()
        return picture.size


@pytest.mark.parametrize("preset", ["smoke", "dcgan-64"])
@pytest.mark.parametrize("source", ["pictures", "labeled_pictures"])
def test_training_runs_with_and_without_labels(sagan, request, tmp_path, preset, source) -> None:
    source, run = request.getfixturevalue(source), tmp_path / "run"
    arguments = ["--data", source, "--preset", preset, "--steps", 3, *SMALL, "--out", run]
    result = sagan("train", *arguments)
    assert result.status == 0, result.err
    assert (run / "checkpoints" / "step-00000003" / "ema.safetensors").is_file()
    config = json.loads((run / "config.json").read_text())["config"]
    labeled = "labeled" in source.name
    assert config["conditional"] is (labeled and preset == "smoke")
    ignored = "labeled are ignored: the model is unconditional" in result.out
    assert ignored is (labeled and preset == "dcgan-64")
    side = 32 if preset == "smoke" else 64
    assert size_of(run / "samples" / "step-00000003.png")[0] % (side + 2) == side
    assert list((run / "attention").glob("step-00000003*.png"))


def test_a_start_from_a_model_says_what_was_taken_and_what_was_not(
    sagan, pictures, tmp_path
) -> None:
    out = tmp_path / "run"
    chosen = ("--from", "cifar10-32", "--set", "attention_d=4", "--dry-run")
    result = sagan("train", "--data", pictures, "--out", out, *chosen)
    assert result.status == 0, result.err
    (line,) = re.findall(r"^from +cifar10-32, step 9,000: (.*)$", result.out, re.MULTILINE)
    assert re.fullmatch(r"99 of 99 tensors of the generator, 64 of 78 tensors of the disc.*", line)
    assert re.search(r"^fresh +discriminator\.self_attention\.4$", result.out, re.MULTILINE)
    assert re.search(r"^channels_g +16 ", result.out, re.MULTILINE)
    assert not out.exists()
    refused = sagan("train", "--data", pictures, "--out", out, *chosen, "--set", "channels_d=16")
    assert refused.status == 2
    assert refused.err.splitlines()[-1].startswith("sagan: channels_d=16 does not fit 'cifar10-32'")


def test_a_dry_run_shows_the_configuration_and_trains_nothing(sagan, pictures, tmp_path) -> None:
    out = tmp_path / "run"
    result = sagan("train", "--data", pictures, "--out", out, "--preset", "smoke", "--dry-run")
    assert result.status == 0
    assert "lr_g" in result.out
    assert "parameters" in result.out
    assert re.search(r"50 steps of [\d.e-]+ s: about \d+ .*, \d+ MB of disk", result.out)
    assert re.search(
        r"^memory +at least 0\.\d+ GiB for a step, computed$", result.out, re.MULTILINE
    )
    assert not out.exists()


def test_a_dry_run_needs_no_run_directory_but_a_training_does(sagan, pictures, tmp_path) -> None:
    arguments = ["--data", pictures, "--preset", "smoke", *SMALL]
    assert sagan("train", *arguments, "--dry-run").status == 0
    refused = sagan("train", *arguments)
    assert (refused.status, refused.err) == (2, "sagan: give a run directory with --out\n")


@pytest.mark.usefixtures("no_images")
def test_a_time_limit_decides_the_steps_and_is_resumed(sagan, pictures, tmp_path) -> None:
    out = tmp_path / "run"
    arguments = ["--data", pictures, "--preset", "smoke", *SMALL, "--out", out]
    result = sagan("train", *arguments, "--minutes", 0.05)
    assert result.status == 0, result.err
    assert "plan: smoke, " in result.out
    config = read_description(out).config
    assert (config.minutes, config.lr_decay) == (0.05, 0.5)
    assert step_of(latest_checkpoint(out)) == config.steps
    again = sagan("train", *arguments, "--minutes", 0.05)
    assert again.status == 0
    assert f"step {config.steps} of {config.steps}" in again.out
    state = json.loads((latest_checkpoint(out) / "state.json").read_text())
    longer = sagan("train", *arguments, "--hours", (state["elapsed"] + 1.5) / 3600)
    assert longer.status == 0, longer.err
    assert read_description(out).config.steps > config.steps


def test_a_time_limit_and_a_number_of_steps_contradict_each_other(sagan, pictures) -> None:
    refused = sagan("train", "--data", pictures, "--dry-run", "--steps", 5, "--minutes", 1)
    assert refused.status == 2
    assert "give one of the two" in refused.err


@pytest.mark.usefixtures("no_images")
def test_train_prints_what_differs_from_the_preset_and_not_all_settings(
    sagan, pictures, tmp_path
) -> None:
    arguments = ["--data", pictures, "--preset", "smoke", "--steps", 1, "--set", "d_steps=2"]
    out = sagan("train", *arguments, "--out", tmp_path / "run").out
    assert "changed      d_steps=2 (preset: 1), steps=1 (preset: 50)\n" in out
    assert "recipe       32 px, 1 step, batch 16, seed 0\n" in out
    assert f"data         {pictures}: " in out
    assert "lr_g" not in out
    assert len(out.partition("step 0 of 1")[0].splitlines()) < 10


@pytest.mark.usefixtures("no_images")
def test_the_same_command_with_more_steps_resumes(sagan, pictures, tmp_path) -> None:
    def train(steps: int):
        arguments = ["--data", pictures, "--preset", "smoke", *SMALL, "--out", tmp_path / "run"]
        return sagan("train", *arguments, "--steps", steps)

    assert "step 0 of 2: training" in train(2).out
    assert "step 2 of 4: resuming" in train(4).out
    assert (tmp_path / "run" / "checkpoints" / "step-00000004").is_dir()


def test_a_grid_has_one_column_for_each_class(sagan, labeled_run, tmp_path) -> None:
    assert sagan("sample", labeled_run, "--out", tmp_path / "g.png", "--num", 6).status == 0
    name, side = LINE_HEIGHT, 3 * 32 + GAP
    assert size_of(tmp_path / "g.png") == (2 * side - GAP, name + 3 * side - GAP)


def test_samples_are_enlarged_as_requested(sagan, labeled_run, tmp_path) -> None:
    def drawn(out: str, *options: str) -> Path:
        arguments = ("--out", tmp_path / out, "--num", 6, *options)
        assert sagan("sample", labeled_run, *arguments).status == 0
        return tmp_path / out

    raw = drawn("raw.png", "--scale", "1")
    assert size_of(raw) == (2 * 34 - 2, 3 * 34 - 2)  # without names
    assert size_of(drawn("four.png", "--scale", "4"))[0] == 2 * 130 - 2
    for folder, options, side in (("a", (), 32), ("b", ("--scale", "auto"), 96)):
        assert size_of(drawn(folder, *options) / "cat" / "00000.png") == (side, side)
    for wrong in ("0", "33", "1.5", "big", "-1"):
        result = sagan("sample", labeled_run, "--out", tmp_path / "x.png", f"--scale={wrong}")
        assert result.status == 2
        assert f"--scale '{wrong}' is neither auto nor a number from 1 to 32" in result.err


def test_single_images_are_in_the_folder_of_their_class(sagan, labeled_run, tmp_path) -> None:
    assert sagan("sample", labeled_run, "--out", tmp_path / "files", "--num", 5).status == 0
    names = sorted(str(p.relative_to(tmp_path / "files")) for p in tmp_path.rglob("*.png"))
    assert names == [f"cat/0000{i}.png" for i in range(3)] + [f"dog/0000{i}.png" for i in range(2)]


def test_a_zip_contains_only_the_requested_classes(sagan, labeled_run, tmp_path) -> None:
    out = tmp_path / "s.zip"
    assert sagan("sample", labeled_run, "--out", out, "--num", 3, "--classes", "dog").status == 0
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == [f"dog/0000{i}.png" for i in range(3)]


def test_the_same_seed_gives_the_same_images_and_another_seed_others(sagan, run, tmp_path) -> None:
    def pixels(seed: int, name: str):
        arguments = ["--out", tmp_path / name, "--num", 4, "--seed", seed]
        assert sagan("sample", run, *arguments).status == 0
        return np.asarray(Image.open(tmp_path / name))

    assert np.array_equal(pixels(1, "a.png"), pixels(1, "b.png"))
    assert not np.array_equal(pixels(1, "a.png"), pixels(2, "c.png"))


def test_an_interpolation_is_a_strip_or_an_animation(sagan, run, tmp_path) -> None:
    for name in ("way.png", "way.gif"):
        arguments = ["--out", tmp_path / name, "--interpolate", 5]
        assert sagan("sample", run, *arguments).status == 0
    assert size_of(tmp_path / "way.png") == (5 * 98 - 2, 96)
    with Image.open(tmp_path / "way.gif") as film:
        assert film.n_frames == 8  # there and back


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_explain_writes_a_figure(sagan, run, tmp_path, ending) -> None:
    out = tmp_path / f"a.{ending}"
    result = sagan("explain", run, "--out", out, "--query", "5,6", "--num", 1)
    assert result.status == 0
    assert out.stat().st_size > 1000


def test_explain_writes_an_interactive_page_instead_of_a_figure(sagan, run, tmp_path) -> None:
    out = tmp_path / "page.html"
    result = sagan("explain", run, "--html", out, "--seed", "3")
    assert (result.status, result.out) == (0, f"wrote {out}\n")
    assert out.read_text().count('class="payload"') == 12
    assert sagan("explain", run, "--html", out, "--num", 3).status == 0
    assert out.read_text().count('class="payload"') == 3


def test_explain_and_explore_say_what_they_cannot_do(sagan, run) -> None:
    for arguments, words in (
        (["explain", run], ["nothing to write", "--out", "--html"]),
        (["explore", "nowhere", "--no-open"], ["cannot find the model 'nowhere'"]),
        (["explore", run, "--no-open", "--host", "no such host"], ["cannot serve at"]),
    ):
        result = sagan(*arguments)
        assert (result.status, result.err.count("\n")) == (2, 1)
        assert all(word in result.err for word in words)


def test_explain_shows_the_discriminators_attention_on_photos(sagan, run, tmp_path) -> None:
    Image.new("RGB", (50, 40), "teal").save(tmp_path / "photo.png")
    photo = ("--image", tmp_path / "photo.png")
    heights = []
    for photos in (photo, photo + photo):
        assert sagan("explain", run, *photos, "--out", tmp_path / "d.png").status == 0
        heights.append(size_of(tmp_path / "d.png")[1])
    assert heights[1] > heights[0] + 256  # a row for each


@pytest.mark.usefixtures("no_images")
def test_explain_pads_a_photo_as_the_training_images_were(sagan, pictures, tmp_path) -> None:
    packed, run = tmp_path / "packed", tmp_path / "run"
    assert sagan("data", "pack", pictures, packed, "--size", 32, "--fit", "pad").status == 0
    arguments = ("--data", packed, "--out", run, "--preset", "smoke", "--steps", 1)
    assert sagan("train", *arguments).status == 0
    wide = Image.new("RGB", (64, 32), "teal")
    fitted = Image.new("RGB", (32, 32), "white")
    fitted.paste(wide.resize((32, 16)), (0, 8))
    drawn = []
    for picture in (wide, fitted):
        picture.save(tmp_path / "photo.png")
        out = tmp_path / "d.png"
        assert sagan("explain", run, "--image", tmp_path / "photo.png", "--out", out).status == 0
        drawn.append(out.read_bytes())
    assert drawn[0] == drawn[1]


@pytest.mark.usefixtures("no_images")
def test_explain_draws_all_layers_into_one_file(sagan, tmp_path, pictures):
    settings = ("--set", "attention_g=8,16", "--set", "channels_g=8", "--steps", 1)
    run = tmp_path / "two"
    result = sagan("train", "--data", pictures, "--out", run, "--preset", "smoke", *settings)
    assert result.status == 0
    assert sagan("explain", run, "--out", tmp_path / "a.svg", "--num", 1).status == 0
    drawn = (tmp_path / "a.svg").read_text()
    assert "generator.attention_8" in drawn
    assert "generator.attention_16" in drawn


def test_explain_names_classes_and_draws_as_many_query_points_as_requested(
    sagan, labeled_run, tmp_path
) -> None:
    out = tmp_path / "a.svg"
    for options, dots in ((("--dots", 2), 2), (("--grid", 3), 9), (("--query", "0,0"), 1)):
        result = sagan("explain", labeled_run, "--out", out, "--classes", "dog", *options)
        assert result.status == 0
        drawn = out.read_text()
        assert drawn.count(">dog<") == 4
        assert drawn.count("beyond 3×3<") == 4 * dots  # noqa: RUF001


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "--out", "o.png"],
        ["explain", "--out", "o.png", "--image", "photo.png"],
        ["explain", "--html", "o.html"],
        ["explore", "--no-open", "--port", 0],
    ],
)
def test_networks_compute_on_the_chosen_device(
    sagan, run, tmp_path, monkeypatch, arguments
) -> None:
    """Nothing can be read back from the meta device, wherever it was put in place of another."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (50, 40), "teal").save("photo.png")
    monkeypatch.setattr("sagan.runtime.device.choose_device", lambda name: torch.device("meta"))
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        sagan(*arguments, run, "--device", "cpu")


def test_samples_are_computed_on_the_chosen_device(sagan, run, tmp_path, monkeypatch) -> None:
    chosen = []

    def join(device):
        chosen.append(device)
        return SimpleNamespace(device=torch.device("meta"), is_main_process=True)

    monkeypatch.setattr("sagan.runtime.processes.join_processes", join)
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        sagan("sample", run, "--out", tmp_path / "o.png", "--device", "cpu")
    assert chosen == ["cpu"]


def test_an_exported_model_draws_what_its_run_draws(sagan, run, tmp_path) -> None:
    model = tmp_path / "model.safetensors"
    assert sagan("export", run, model).status == 0
    for source, name in ((run, "run.png"), (model, "model.png")):
        assert sagan("sample", source, "--out", tmp_path / name).status == 0
    assert (tmp_path / "run.png").read_bytes() == (tmp_path / "model.png").read_bytes()


def test_a_network_is_exported_for_other_programs(sagan, labeled_run, tmp_path) -> None:
    out = tmp_path / "judge.pt2"
    result = sagan("export", labeled_run, out, "--discriminator", "--maps", "--half")
    assert result.status == 0, result.err
    assert result.out.splitlines()[0].startswith(f"wrote {out}: the discriminator as a program")
    assert "discriminator.attention_16" in result.out
    assert result.err == ""
    assert out.is_file()


def test_classes_of_a_shipped_model_are_drawn_by_name(sagan, tmp_path) -> None:
    out = tmp_path / "grid.png"
    result = sagan("sample", "cifar10-32", "--classes", "cat,ship", "--out", out)
    assert result.status == 0, result.err
    assert size_of(out) == (8 * 98 - GAP, LINE_HEIGHT + 8 * 98 - GAP)


def test_a_model_file_contains_its_card_which_is_shown_without_control_codes(
    sagan, run, tmp_path
) -> None:
    card, model = tmp_path / "card.md", tmp_path / "model.safetensors"
    card.write_bytes("# Pieds carrés\n\x1b[31mred\x07\r\n".encode())
    assert sagan("export", run, model, "--card", card).status == 0
    assert open_model(model).card == "# Pieds carrés\n\x1b[31mred\x07\r\n"
    assert sagan("inspect", model).out.endswith("\n\n# Pieds carrés\n\ufffd[31mred\ufffd\n")


def test_inspect_describes_a_model(sagan, labeled_run) -> None:
    result = sagan("inspect", labeled_run)
    assert result.status == 0
    for word in ("generator.attention_16", "cat, dog", "channels_g", "gamma"):
        assert word in result.out


def test_every_preset_is_listed_with_its_source(sagan) -> None:
    from sagan.presets import PRESETS

    out = sagan("presets").out
    for name, preset in PRESETS.items():
        assert name in out
        assert preset.source in out


def test_a_preset_is_shown_with_every_setting_and_what_it_means(sagan) -> None:
    from sagan.config import Config

    out = " ".join(sagan("presets", "cpu-64").out.split())
    for name, field in Config.model_fields.items():
        assert name in out
        assert str(field.description) in out
    assert "published form of the attention layer (full, paper, pooled)" in out
    assert "conditional null" in out
    assert "did you mean cpu-64" in sagan("presets", "cpu-46").err


def test_data_info_counts_classes(sagan, labeled_pictures) -> None:
    out = sagan("data", "info", labeled_pictures).out
    for word in ("cat", "dog", "classes      2"):
        assert word in out


def test_data_info_writes_a_contact_sheet_and_suggests_a_preset(
    sagan, labeled_pictures, tmp_path
) -> None:
    result = sagan("data", "info", labeled_pictures, "--sheet", tmp_path / "sheet.png")
    assert result.status == 0
    assert size_of(tmp_path / "sheet.png")[0] > 700
    assert "suggestion   --from cifar10-32 (14 pictures are few" in result.out
    assert "warning      14 pictures are few" in result.out


def test_data_pack_reports_unreadable_files_and_duplicates(sagan, tmp_path) -> None:
    (tmp_path / "set").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8), "teal").save(tmp_path / "set" / name)
    (tmp_path / "set" / "c.png").write_bytes(b"")
    arguments = [tmp_path / "set", tmp_path / "out", "--size", 8]
    assert sagan("data", "pack", *arguments).status == 2
    result = sagan("data", "pack", *arguments, "--max-unreadable", "0.5")
    assert result.status == 0
    assert "1 unreadable file is left out" in result.out
    assert "1 picture is a copy of another" in result.out
    assert "2 pictures of 8 x 8" in result.out


@pytest.mark.usefixtures("no_images")
def test_a_packed_set_trains_without_being_packed_again(sagan, pictures, tmp_path) -> None:
    packed = tmp_path / "packed"
    assert sagan("data", "pack", pictures, packed, "--size", 32).status == 0
    arguments = ["--data", packed, "--preset", "smoke", *SMALL, "--steps", 1]
    result = sagan("train", *arguments, "--out", tmp_path / "run")
    assert result.status == 0
    assert "packing" not in result.out


def test_the_demo_ends_with_samples_and_an_attention_figure(
    sagan, pictures, tmp_path, monkeypatch
) -> None:
    # The same demo on a handful of images: tests/data renders avatars.
    def prepare(source, *rest):
        assert source == demo.DATA
        return session.prepare_session(str(pictures), *rest)

    monkeypatch.setattr(demo, "prepare_session", prepare)
    result = sagan("demo", "--out", tmp_path / "demo", "--minutes", 0.05)
    assert result.status == 0, result.err
    assert size_of(tmp_path / "demo" / "samples.png") == (8 * 98 - 2, 8 * 98 - 2)
    for name in ("trained.png", "attention.png", "progress.png"):
        assert size_of(tmp_path / "demo" / name)[0] >= 96
    steps = read_description(tmp_path / "demo").config.steps
    assert f"{steps:,} of the 738 steps of the README's picture: " in result.out
    assert "Next:" in result.out
    assert result.out.index("trained.png") < result.out.index("step 0 of")


def test_a_demo_that_resumes_says_so(sagan, finished_run, tmp_path, monkeypatch) -> None:
    out = shutil.copytree(finished_run, tmp_path / "demo")

    def refuse(*_) -> None:
        raise SaganError("enough")

    monkeypatch.setattr(demo, "prepare_session", refuse)
    result = sagan("demo", "--out", out, "--minutes", 2)
    assert f"now training the run in {out} on from step 6, to 2 minutes in all" in result.out
    assert "scratch" not in result.out


@pytest.mark.usefixtures("fatal_hangup")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_packing_that_is_asked_to_end_leaves_nothing(name: str, tmp_path: Path) -> None:
    number = getattr(signal, name)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(pictures / "0.png", compress_level=0)
    for i in range(1, 300):
        os.link(pictures / "0.png", pictures / f"{i}.png")
    out = tmp_path / "out" / "packed"
    process = subprocess.Popen(
        [sys.executable, "-m", "sagan", "data", "pack", str(pictures), str(out), "--size", "32"],
        stderr=subprocess.PIPE,
    )
    while not list(out.parent.glob(".*.tmp")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert list(out.parent.iterdir()) == []


def test_a_presets_yaml_and_a_runs_config_can_be_trained_from(
    sagan, run, pictures, tmp_path
) -> None:
    printed = sagan("presets", "smoke", "--yaml")
    assert printed.status == 0
    (tmp_path / "recipe.yaml").write_text(printed.out)
    for file in (tmp_path / "recipe.yaml", run / "config.json"):
        dry = sagan("train", "--data", pictures, "--config", file, "--dry-run")
        assert dry.status == 0, dry.err
        assert "channels_g" in dry.out
    both = sagan("train", "--data", pictures, "--config", file, "--preset", "smoke", "--dry-run")
    assert both.status == 2
    assert "give --preset or --config" in both.err
    assert sagan("presets", "--yaml").status == 2
