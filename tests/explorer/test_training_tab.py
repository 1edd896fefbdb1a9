"""The training tab: a film, curves, and both alive while training goes on."""

# ruff: noqa: RUF001 -- the page means the signs for minus and times that it uses

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

OpenPage = Callable[[Page, str], Page]


@pytest.fixture
def training(explore: Page) -> Page:
    """The tab, opened with the keyboard."""
    explore.focus("#tab-explore")
    explore.keyboard.press("ArrowRight")
    expect(explore.locator("#progress")).to_have_text("Step 6.")
    return explore


@pytest.fixture
def followed(
    page: Page, run: Path, tmp_path: Path, serve: Callable[[Path], str], open_page: OpenPage
) -> Path:
    """A run whose tab is open, and that may go on."""
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    open_page(page, serve(folder))
    page.click("#tab-training")
    expect(page.locator("#progress")).to_have_text("Step 6.")
    return folder


def values(page: Page, title: str) -> dict[str, str]:
    """What stands below a chart: {curve: value at the marker}."""
    entries = page.locator(".chart", has=page.get_by_role("heading", name=title, exact=True))
    texts = entries.locator("li").all_inner_texts()
    return dict(text.split("\n") for text in texts)


def test_curves_of_every_kind_are_drawn_with_their_values_at_the_last_step(training: Page) -> None:
    titles = training.locator(".chart h2").all_inner_texts()
    assert titles == ["fid", "Loss", "Gradients", "Gamma", "Attention distance", "Sigma, generator"]
    assert values(training, "Loss") == {"discriminator": "0.333", "generator": "−1.5"}
    assert values(training, "Gradients") == {"discriminator": "18", "generator": "12"}
    assert values(training, "Gamma") == {"Generator 16 × 16": "0.01"}
    assert values(training, "fid") == {"fid": "294"}
    # Of eight curves the largest and the smallest.
    assert values(training, "Sigma, generator") == {"blocks.7.conv1": "43", "blocks.0.conv1": "1"}


def test_pointing_at_a_curve_goes_to_that_step_in_the_film_and_in_all_charts(
    training: Page,
) -> None:
    image = training.locator("#film img")
    expect(image).to_have_attribute("alt", "Samples after 6 steps")
    box = training.locator(".chart svg").first.bounding_box()
    assert box is not None
    training.mouse.move(box["x"] + box["width"] * 0.51, box["y"] + 20)
    expect(image).to_have_attribute("alt", "Samples after 2 steps")
    assert values(training, "Loss")["discriminator"] == "0.667"  # of step 3
    assert image.evaluate("image => image.naturalWidth") == 100


def test_the_film_plays_and_its_slider_goes_to_any_grid(training: Page) -> None:
    training.press("#frame", "ArrowLeft")
    expect(training.locator("#frame-step")).to_have_text("4")
    assert values(training, "Loss")["discriminator"] == "0.5"
    training.press("#frame", "End")
    # Each is shown for a moment only: the page notes them itself.
    shown = training.evaluate(
        """() => new Promise((done) => {
          const shown = [];
          for (const name of ["#frame-step", "#play"]) {
            const watched = document.querySelector(name);
            new MutationObserver(() => {
              shown.push(watched.textContent);
              if (watched.textContent === "Play") done(shown);
            }).observe(watched, { childList: true, characterData: true, subtree: true });
          }
          document.querySelector("#play").click();
        })"""
    )
    assert [text for text in shown if text.isdecimal()] == ["2", "4", "6"]  # from the start again
    assert [text for text in shown if not text.isdecimal()] == ["Pause", "Play"]


def test_the_keyboard_reaches_the_steps_between_two_grids(training: Page) -> None:
    chart = training.get_by_role("slider", name="Loss")
    chart.focus()
    training.keyboard.press("ArrowLeft")
    expect(chart).to_have_attribute("aria-valuetext", "step 5: discriminator 0.4, generator −1.25")
    assert values(training, "Gradients") == {"discriminator": "15", "generator": "10"}
    expect(training.locator("#film img")).to_have_attribute("alt", "Samples after 4 steps")
    training.keyboard.press("Home")
    assert values(training, "Loss")["discriminator"] == "2"
    training.keyboard.press("ArrowRight")
    assert values(training, "Loss")["discriminator"] == "1"


