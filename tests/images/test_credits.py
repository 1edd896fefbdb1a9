"""Credits travel from a source of images to every file that shows them or samples of a model."""

import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from sagan.data import describe, open_source, pack
from sagan.data.contact_sheet import write_contact_sheet
from sagan.data.sources.folder import FolderSource
from sagan.explain.draw import DEFAULT_DOTS, explain_samples
from sagan.explorer.export import export_page
from sagan.gallery import write_interpolation, write_samples
from sagan.images.credits import (
    MAX_CREDITS,
    PNG_KEYWORD,
    checked_credits,
    credit_options,
    joined_credits,
    short_credits,
)
from sagan.model import export_model, open_model
from sagan.report import write_report
from sagan.run.directory import read_description
from sagan.run.run import Run
from sagan.training.session import prepare_session

CREDITS = "Pictures by Zoë <zoe@example.com>, CC BY 4.0\nand by 猫, CC0"


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder of 9 images whose source states credits."""
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(9):
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    monkeypatch.setattr(FolderSource, "credits", CREDITS)
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))
    return str(tmp_path / "photos")


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A finished run whose data has credits."""
    copy = shutil.copytree(finished_run, tmp_path / "run")
    config = json.loads((copy / "config.json").read_text())
    config["data"]["credits"] = CREDITS
    (copy / "config.json").write_text(json.dumps(config))
    return copy


def copyright_of(content: Path | bytes) -> str:
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    with Image.open(file) as image:
        image.load()
        return str(image.info.get(PNG_KEYWORD))


def rights(packet: bytes) -> str | None:
    """The rights in an XMP packet."""
    return ElementTree.fromstring(packet).findtext(".//{*}rights//{*}li")


def test_credits_travel_from_a_source_to_the_run(source: str, tmp_path: Path) -> None:
    packed = pack(open_source(source), tmp_path / "packed", 32)
    assert packed.credits == CREDITS
    for data in (source, str(tmp_path / "packed"), source):  # packed now, before, in the cache
        said: list[str] = []
        session = prepare_session(data, tmp_path / "new", "smoke", {}, said.append)
        assert session.description.credits == CREDITS
        (line,) = [line for line in said if line.startswith("credits")]
        assert line == (
            "credits: Pictures by Zoë <zoe@example.com>, CC BY 4.0 (and 1 more line in pack.json)"
        )
        assert describe(data).credits == CREDITS


def test_the_images_of_a_training_contain_them(train_run, source: str, tmp_path: Path) -> None:
    packed = pack(open_source(source), tmp_path / "packed", 32)
    run = train_run(tmp_path / "run", packed, steps=1)
    assert read_description(run).credits == CREDITS
    saved = [*(run / "samples").iterdir(), *(run / "attention").iterdir()]
    assert [copyright_of(path) for path in saved] == [CREDITS] * 2


def test_credits_travel_from_a_run_through_a_model_file_to_figures_and_pages(
    run: Path, tmp_path: Path
) -> None:
    export_model(open_model(run), tmp_path / "model.safetensors")
    for path in (run, tmp_path / "model.safetensors"):
        assert open_model(path).credits == CREDITS
    model = str(tmp_path / "model.safetensors")
    for name in ("a.png", "a.svg", "a.pdf"):
        explain_samples(model, tmp_path / name, DEFAULT_DOTS, 1, None, 0)
    assert copyright_of(tmp_path / "a.png") == CREDITS
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert re.search(r"<dc:rights>.*and by 猫, CC0", drawn, re.DOTALL)
    assert ">Trained on: Pictures by Zoë &lt;zoe@example.com&gt;, CC BY 4.0 (and 1 more" in drawn
    assert b"/Subject" in (tmp_path / "a.pdf").read_bytes()
    export_page(model, tmp_path / "page.html", num=1)
    write_report(run, tmp_path / "report.html")
    for page in ("page.html", "report.html"):
        text = (tmp_path / page).read_text(encoding="utf-8")
        assert "<summary>Trained on: Pictures by Zoë &lt;zoe@example.com&gt;, CC BY 4.0" in text
        assert "<li>and by 猫, CC0</li>" in text


def test_samples_contain_them(run: Path, tmp_path: Path) -> None:
    generator = open_model(run).generator()
    for name in ("grid.png", "folder", "all.zip"):
        write_samples(generator, tmp_path / name, 3, None, "abc", 0, 1.0, credits=CREDITS)
    write_interpolation(generator, tmp_path / "way.gif", 2, [0], 0, 1.0, credits=CREDITS)
    assert copyright_of(tmp_path / "grid.png") == CREDITS
    assert [copyright_of(path) for path in (tmp_path / "folder").rglob("*.png")] == [CREDITS] * 3
    with zipfile.ZipFile(tmp_path / "all.zip") as archive:
        assert [copyright_of(archive.read(name)) for name in archive.namelist()] == [CREDITS] * 3
    with Image.open(tmp_path / "way.gif") as film:
        assert film.info["comment"].decode() == CREDITS


def test_a_contact_sheet_contains_them(source: str, tmp_path: Path) -> None:
    info = describe(source, thumbnails=True)
    write_contact_sheet(info.thumbnails, tmp_path / "sheet.png", info.credits)
    assert copyright_of(tmp_path / "sheet.png") == CREDITS


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("openmoji-64", "CC BY-SA 4.0"),
        ("avatars-64", "Draftbit - draftbit.com, CC BY 4.0"),
        ("cifar10-32", ""),
    ],
)
def test_shipped_models_have_them(name: str, words: str) -> None:
    credits = open_model(name).credits
    assert credits
    assert words in credits


def test_runs_and_models_without_credits_show_none(finished_run: Path, tmp_path: Path) -> None:
    assert Run(finished_run).description.credits == ""
    write_report(finished_run, tmp_path / "report.html")
    assert "Trained on" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    explain_samples(str(finished_run), tmp_path / "a.png", DEFAULT_DOTS, 1, None, 0)
    assert copyright_of(tmp_path / "a.png") == "None"


@pytest.mark.parametrize("extension", [".png", ".gif", ".webp"])
@pytest.mark.parametrize("credits", ["plain", "Zoë\n<second> & line", "猫"])
def test_every_kind_of_file_gives_them_back(extension: str, credits: str) -> None:
    file = io.BytesIO()
    image = Image.new("RGB", (8, 8))
    image.save(file, extension[1:], **credit_options(extension, credits))
    with Image.open(file) as saved:
        saved.load()
        found = {
            ".png": lambda: saved.info[PNG_KEYWORD],
            ".gif": lambda: saved.info["comment"].decode(),
            ".webp": lambda: rights(saved.info["xmp"]),
        }[extension]()
    assert found == credits
    assert credit_options(extension, "") == {}


def test_credits_from_a_file_become_safe_text() -> None:
    assert checked_credits("a\r\n\n  b\x1b[31m\ud800 \x00") == "a\nb�[31m� �"
    assert len(checked_credits("x" * 10**6)) == MAX_CREDITS
    for other in (None, 5, ["a"], {}):
        assert checked_credits(other) == ""


def test_credits_of_a_model_and_of_its_new_data_are_joined_without_repetition() -> None:
    assert joined_credits("a\nb", "", "b\nc") == "a\nb\nc"
    assert joined_credits("", "") == ""
    assert short_credits("a", "there") == short_credits("a\n", "there") == "a"
    assert short_credits("a\nb\nc", "there") == "a (and 2 more lines there)"
