"""The training tab: a film and curves, both updated while training continues."""

# ruff: noqa: RUF001 -- the minus and multiplication signs on the page are intended

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

OpenPage = Callable[[Page, str], Page]
Serve = Callable[..., str]
SAMPLES, ATTENTION = (f'.track[data-kind="{kind}"] img' for kind in ("samples", "attention"))


@pytest.fixture(autouse=True)
def _frequent_polls(page: Page) -> None:
    """The tab asks for news five times in a second instead of every three seconds."""
    page.add_init_script(
        """const wait = window.setTimeout;
        window.setTimeout = (task, time) => wait(task, time === 3000 ? 200 : time);"""
    )


@pytest.fixture
def training(explore: Page) -> Page:
    """The page with the training tab opened by keyboard."""
    explore.focus("#tab-explore")
    explore.keyboard.press("ArrowRight")
    wait_until_filled(explore)
    return explore


def wait_until_filled(page: Page) -> None:
    """Wait until the tab shows its charts: only then does it hear keys."""
    expect(page.locator("#progress")).to_have_text("Step 6.")
    expect(page.locator(".training")).to_be_visible()


@pytest.fixture
def followed(page: Page, run: Path, tmp_path: Path, serve: Serve, open_page: OpenPage) -> Path:
    """A run with its tab open, for the test to add steps to."""
    folder = Path(shutil.copytree(run, tmp_path / "run"))
    open_page(page, serve(folder))
    page.click("#tab-training")
    wait_until_filled(page)
    return folder


def values(page: Page, title: str) -> dict[str, str]:
    """The values below a chart: {curve: value at the marker}."""
    entries = page.locator(".chart", has=page.get_by_role("heading", name=title, exact=True))
    texts = entries.locator("li").all_inner_texts()
    return dict(text.split("\n") for text in texts)


def test_every_kind_of_curve_is_drawn_with_its_value_at_the_last_step(training: Page) -> None:
    titles = training.locator(".chart h2").all_inner_texts()
    assert titles == ["fid", "Loss", "Gradients", "Gamma", "Attention distance", "Sigma, generator"]
    assert values(training, "Loss") == {"discriminator": "0.333", "generator": "−1.5"}
    assert values(training, "Gradients") == {"discriminator": "18", "generator": "12"}
    assert values(training, "Gamma") == {"Generator 16 × 16": "0.01"}
    assert values(training, "fid") == {"fid": "294"}
    # Of eight curves, only the largest and the smallest.
    assert values(training, "Sigma, generator") == {"blocks.7.conv1": "43", "blocks.0.conv1": "1"}


def test_pointing_at_a_curve_goes_to_that_step_in_the_film_and_all_charts(
    training: Page,
) -> None:
    image = training.locator(SAMPLES)
    expect(image).to_have_attribute("alt", "Samples after 6 steps")
    chart = training.locator(".chart svg").first
    box = chart.bounding_box()
    assert box is not None
    # hover() waits until the charts stand still: pictures that load above move them.
    chart.hover(position={"x": box["width"] * 0.51, "y": 20})
    expect(image).to_have_attribute("alt", "Samples after 2 steps")
    assert values(training, "Loss")["discriminator"] == "0.667"  # of step 3
    expect(image).to_have_js_property("naturalWidth", 100)
    expect(training.locator(ATTENTION)).to_have_attribute("alt", "Attention after 2 steps")
    expect(training.locator(ATTENTION)).to_have_js_property("naturalWidth", 300)


def test_the_film_plays_and_its_slider_goes_to_any_grid(training: Page) -> None:
    training.press("#frame", "ArrowLeft")
    expect(training.locator("#frame-step")).to_have_text("4")
    assert values(training, "Loss")["discriminator"] == "0.5"
    training.press("#frame", "End")
    # Each is visible for a moment only, so the page itself records them.
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
    expect(training.locator(SAMPLES)).to_have_attribute("alt", "Samples after 4 steps")
    training.keyboard.press("Home")
    assert values(training, "Loss")["discriminator"] == "2"
    training.keyboard.press("ArrowRight")
    assert values(training, "Loss")["discriminator"] == "1"


def test_the_tab_says_which_weights_the_other_tab_shows(training: Page) -> None:
    expect(training.locator("#training .intro")).to_contain_text("weights of step 6")


def delay(page: Page, pattern: str) -> Callable[[], None]:
    """Make requests wait until the returned function is called."""
    held: list[Route] = []
    page.route(pattern, lambda route: held.append(route))

    def release() -> None:
        for route in held:
            route.continue_()
        page.unroute(pattern)

    return release


