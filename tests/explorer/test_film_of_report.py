"""The film in a run's report works in a browser, from the file alone."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from sagan.report import write_report


@pytest.fixture
def report(page: Page, run: Path, tmp_path: Path) -> Page:
    """The report of a run beside a shorter one, opened."""
    beside = Path(shutil.copytree(run, tmp_path / "shorter"))
    (beside / "samples" / "step-00000006.png").unlink()
    write_report(run, tmp_path / "report.html", beside)
    page.goto((tmp_path / "report.html").as_uri())
    return page


def test_its_slider_and_its_play_button_turn_samples_and_attention_of_both_runs(
    report: Page,
) -> None:
    def expect_steps(*steps: int) -> None:
        for place, step in enumerate(steps):
            image = report.locator(".track img").nth(place)
            expect(image).to_have_attribute("alt", re.compile(rf" after {step} steps$"))

    expect_steps(6, 4, 6, 6)
    report.press("#frame", "Home")
    expect_steps(2, 2, 2, 2)
    report.click("#play")
    expect_steps(6, 4, 6, 6)
    expect(report.locator("#play")).to_have_text("Play")
    sizes = [image.evaluate("i => i.naturalWidth") for image in report.locator(".track img").all()]
    assert sizes == [100, 100, 300, 300]


def test_it_is_accessible_and_fits_a_phone(report: Page, axe: Callable[[Page], None]) -> None:
    axe(report)
    report.set_viewport_size({"width": 360, "height": 740})
    assert report.evaluate("document.documentElement.scrollWidth") == 360


def test_without_scripts_it_shows_the_newest_images(report: Page, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(report.url)
    shown = [image.get_attribute("alt") for image in plain.locator(".track img:visible").all()]
    context.close()
    assert shown == ["step 6", "step 4", "step 6", "step 6"]
