"""A run's report is complete, needs no other file, and trusts nothing in the run directory."""

import base64
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from PIL import Image

from sagan.errors import SaganError
from sagan.report import write_report
from sagan.report.curves import MAX_CURVE_POINTS, PANELS, drawn_panels
from sagan.report.tracks import MAX_FRAMES
from sagan.run.stats import read_records


class Page(HTMLParser):
    """A page as a browser reads it: tags with their attributes, and text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attributes}))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished_run, tmp_path / "run")


def add_record(run: Path, **values: Any) -> None:
    with (run / "stats.jsonl").open("a") as file:
        file.write(json.dumps({"step": 6, **values}) + "\n")


def test_the_page_shows_curves_images_configuration_and_environment(
    run: Path, tmp_path: Path
) -> None:
    add_record(run, **{"metric/KD-EfficientNet": 0.0625, "metric/coverage": 0.375})
    write_report(run, tmp_path / "run.html")
    page = Page(tmp_path / "run.html")
    for words in (
        "Losses", "gamma", "Sigma, generator", "Sigma, discriminator",
        "Kernel distance", "Precision, recall", "Attention distance", "entropy",
        "generator.attention_16", "blocks.0.conv1", "channels_g", "latent_size", "cpu_capability",
        "18 images", "0.0625", "0.375",
    ):  # fmt: skip
        assert words in page.text, words
    assert len(page.all("svg")) >= 9
    saved = sorted((run / "samples").glob("*.png")) + sorted((run / "attention").glob("*.png"))
    shown = [decoded(image["src"]) for image in page.all("img")]
    assert shown == [path.read_bytes() for path in saved]


def decoded(source: str) -> bytes:
    kind, _, data = source.partition(",")
    assert kind == "data:image/png;base64"
    return base64.b64decode(data)


def test_the_page_needs_no_other_file_and_no_network(run: Path, tmp_path: Path) -> None:
    write_report(run, tmp_path / "run.html")
    page = Page(tmp_path / "run.html")
    assert not page.all("link")
    assert not page.all("iframe")
    for tag, attributes in page.tags:
        for key, value in attributes.items():
            if key in ("src", "href", "xlink:href", "data", "action"):
                assert value.startswith(("data:", "#")), (tag, key, value)
    text = re.sub(r'data:image/png;base64,[^"]*', "", (tmp_path / "run.html").read_text())
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", text))
    assert all(address.startswith("http://www.w3.org/") for address in addresses), addresses
    assert "@import" not in text


def test_the_page_compares_the_first_and_the_latest_attention(run: Path, tmp_path: Path) -> None:
    layer = "attention/generator.attention_16"
    add_record(run, **{f"{layer}/distance": 7.125, f"{layer}/entropy": 1.0625})
    write_report(run, tmp_path / "run.html")
    (before, *_) = read_records(run)
    assert before["step"] == 0
    text = Page(tmp_path / "run.html").text
    assert f"{before[f'{layer}/distance']:.3g} → 7.12" in text
    assert f"{before[f'{layer}/entropy']:.3g} → 1.06" in text


def test_each_track_of_the_film_ends_with_the_newest_image_and_shows_it_first(
    run: Path, tmp_path: Path
) -> None:
    write_report(run, tmp_path / "run.html")
    page = Page(tmp_path / "run.html")
    shown = [image["alt"] for image in page.all("img") if "hidden" not in image]
    assert shown == ["step 6", "step 6"]
    assert [i["alt"] for i in page.all("img")] == ["step 3", "step 6"] * 2


def test_two_runs_are_shown_side_by_side_in_a_film_of_the_same_size(
    run: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    for step in range(7, 80):
        shutil.copy(run / "samples/step-00000006.png", run / f"samples/step-{step:08d}.png")
    write_report(run, tmp_path / "run.html", other)
    page = Page(tmp_path / "run.html")
    titles = [track["data-title"] for track in page.all("figure") if "data-title" in track]
    assert titles == [
        "Samples of run",
        "Samples of other",
        "Attention of run",
        "Attention of other",
    ]
    steps = [image["alt"] for image in page.all("img")]
    assert steps[MAX_FRAMES // 2 :] == ["step 3", "step 6"] * 3
    assert steps[MAX_FRAMES // 2 - 1] == "step 79"
    with pytest.raises(SaganError, match=r"config\.json"):
        write_report(run, tmp_path / "run.html", tmp_path)


def test_a_run_without_attention_beside_one_with_it_says_so(run: Path, tmp_path: Path) -> None:
    other = shutil.copytree(run, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config["config"]["attention_g"] = []
    (other / "config.json").write_text(json.dumps(config))
    shutil.rmtree(other / "attention")
    write_report(run, tmp_path / "run.html", other)
    assert "This generator has no attention layer." in Page(tmp_path / "run.html").text
    write_report(other, tmp_path / "alone.html")
    assert "attention layer" not in Page(tmp_path / "alone.html").text


def test_samples_are_shown_enlarged_with_the_names_of_their_columns(
    run: Path, tmp_path: Path
) -> None:
    write_report(run, tmp_path / "run.html")
    page = Page(tmp_path / "run.html")
    with Image.open(run / "samples" / "step-00000006.png") as grid:
        width = 3 * grid.width
    assert [image.get("width") for image in page.all("img")] == [str(width)] * 2 + [None] * 2
    names = [span["title"] for span in page.all("span") if "title" in span]
    assert names == ["class0", "class1", "class2"] * 3


def test_the_page_names_many_classes_in_its_caption(run: Path, tmp_path: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["data"]["classes"] = [f"kind{i}" for i in range(20)]
    (run / "config.json").write_text(json.dumps(config))
    write_report(run, tmp_path / "run.html")
    assert "the classes in turn: kind0, kind1, kind2" in Page(tmp_path / "run.html").text


def test_a_long_run_has_a_page_of_bounded_size(run: Path, tmp_path: Path) -> None:
    for step in range(7, 80):
        shutil.copy(run / "samples/step-00000006.png", run / f"samples/step-{step:08d}.png")
    write_report(run, tmp_path / "run.html")
    frames = [i["alt"] for i in Page(tmp_path / "run.html").all("img")]
    samples = frames[: -len(list((run / "attention").iterdir()))]
    assert len(samples) == MAX_FRAMES
    assert (samples[0], samples[-1]) == ("step 3", "step 79")
    records = [{"step": step, "loss/d": float(step % 7)} for step in range(20_000)]
    ((_, svg),) = drawn_panels(records)
    assert len(svg) < 200 * MAX_CURVE_POINTS


def test_every_number_that_a_run_records_has_a_panel(run: Path) -> None:
    recorded = {name for record in read_records(run) for name in record}
    for name in recorded - {"step", "seconds"}:
        assert any(name.startswith(p.prefix) and name.endswith(p.suffix) for p in PANELS), name


def test_names_and_numbers_from_elsewhere_do_no_harm(run: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>$\\frac{"
    config = json.loads((run / "config.json").read_text())
    config["data"]["source"], config["preset"] = f"{evil}\ud800", evil
    (run / "config.json").write_text(json.dumps(config))
    (run / "environment.json").write_text(json.dumps({evil: {"a": [evil]}}))
    add_record(run, seconds="x", **{"loss/d": 10**400, "metric/coverage": [1], "gamma/a": True})
    add_record(run, **{"gamma/\ud800": 1.0, "loss/d": 1e308, "loss/g": -1e308})
    add_record(run, step=10**300, **{"loss/d": 1.0})
    add_record(run, **{f"gamma/{evil}": 1.0, "loss/d": None, "loss/g": "x", f"metric/{evil}": 0.5})
    write_report(run, tmp_path / "run.html")
    page = Page(tmp_path / "run.html")
    assert len(page.all("script")) == 1
    assert "alert(1)" in page.text
    assert "<script>alert" not in (tmp_path / "run.html").read_text()


def test_no_file_from_outside_the_run_gets_into_the_page(run: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x89PNG\r\n\x1a\n my key")
    (run / "samples" / "step-00000007.png").symlink_to(secret)
    (run / "samples" / "step-00000008.png").write_text("not an image")
    os.mkfifo(run / "samples" / "step-00000009.png")
    shutil.move(run / "attention", tmp_path / "elsewhere")
    shutil.copy(run / "samples" / "step-00000006.png", tmp_path / "elsewhere" / "step-5.png")
    (run / "attention").symlink_to(tmp_path / "elsewhere")
    write_report(run, tmp_path / "run.html")
    steps = [image["alt"] for image in Page(tmp_path / "run.html").all("img")]
    assert "step 6" in steps
    assert not {"step 5", "step 7", "step 8", "step 9"} & set(steps)


def test_dropped_updates_are_reported(run: Path, tmp_path: Path) -> None:
    add_record(run, dropped=17)
    write_report(run, tmp_path / "run.html")
    page = Page(tmp_path / "run.html").text
    assert "updates dropped" in page
    assert "17" in page
    assert "Updates dropped because of infinite or NaN values" in page


def test_a_damaged_environment_file_does_no_harm(run: Path, tmp_path: Path) -> None:
    for content in ("[1]", "{"):
        (run / "environment.json").write_text(content)
        write_report(run, tmp_path / "run.html")
        assert "Environment" not in Page(tmp_path / "run.html").text


def test_the_same_run_gives_the_same_page_whatever_matplotlibs_settings(
    run: Path, tmp_path: Path
) -> None:
    write_report(run, tmp_path / "a.html")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "black"}):
        write_report(run, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_a_run_without_images_or_checkpoints_has_a_page(run: Path, tmp_path: Path) -> None:
    for folder in ("samples", "attention", "checkpoints"):
        shutil.rmtree(run / folder)
    (run / "environment.json").unlink()
    write_report(run, tmp_path / "run.html")
    assert "Losses" in Page(tmp_path / "run.html").text


def test_a_folder_that_is_not_a_run_or_a_file_that_is_not_a_page_is_refused(
    run: Path, tmp_path: Path
) -> None:
    with pytest.raises(SaganError, match=r"config\.json"):
        write_report(tmp_path, tmp_path / "run.html")
    with pytest.raises(SaganError, match=r"FILE\.html"):
        write_report(run, tmp_path / "run.pdf")
    (run / "stats.jsonl").unlink()
    with pytest.raises(SaganError, match="recorded nothing yet"):
        write_report(run, tmp_path / "run.html")
    assert not (tmp_path / "run.html").exists()