def test_tabs_become_visible_only_once_they_work(page: Page, server: str) -> None:
    release_module = delay(page, "**/static/training.js")
    with page.expect_request("**/static/training.js"):
        page.goto(server, wait_until="commit")
    assert not page.locator("#tab-training").is_visible()
    release_module()
    page.click("#tab-training")
    page.wait_for_selector("#training.filled")


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("width", [390, 1130, 1440])
def test_nothing_moves_while_the_tab_fills(
    page: Page, server: str, open_page: OpenPage, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    # Long after the click: what follows a click at once is allowed to move.
    history, grids = "**/api/run/history", "**/api/run/*/6"
    release_history, release_grids = delay(page, history), delay(page, grids)
    open_page(page, server)
    with page.expect_request(history):
        page.click("#tab-training")
    page.wait_for_timeout(700)
    with page.expect_request(grids):
        release_history()
    page.wait_for_timeout(700)
    release_grids()
    page.wait_for_selector("#training.filled")
    page.wait_for_timeout(300)


def test_new_steps_do_not_move_the_selected_step_unless_it_is_the_last(
    page: Page, followed: Path, train_to: Callable[[Path, int], None]
) -> None:
    chart = page.get_by_role("slider", name="Loss")
    chart.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    for step in (8, 10):
        train_to(followed, step)
        expect(page.locator("#progress")).to_have_text(f"Step {step}.")
        assert values(page, "Loss")["discriminator"] == "0.667"  # of step 3
        expect(page.locator(SAMPLES)).to_have_attribute("alt", "Samples after 2 steps")
    page.keyboard.press("End")
    assert values(page, "Loss")["discriminator"] == "0.2"
    train_to(followed, 20)
    expect(page.locator(SAMPLES)).to_have_attribute("alt", "Samples after 20 steps")
    assert values(page, "Loss")["discriminator"] == "0.1"


def test_an_unchanged_history_is_not_drawn_again(training: Page) -> None:
    curve = training.locator(".chart path").first.element_handle()
    for _ in range(2):
        with training.expect_response("**/api/run/history"):
            pass
    training.wait_for_timeout(200)
    assert curve.evaluate("curve => curve.isConnected")


def test_a_server_that_stops_answering_is_reported_once(training: Page) -> None:
    refusal = {"detail": "gone"}
    training.route("**/api/run/history", lambda route: route.fulfill(status=429, json=refusal))
    training.evaluate(
        """() => {
          window.messages = 0;
          const toast = document.querySelector("#toast");
          new MutationObserver(() => messages++).observe(toast, { childList: true });
        }"""
    )
    for _ in range(3):
        with training.expect_response("**/api/run/history"):
            pass
    training.wait_for_timeout(200)
    assert training.evaluate("messages") == 1
    assert training.locator("#toast").inner_text() == "gone"


def test_new_numbers_and_grids_appear_while_training_continues(
    page: Page, followed: Path, train_to: Callable[[Path, int], None]
) -> None:
    train_to(followed, 8)
    expect(page.locator("#progress")).to_have_text("Step 8.")
    expect(page.locator(SAMPLES)).to_have_attribute("alt", "Samples after 8 steps")
    assert values(page, "Loss")["discriminator"] == "0.25"
    expect(page.locator(ATTENTION)).to_have_attribute("alt", "Attention after 8 steps")


def test_a_curve_of_an_unknown_layer_has_the_name_of_its_key_and_the_rest_goes_on(
    page: Page, followed: Path, train_to: Callable[[Path, int], None]
) -> None:
    with (followed / "stats.jsonl").open("a") as file:
        file.write('{"step": 7, "gamma/x": 0.5, "gamma/.attention_y": 0.5, "loss/x": 4}\n')
    expect(page.locator("#progress")).to_have_text("Step 7.")
    train_to(followed, 8)
    expect(page.locator("#progress")).to_have_text("Step 8.")
    assert {"gamma/x", "gamma/.attention_y"} < values(page, "Gamma").keys()
    assert "loss/x" in values(page, "Loss")


@pytest.fixture
def compared(
    page: Page,
    run: Path,
    run_without_attention: Path,
    tmp_path: Path,
    serve: Serve,
    open_page: OpenPage,
) -> tuple[Page, Path]:
    """The tab of a run beside a shorter copy of one without attention, and that copy."""
    beside = Path(shutil.copytree(run_without_attention, tmp_path / "blind"))
    (beside / "samples" / "step-00000006.png").unlink()
    shutil.rmtree(beside / "attention")
    open_page(page, serve(run, beside))
    page.click("#tab-training")
    page.wait_for_selector("#training.filled")
    return page, beside


def test_one_slider_turns_both_runs_to_the_newest_image_at_or_before_a_step(
    compared: tuple[Page, Path],
) -> None:
    page, _ = compared
    titles = page.locator(".track figcaption b").all_inner_texts()
    assert titles == [
        "Samples of insects",
        "Samples of blind",
        "Attention of insects",
        "Attention of blind",
    ]
    expect(page.locator("#frame-step")).to_have_text("6")
    samples = page.locator(SAMPLES)
    expect(samples.nth(0)).to_have_attribute("alt", "Samples of insects after 6 steps")
    expect(samples.nth(1)).to_have_attribute("alt", "Samples of blind after 4 steps")
    assert page.locator(".track .note").all_inner_texts() == ["", "step 4", "", ""]
    page.press("#frame", "Home")
    expect(samples.nth(0)).to_have_attribute("alt", "Samples of insects after 2 steps")
    expect(samples.nth(1)).to_have_attribute("alt", "Samples of blind after 2 steps")
    assert set(page.locator(".track .note").all_inner_texts()) == {""}


def test_a_run_without_attention_says_so_beside_one_with_attention(
    compared: tuple[Page, Path],
) -> None:
    page, _ = compared
    said = page.locator('.track[data-kind="attention"] .missing:visible').all_inner_texts()
    assert said == ["This generator has no attention layer."]


def test_new_steps_of_the_run_beside_appear_too(
    compared: tuple[Page, Path], train_to: Callable[[Path, int], None]
) -> None:
    page, beside = compared
    (beside / "attention").mkdir()
    train_to(beside, 12)
    alt = "Samples of blind after 12 steps"
    expect(page.locator(SAMPLES).nth(1)).to_have_attribute("alt", alt)
    expect(page.locator("#frame-step")).to_have_text("12")
    expect(page.locator("#progress")).to_have_text("Step 6.")


def test_the_film_of_two_runs_is_accessible_and_fits_a_phone(
    compared: tuple[Page, Path], axe: Callable[[Page], None]
) -> None:
    page, _ = compared
    axe(page)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
