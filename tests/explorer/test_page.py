"""The real page in a real browser: what a visitor does, and what he then sees."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Response, expect

from sagan.attention import SelfAttention2d
from sagan.checkpoint import open_model
from sagan.explain import (
    attended_region,
    attention_beyond,
    attention_distance,
    concentration,
    convolution_window,
)
from sagan.explain.overlay import heat, outline, upsample_bilinear
from sagan.sampling import seeded_latents

OpenPage = Callable[[Page, str], Page]


def pixels_of(page: Page, selector: str) -> np.ndarray:
    """What a canvas shows, uint8 (H, W, 3)."""
    url = page.locator(selector).evaluate("canvas => canvas.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))) as image:
        return np.array(image.convert("RGB"))


def composed(page: Page) -> np.ndarray:
    """The picture under its heat, uint8 (256, 256, 3)."""
    return pixels_of(page, "#lens .picture")


def place(page: Page, x: float, y: float) -> tuple[float, float]:
    """Where pixel (x, y) of the 32 x 32 picture is on the screen."""
    box = page.locator("#lens").bounding_box()
    assert box is not None
    return box["x"] + (x + 0.5) * box["width"] / 32, box["y"] + (y + 0.5) * box["height"] / 32


def point_at(page: Page, x: float, y: float) -> None:
    page.mouse.move(*place(page, x, y))


def where(page: Page) -> str:
    return page.locator("#where").inner_text()


def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    noise = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


# What is seen is the model's own attention.


def attention_of_layer(run: Path, seed: int, index: int, label: int) -> np.ndarray:
    """(256, 64): what SelfAttention2d itself returns in a pass of the generator."""
    generator = open_model(run).generator()
    (layer,) = generator.attention_layers().values()
    kept: list[torch.Tensor] = []

    def keep(layer: torch.nn.Module, inputs: tuple[torch.Tensor, ...], _: Any) -> None:
        kept.append(inputs[0])

    layer.register_forward_hook(keep)
    with torch.no_grad():
        generator(seeded_latents(index + 1, 8, seed)[index:], torch.tensor([label]))
        assert isinstance(layer, SelfAttention2d)
        return layer(kept[0], return_attention=True)[1][0].numpy()


def test_the_pixels_of_the_overlay_are_those_of_the_layers_own_map(
    page: Page, server: str, run: Path, open_page: OpenPage
) -> None:
    open_page(page, f"{server}/#seed=3&index=4&label=1")
    point_at(page, 1, 30)
    plain = composed_without_point(page)
    attention = attention_of_layer(run, seed=3, index=4, label=1)
    table, gray_share, dim_share = page.evaluate(
        "import('sagan/compose.js').then((m) => [[...m.GLOW_TABLE], m.GRAY, m.DIM])"
    )
    table = np.array(table).reshape(256, 4)
    for x, y in ((1, 30), (20, 9), (31, 0)):
        point_at(page, x, y)
        row = attention[(y // 2) * 16 + x // 2]
        levels = upsample_bilinear(heat(row).reshape(8, 8), 256)[..., None]
        glow = table[np.rint(255 * levels[..., 0]).astype(int)]
        gray = plain @ np.array([0.299, 0.587, 0.114])
        faded = plain + gray_share * (1 - levels) * (gray[..., None] - plain)
        dim = dim_share + (1 - dim_share) * levels
        expected = dim * faded * (1 - glow[..., 3:]) + glow[..., 3:] * glow[..., :3]
        assert levels.max() > 0.9
        assert np.abs(composed(page) - expected).max() <= 6  # of 255: what quantizing moves
        assert np.abs(composed(page) - expected).mean() <= 0.7


def composed_without_point(page: Page) -> np.ndarray:
    page.locator("#lens").focus()
    page.keyboard.press("Escape")
    return composed(page).astype(float)


def test_the_picture_without_a_point_is_the_generators(
    page: Page, server: str, run: Path, open_page: OpenPage
) -> None:
    open_page(page, f"{server}/#seed=7&index=2")
    point_at(page, 3, 3)
    images = open_model(run).generator().sample(3, [0, 1, 2], seed=7)
    enlarged = images[2].repeat(8, axis=0).repeat(8, axis=1)
    assert np.abs(composed_without_point(page) - enlarged).max() <= 1


def test_region_distance_and_outline_are_those_of_the_library(explore: Page) -> None:
    logits = 4 * np.random.default_rng(0).standard_normal((256, 64))
    rows = np.exp(logits)
    attention = (rows / rows.sum(axis=1, keepdims=True)).astype(np.float32)
    script = """async ([rows, queries]) => {
      const a = await import("sagan/attention.js");
      const map = { side: 16, keySide: 8 };
      return queries.map((query, i) => {
        const row = Float32Array.from(rows[i]);
        const inside = a.region(row);
        const brightness = [...a.heat(row)];
        const far = a.distance(map, query, row, 32);
        const beyond = a.beyondKernel(map, query, row);
        return { inside: [...inside], share: a.share(inside), brightness, far, beyond,
                 border: a.outline(inside, 8) };
      });
    }"""
    queries = [0, 17, 100, 255]
    found = explore.evaluate(script, [attention[queries].tolist(), queries])
    far = attention_distance(attention[None], 32)[0]
    share = concentration(attention[None])[0]
    beyond = attention_beyond(attention[None], convolution_window(16, 32), 32)[0]
    for query, facts in zip(queries, found, strict=True):
        region = attended_region(attention[query])
        assert np.array(facts["inside"], bool).tolist() == region.tolist()
        assert facts["share"] == pytest.approx(share[query])
        assert facts["far"] == pytest.approx(far[query], rel=1e-5)
        assert facts["beyond"] == pytest.approx(beyond[query], rel=1e-5)
        assert facts["brightness"] == pytest.approx(heat(attention[query]).tolist(), abs=1e-5)
        border = sum(
            np.abs(segment[1] - segment[0]).sum() for segment in outline(region.reshape(8, 8))
        )
        assert len(facts["border"]) == round(8 * border)


# Pointing.


def test_hovering_changes_the_overlay_within_50_ms_and_asks_the_server_nothing(
    explore: Page,
) -> None:
    point_at(explore, 2, 2)
    explore.wait_for_load_state("networkidle")
    requests: list[str] = []
    explore.on("request", lambda request: requests.append(request.url))
    explore.evaluate(
        """() => {
          window.times = [];
          const canvas = document.querySelector("#lens .picture");
          const read = () =>
            canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.join();
          let [before, started] = [read(), 0];
          addEventListener("pointermove", () => (started = performance.now()), { capture: true });
          // The last to hear of it: by now everything is drawn.
          addEventListener("pointermove", () => {
            const passed = performance.now() - started;
            const now = read();
            window.times.push({ passed, changed: now !== before });
            before = now;
          });
        }"""
    )
    for x, y in ((20, 5), (9, 25), (30, 30), (14, 3), (5, 12), (27, 18), (16, 16)):
        point_at(explore, x, y)
        explore.wait_for_timeout(30)
    times = explore.evaluate("window.times")
    assert len(times) >= 6
    assert all(time["changed"] for time in times)
    assert sorted(time["passed"] for time in times)[len(times) // 2] < 50
    assert requests == []


def test_the_readout_and_the_tag_tell_of_the_pixel_under_the_pointer(explore: Page) -> None:
    point_at(explore, 20, 9)
    assert where(explore) == "Pixel 20, 9 · ant"
    for field in ("#half", "#far", "#verdict"):
        assert any(letter.isdigit() for letter in explore.locator(field).inner_text())
    assert explore.locator("#tag").inner_text().endswith("% itself")


def test_until_it_is_touched_the_page_shows_by_itself_what_there_is_to_see(explore: Page) -> None:
    expect(explore.locator(".cue")).to_have_css("opacity", "1")
    first = where(explore)
    expect(explore.locator("#where")).not_to_have_text(first)
    point_at(explore, 4, 4)
    expect(explore.locator(".cue")).to_have_css("opacity", "0")
    explore.wait_for_timeout(2000)
    assert where(explore).startswith("Pixel 4, 4")


def test_who_wants_no_motion_gets_none(browser: Browser, server: str, open_page: OpenPage) -> None:
    context = browser.new_context(reduced_motion="reduce")
    page = open_page(context.new_page(), server)
    first = where(page)
    page.wait_for_timeout(2200)
    assert where(page) == first != "No pixel yet"
    context.close()


def test_clicks_pin_up_to_six_pixels_in_different_colours(explore: Page) -> None:
    for i in range(7):
        explore.mouse.click(*place(explore, 3 + 4 * i, 10))
    pins = explore.locator(".pin")
    assert pins.all_inner_texts() == [f"{3 + 4 * i}, 10" for i in range(1, 7)]
    colours = pins.evaluate_all("pins => pins.map(pin => pin.style.getPropertyValue('--dot'))")
    assert len(set(colours)) == 6
    assert explore.locator("#tag span").count() == 7
    explore.mouse.click(*place(explore, 7, 10))  # a second click lets go
    pins.nth(0).click()  # so does the chip
    assert pins.count() == 4


def test_the_keyboard_does_all_that_the_mouse_does(explore: Page) -> None:
    explore.locator("#lens").focus()
    explore.keyboard.press("Escape")
    assert where(explore) == "No pixel yet"
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Enter", "ArrowDown", " "):
        explore.keyboard.press(key)
    assert where(explore).startswith("Pixel 18, 16")
    assert explore.locator(".pin").all_inner_texts() == ["18, 14", "18, 16"]
    assert "half of its attention" in explore.locator("#spoken").inner_text()
    explore.keyboard.press("Backspace")
    assert explore.locator(".pin").all_inner_texts() == ["18, 14"]
    for _ in range(40):
        explore.keyboard.press("ArrowLeft")
    assert where(explore).startswith("Pixel 0, ")


def test_a_finger_drawn_across_explores_and_a_tap_pins(
    browser: Browser, server: str, open_page: OpenPage
) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
        device_scale_factor=2,
    )
    page = open_page(context.new_page(), server)
    page.touchscreen.tap(*place(page, 12, 12))
    assert where(page).startswith("Pixel 12, 12")
    assert page.locator(".pin").all_inner_texts() == ["12, 12"]
    session = context.new_cdp_session(page)
    for kind, at in (("touchStart", (5, 5)), ("touchMove", (9, 20)), ("touchMove", (25, 20))):
        x, y = place(page, *at)
        points = [{"x": x, "y": y}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert where(page).startswith("Pixel 25, 20")
    assert page.locator(".pin").count() == 1
    assert page.evaluate("scrollY") == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    context.close()


def test_another_layer_shows_another_map_of_the_same_picture(explore: Page) -> None:
    point_at(explore, 20, 20)
    before = composed(explore)
    explore.get_by_role("radio", name="Discriminator").check()
    assert not np.array_equal(composed(explore), before)
    explore.get_by_role("radio", name="Generator").check()
    point_at(explore, 20, 20)
    assert np.array_equal(composed(explore), before)


def test_a_model_without_attention_says_so(
    page: Page, run_without_attention: Path, serve: Callable[[Path], str]
) -> None:
    page.goto(serve(run_without_attention))
    expect(page.locator("#verdict")).to_contain_text("no attention layer")
    page.mouse.click(*place(page, 5, 5))
    assert page.locator("#gallery button").count() == 24


# Choosing.


def sampled(page: Page, act: Callable[[], object], **expected: str) -> None:
    """Do something, and wait for the sample that it asks for, with these values in its query."""

    def asked_for(response: Response) -> bool:
        url = urlsplit(response.url)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        return url.path == "/api/sample" and query | expected == query

    with page.expect_response(asked_for):
        act()


def test_the_gallery_shows_what_sagan_sample_draws(explore: Page, run: Path) -> None:
    images = open_model(run).generator().sample(24, [i % 3 for i in range(24)], seed=0)
    buttons = explore.locator("#gallery button")
    assert buttons.count() == 24
    assert buttons.nth(7).get_attribute("aria-label") == "Sample 8, bee"
    assert np.array_equal(pixels_of(explore, "#gallery button:nth-child(8) canvas"), images[7])


def test_choosing_one_shows_it_and_arrow_keys_go_to_its_neighbours(explore: Page) -> None:
    buttons = explore.locator("#gallery button")
    buttons.nth(5).hover()
    buttons.nth(5).click()
    point_at(explore, 1, 1)
    expect(explore.locator("#where")).to_have_text("Pixel 1, 1 · <i>cat</i></script>")
    buttons.nth(5).focus()
    explore.keyboard.press("ArrowDown")
    expect(buttons.nth(9)).to_have_attribute("aria-pressed", "true")
    expect(explore.locator("#where")).to_have_text("Pixel 1, 1 · ant")


def test_class_seed_and_truncation_decide_what_is_drawn(explore: Page) -> None:
    sampled(explore, lambda: explore.get_by_role("radio", name="bee").check(), label="1")
    explore.fill("#seed", "41")
    sampled(explore, lambda: explore.press("#seed", "Enter"), seed="41", label="1")
    sampled(
        explore, lambda: explore.press("#truncation", "ArrowLeft"), truncation="0.95", seed="41"
    )
    explore.click("#reseed")
    seed = explore.input_value("#seed")
    assert seed != "41"
    assert f"seed={seed}" in explore.url


def test_dragging_between_two_latents_goes_from_one_picture_to_the_other(explore: Page) -> None:
    point_at(explore, 1, 1)
    start = composed_without_point(explore)
    sampled(explore, lambda: explore.press("#blend", "End"), blend="64", toward="1")
    explore.wait_for_timeout(100)
    end = composed_without_point(explore)
    assert not np.array_equal(end, start)
    # The small picture on the right is where the way leads.
    small = pixels_of(explore, "#way-end canvas").repeat(8, axis=0).repeat(8, axis=1)
    assert np.abs(end - small).max() <= 1
    sampled(explore, lambda: explore.click("#way-end"), blend="64")
    explore.press("#blend", "Home")
    explore.wait_for_timeout(100)
    assert np.array_equal(composed_without_point(explore), start)


def test_gamma_and_the_switch_change_the_picture_and_show_what_attention_adds(
    explore: Page,
) -> None:
    point_at(explore, 1, 1)
    trained = composed_without_point(explore)
    assert "what it adds" in explore.locator("#difference-title").inner_text()
    assert pixels_of(explore, "#difference").any()
    sampled(explore, lambda: explore.press("#gamma", "End"), gamma="3")
    explore.wait_for_timeout(100)
    assert not np.array_equal(composed(explore), trained)
    sampled(explore, lambda: explore.uncheck("#attention"), gamma="0")
    explore.wait_for_timeout(100)
    assert not pixels_of(explore, "#difference").any()
    explore.check("#attention")
    assert explore.input_value("#gamma") == "3"


def test_a_picture_of_ones_own_is_judged_and_looked_at_by_the_discriminator(
    explore: Page, tmp_path: Path
) -> None:
    point_at(explore, 9, 9)
    with explore.expect_response("**/api/picture") as waiting:
        explore.set_input_files("#photo", photo(tmp_path))
    assert waiting.value.status == 200
    expect(explore.locator("#where")).to_have_text("Pixel 9, 9 · your picture")
    assert explore.get_by_role("radio", name="Generator").is_disabled()
    assert explore.get_by_role("radio", name="Discriminator").is_checked()
    names = explore.locator("#scores .name").all_inner_texts()
    assert sorted(names) == ["<i>cat</i></script>", "ant", "bee"]
    assert explore.locator("#gamma").is_disabled()
    explore.locator("#gallery button").nth(0).click()
    expect(explore.locator("#where")).to_have_text("Pixel 9, 9 · ant")
    assert explore.locator("#gamma").is_enabled()


def test_a_file_that_is_no_picture_is_told_and_the_page_goes_on(
    explore: Page, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no picture")
    explore.set_input_files("#photo", tmp_path / "text.png")
    expect(explore.locator("#note")).to_contain_text("not a picture")
    point_at(explore, 9, 9)
    assert where(explore) == "Pixel 9, 9 · ant"


def test_a_picture_can_be_dropped_anywhere(explore: Page, tmp_path: Path) -> None:
    data = list(photo(tmp_path).read_bytes())
    explore.evaluate(
        """(bytes) => {
          const transfer = new DataTransfer();
          transfer.items.add(new File([Uint8Array.from(bytes)], "photo.png"));
          const event = new DragEvent("drop", { dataTransfer: transfer, bubbles: true });
          document.body.dispatchEvent(event);
        }""",
        data,
    )
    expect(explore.locator("#drop")).to_have_class("drop chosen")


# Taking along.


def test_a_link_restores_the_view(explore: Page, context: BrowserContext) -> None:
    explore.get_by_role("radio", name="bee").check()
    explore.locator("#gallery button").nth(3).click()
    sampled(explore, lambda: explore.press("#gamma", "End"), gamma="3", index="3", label="1")
    explore.get_by_role("radio", name="Discriminator").check()
    for at in ((4, 4), (25, 9)):
        explore.mouse.click(*place(explore, *at))
    point_at(explore, 15, 28)
    explore.wait_for_timeout(100)
    other = context.new_page()
    other.goto(explore.url)
    expect(other.locator("#where")).to_have_text("Pixel 15, 28 · bee")
    assert other.locator(".pin").all_inner_texts() == ["4, 4", "25, 9"]
    assert np.array_equal(composed(other), composed(explore))
    assert other.input_value("#gamma") == "3"
    assert other.url == explore.url


@pytest.mark.parametrize(
    "hash", ["#seed=-1&label=9&index=99&at=x&pins=99,99;1", "#layer=nothing", "#%00=&gamma=nan"]
)
def test_a_link_that_makes_no_sense_shows_the_start(
    page: Page, server: str, open_page: OpenPage, hash: str
) -> None:
    open_page(page, f"{server}/{hash}")
    assert page.locator("#where").inner_text().endswith("· ant")


def test_the_picture_is_copied_as_png_with_its_overlay(
    browser: Browser, server: str, open_page: OpenPage
) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = open_page(context.new_page(), server)
    point_at(page, 20, 20)
    page.click("#copy-png")
    expect(page.locator("#note")).to_have_text("Picture copied")
    data = page.evaluate(
        """async () => {
          const [item] = await navigator.clipboard.read();
          return [...new Uint8Array(await (await item.getType("image/png")).arrayBuffer())];
        }"""
    )
    with Image.open(io.BytesIO(bytes(data))) as image:
        assert image.size == (1024, 1024)
        assert image.convert("RGB").getpixel((672, 672)) == (255, 77, 46)  # the dot
    page.click("#copy-link")
    expect(page.locator("#note")).to_have_text("Link copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.url
    context.close()


# For everybody.


def test_axe_finds_no_serious_violation_and_nothing_is_too_wide(
    explore: Page,
) -> None:
    explore.wait_for_selector("#scores li")
    explore.mouse.click(*place(explore, 9, 9))
    for tab in ("#tab-explore", "#tab-training"):
        explore.click(tab)
        explore.wait_for_timeout(300)
        for width in (320, 390, 820, 1440):
            explore.set_viewport_size({"width": width, "height": 900})
            assert explore.evaluate("document.documentElement.scrollWidth") == width
        for width, scheme in ((390, "dark"), (1440, "light")):
            explore.set_viewport_size({"width": width, "height": 900})
            explore.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            found = Axe().run(explore).response["violations"]
            serious = [v for v in found if v["impact"] in ("serious", "critical")]
            assert serious == [], [(v["id"], [n["html"] for n in v["nodes"]]) for v in serious]


def test_dark_follows_the_system_and_the_button_overrules_and_is_remembered(
    browser: Browser, server: str, open_page: OpenPage
) -> None:
    def brightness(page: Page) -> int:
        script = "getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/)[0]"
        return int(page.evaluate(script))

    context = browser.new_context(color_scheme="dark")
    page = open_page(context.new_page(), server)
    assert brightness(page) < 40
    page.click("#theme")
    assert brightness(page) > 200
    page.reload()
    page.wait_for_selector("html.ready")
    assert brightness(page) > 200
    context.close()


def test_nothing_moves_while_the_page_loads_or_is_pointed_at(
    page: Page, server: str, open_page: OpenPage
) -> None:
    page.add_init_script(
        """window.shift = 0;
        new PerformanceObserver((list) => {
          for (const entry of list.getEntries()) window.shift += entry.value;
        }).observe({ type: "layout-shift", buffered: true });"""
    )
    open_page(page, server)
    page.wait_for_selector("#scores li")
    for x in range(4, 32, 4):
        point_at(page, x, 10)
        page.wait_for_timeout(30)
    page.wait_for_timeout(300)
    assert page.evaluate("window.shift") < 0.01