def test_which_weights_the_other_tab_shows_is_said(training: Page) -> None:
    expect(training.locator("#training .intro")).to_contain_text("weights of step 6")


def hold(page: Page, pattern: str) -> Callable[[], None]:
    """Requests wait from now on, until the function that is returned is called."""
    held: list[Route] = []
    page.route(pattern, lambda route: held.append(route))

    def release() -> None:
        for route in held:
            route.continue_()
        page.unroute(pattern)

    return release


def test_a_tab_is_shown_when_a_click_on_it_works(page: Page, server: str) -> None:
    give_module = hold(page, "**/static/training.js")
    with page.expect_request("**/static/training.js"):
        page.goto(server, wait_until="commit")
    assert not page.locator("#tab-training").is_visible()
    give_module()
    page.click("#tab-training")
    page.wait_for_selector("#training.filled")


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("width", [390, 1130, 1440])
def test_nothing_moves_while_the_tab_fills(
    page: Page, server: str, open_page: OpenPage, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    # Long after the click: what answers a click at once may move.
    history, grids = "**/api/run/history", "**/api/run/grids/*"
    give_history, give_grids = hold(page, history), hold(page, grids)
    open_page(page, server)
    with page.expect_request(history):
        page.click("#tab-training")
    page.wait_for_timeout(700)
    with page.expect_request(grids):
        give_history()
    page.wait_for_timeout(700)
    give_grids()
    page.wait_for_selector("#training.filled")
    page.wait_for_timeout(300)


def test_a_reader_is_left_at_his_step_until_he_goes_to_the_end(
    page: Page, followed: Path, go_on: Callable[[Path, int], None]
) -> None:
    chart = page.get_by_role("slider", name="Loss")
    chart.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    for step in (8, 10):
        go_on(followed, step)
        expect(page.locator("#progress")).to_have_text(f"Step {step}.")
        assert values(page, "Loss")["discriminator"] == "0.667"  # of step 3
        expect(page.locator("#film img")).to_have_attribute("alt", "Samples after 2 steps")
    page.keyboard.press("End")
    assert values(page, "Loss")["discriminator"] == "0.2"
    go_on(followed, 20)
    expect(page.locator("#film img")).to_have_attribute("alt", "Samples after 20 steps")
    assert values(page, "Loss")["discriminator"] == "0.1"


def test_what_has_not_changed_is_not_drawn_again(training: Page) -> None:
    curve = training.locator(".chart path").first.element_handle()
    for _ in range(2):
        with training.expect_response("**/api/run/history"):
            pass
    training.wait_for_timeout(200)
    assert curve.evaluate("curve => curve.isConnected")


def test_a_server_that_answers_no_more_is_told_of_once(training: Page) -> None:
    refusal = {"detail": "gone"}
    training.route("**/api/run/history", lambda route: route.fulfill(status=429, json=refusal))
    training.evaluate(
        """() => {
          window.told = 0;
          const note = document.querySelector("#note");
          new MutationObserver(() => told++).observe(note, { childList: true });
        }"""
    )
    for _ in range(3):
        with training.expect_response("**/api/run/history"):
            pass
    training.wait_for_timeout(200)
    assert training.evaluate("told") == 1
    assert training.locator("#note").inner_text() == "gone"


def test_new_numbers_and_grids_appear_while_training_goes_on(
    page: Page, followed: Path, go_on: Callable[[Path, int], None]
) -> None:
    go_on(followed, 8)
    expect(page.locator("#progress")).to_have_text("Step 8.")
    expect(page.locator("#film img")).to_have_attribute("alt", "Samples after 8 steps")
    assert values(page, "Loss")["discriminator"] == "0.25"
