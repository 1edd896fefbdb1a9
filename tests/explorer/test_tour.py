"""The first minute on the page: the tour, the words explained, and whose pictures these are."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from sagan.explain.front_views import FRONT_VIEWS, FrontView
from sagan.explorer.export import export_page
from sagan.images.credits import PNG_KEYWORD

OpenPage = Callable[[Page, str], Page]
Serve = Callable[[Path], str]


@pytest.fixture
def visit(browser: Browser, open_page: OpenPage) -> Iterator[Callable[..., Page]]:
    """visit(url, **context): a first visit, in a new browser profile."""
    contexts = []

    def open_new(url: str, **options: object) -> Page:
        contexts.append(browser.new_context(viewport={"width": 1440, "height": 900}, **options))
        contexts[-1].set_default_timeout(15_000)
        return open_page(contexts[-1].new_page(), url)

    yield open_new
    for context in contexts:
        context.close()


def sentence(page: Page) -> str:
    return page.locator("#tour-text").inner_text()


def picture(page: Page) -> Locator:
    return page.locator("#picture")


def test_a_first_visit_starts_with_a_tour_of_five_sentences(
    run: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve, visit: Callable[..., Page]
) -> None:
    front = FrontView("seed=5&index=2&at=9,10", "It looks up.", (20, 21), "Another.", "Dull.")
    monkeypatch.setitem(FRONT_VIEWS, str(run), front)
    page = visit(serve(run), reduced_motion="reduce")
    assert sentence(page).startswith("A convolution sees only the dashed box")
    assert page.locator("#where").inner_text().startswith("Pixel 9, 10")
    page.click("#tour-next")
    assert sentence(page) == "With attention, it can look anywhere. It looks up."
    page.click("#tour-next")
    assert sentence(page) == "Another."
    assert page.locator("#where").inner_text().startswith("Pixel 20, 21")
    page.click("#tour-next")
    assert sentence(page) == "Dull."
    expect(picture(page)).to_have_class("picture-view comparing")
    with page.expect_file_chooser():
        page.click("#tour-next")
        expect(picture(page)).to_have_class("picture-view")
        assert sentence(page).startswith("Now you")
        page.click("#tour-next")
    page.click("#tour-end")
    expect(page.locator("#tour")).to_be_hidden()
    assert page.evaluate("document.activeElement.id") == "tour-start"


def test_the_tour_moves_by_itself_until_the_visitor_points(
    server: str, visit: Callable[..., Page]
) -> None:
    page = visit(server)
    page.clock.install()
    page.reload()
    expect(page.locator("#where")).not_to_have_text("No pixel selected")
    first = sentence(page)
    expect(picture(page)).to_have_class("picture-view")
    page.clock.run_for(2100)
    expect(picture(page)).to_have_class("picture-view kernel-only")
    page.clock.run_for(5000)
    expect(page.locator("#tour-text")).not_to_have_text(first)
    second = sentence(page)
    picture(page).hover(position={"x": 200, "y": 200})
    page.clock.run_for(60_000)
    assert sentence(page) == second
    page.click("#tour-next")
    assert sentence(page) != second


def test_the_sentences_of_a_models_front_view_are_not_said_of_other_layers_and_pictures(
    run: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve, visit: Callable[..., Page]
) -> None:
    front = FrontView("seed=5&index=2&at=9,10", "It looks up.", (20, 21), "Another.", "Dull.")
    monkeypatch.setitem(FRONT_VIEWS, str(run), front)
    page = visit(serve(run), reduced_motion="reduce")
    page.click("#tour-next")
    assert "It looks up." in sentence(page)
    page.get_by_role("radio", name="Discriminator").check()
    assert "It looks up." not in sentence(page)
    page.get_by_role("radio", name="Generator").check()
    assert "It looks up." in sentence(page)
    page.locator("#gallery button").nth(4).click()
    expect(page.locator("#tour-text")).not_to_contain_text("It looks up.")
    assert sentence(page).startswith("With attention, it can look anywhere.")


def test_the_tour_is_not_repeated_unless_asked_for(server: str, visit: Callable[..., Page]) -> None:
    page = visit(server)
    page.keyboard.press("Tab")  # from the start of the page: everything works by keyboard
    page.locator("#tour-end").focus()
    page.keyboard.press("Enter")
    page.reload()
    page.wait_for_selector("html.ready")
    expect(page.locator("#tour")).to_be_hidden()
    page.locator("#tour-start").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#tour")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "tour-next"
    page.keyboard.press("Escape")
    expect(page.locator("#tour")).to_be_hidden()


def test_a_link_to_a_view_starts_no_tour(server: str, visit: Callable[..., Page]) -> None:
    page = visit(f"{server}/#seed=3&at=4,4")
    expect(page.locator("#tour")).to_be_hidden()


def test_a_model_without_attention_has_no_tour(
    run_without_attention: Path, serve: Serve, browser: Browser
) -> None:
    page = browser.new_page()
    page.goto(serve(run_without_attention))
    page.wait_for_selector("html.ready")
    expect(page.locator("#tour")).to_be_hidden()
    expect(page.locator("#tour-start")).to_be_hidden()
    page.close()


@pytest.mark.parametrize("width", [320, 390, 820, 1440])
def test_nothing_below_the_tour_moves_from_step_to_step(
    server: str, visit: Callable[..., Page], width: int
) -> None:
    page = visit(server, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    places = set()
    for _ in range(4):
        places.add(page.locator("#pins").bounding_box()["y"])  # type: ignore[index]
        page.click("#tour-next")
    page.click("#tour-end")
    places.add(page.locator("#pins").bounding_box()["y"])  # type: ignore[index]
    assert len(places) == 1
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_axe_finds_no_serious_violation_in_the_tour(
    server: str, visit: Callable[..., Page], axe: Callable[[Page], None]
) -> None:
    page = visit(server, reduced_motion="reduce")
    page.click("#tour-next")
    page.hover("[data-term=logit]")
    axe(page)


def test_a_term_is_explained_where_one_points_at_it_focuses_it_or_taps_it(explore: Page) -> None:
    definition = explore.locator("#definition")
    expect(definition).to_be_hidden()
    explore.hover("[data-term=truncation]")
    expect(definition).to_contain_text("multiplies the latents")
    explore.mouse.move(5, 5)
    expect(definition).to_be_hidden()
    explore.locator("#seed").focus()
    explore.keyboard.press("Tab")
    for _ in range(20):
        if explore.evaluate("document.activeElement.dataset.term") == "latent":
            break
        explore.keyboard.press("Tab")
    expect(definition).to_contain_text("random numbers")
    explore.keyboard.press("Escape")
    expect(definition).to_be_hidden()
    explore.locator("[data-term=gamma]").first.click()
    expect(definition).to_contain_text("attention layer learns")
    described = explore.locator("[data-term=logit]").first.get_attribute("aria-describedby")
    assert "score" in explore.locator(f"#{described}").text_content()  # type: ignore[operator]


def test_the_entropy_of_the_training_tab_is_explained(explore: Page) -> None:
    terms = explore.evaluate("[...document.querySelectorAll('[id^=term-]')].map(({ id }) => id)")
    assert set(terms) == {
        f"term-{name}" for name in ("latent", "truncation", "gamma", "logit", "entropy")
    }
    explore.click("#tab-training")
    explore.wait_for_selector("#training.filled")
    explore.hover("#training [data-term=gamma]")
    expect(explore.locator("#definition")).to_contain_text("attention layer learns")


def test_a_copied_picture_says_whose_images_the_model_was_trained_on(explore: Page) -> None:
    credits = "Emoji: OpenMoji, CC BY-SA 4.0\nund Zoë"
    data = explore.evaluate(
        """async (credits) => {
          const { withText } = await import("sagan/png_text.js");
          const canvas = new OffscreenCanvas(2, 3);
          canvas.getContext("2d").fillRect(0, 0, 2, 3);
          const png = await withText(await canvas.convertToBlob(), credits);
          return [...new Uint8Array(await png.arrayBuffer())];
        }""",
        credits,
    )
    with Image.open(io.BytesIO(bytes(data))) as image:
        image.load()  # which checks the chunks' sums
        assert image.size == (2, 3)
        assert image.text == {PNG_KEYWORD: credits}  # type: ignore[attr-defined]


def test_the_exported_page_has_the_tour_too(
    run: Path, tmp_path: Path, visit: Callable[..., Page]
) -> None:
    export_page(str(run), tmp_path / "page.html", num=2)
    page = visit((tmp_path / "page.html").as_uri(), reduced_motion="reduce")
    for _ in range(4):
        page.click("#tour-next")
    assert sentence(page) == "Now you: point at any pixel."
    expect(page.locator("#tour-next")).to_be_hidden()


def test_credits_are_written_beneath_a_copied_picture(explore: Page) -> None:
    sizes = explore.evaluate(
        """async () => {
          const { PictureView } = await import("sagan/picture_view.js");
          const view = new PictureView(document.querySelector("#picture"));
          view.payload = { image: new Uint8Array(3 * 4), size: { width: 2, height: 2 }, maps: [] };
          const pngs = await Promise.all([view.png(), view.png("Trained on: drawings")]);
          const bitmaps = await Promise.all(pngs.map((png) => createImageBitmap(png)));
          return bitmaps.map(({ width, height }) => [width, height]);
        }"""
    )
    assert sizes == [[1024, 1024], [1024, 1064]]
