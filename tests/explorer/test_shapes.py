"""The page of models whose pictures are not square: wide ones, and tall gray ones."""

# ruff: noqa: RUF001 -- the multiplication sign on the page is intended

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from sagan.explain import attended_region, attention_beyond, attention_distance
from sagan.explain.overlay import outline
from sagan.explain.receptive import convolution_windows
from sagan.explain.statistics import grids
from sagan.explorer.export import export_page
from sagan.explorer.renderer import Renderer, SampleRequest
from sagan.images.rgb import as_rgb
from sagan.model import open_model

OpenPage = Callable[[Page, str], Page]
Size = tuple[int, int]  # width and height


def size_of(run: Path) -> Size:
    shape = open_model(run).config.shape
    return shape.width, shape.height


def place(page: Page, x: float, y: float, size: Size) -> tuple[float, float]:
    """Where pixel (x, y) of an image is on the screen."""
    box = page.locator("#picture").bounding_box()
    assert box is not None
    across, down = (x + 0.5) / size[0], (y + 0.5) / size[1]
    return box["x"] + across * box["width"], box["y"] + down * box["height"]


def where(page: Page) -> str:
    return page.locator("#where").inner_text().split(" · ")[0]


def test_pictures_have_their_proportions_and_fit_on_every_screen(
    page: Page,
    shaped_run: Path,
    shaped_server: str,
    open_page: OpenPage,
    axe: Callable[[Page], None],
) -> None:
    width, height = size_of(shaped_run)
    open_page(page, shaped_server)
    assert f"{width} × {height} pixels" in page.locator(".model").inner_text()
    for screen, tallest in (((1440, 900), 640), ((820, 700), 580), ((667, 375), 255)):
        page.set_viewport_size({"width": screen[0], "height": screen[1]})
        for selector in ("#picture", "#gallery button", "#without-attention", "#difference"):
            box = page.locator(selector).first.bounding_box()
            assert box is not None
            assert box["width"] / box["height"] == pytest.approx(width / height, rel=0.02)
            assert selector != "#picture" or box["height"] <= tallest + 1
    for narrow in (320, 360):
        page.set_viewport_size({"width": narrow, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") == narrow
    drawn = page.locator("#picture .annotations").evaluate("({ width, height }) => width / height")
    assert drawn == pytest.approx(width / height, rel=0.02)
    axe(page)


def test_the_keyboard_moves_by_cells_and_stops_at_the_last_row_and_column(
    page: Page, shaped_run: Path, shaped_server: str, open_page: OpenPage
) -> None:
    width, height = size_of(shaped_run)
    open_page(page, shaped_server)
    page.locator("#picture").focus()
    page.keyboard.press("Escape")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        page.keyboard.press(key)
    # The first key shows the middle; a cell has 4 x 4 pixels, or 2 x 2.
    cell = 4 if width > height else 2
    assert where(page) == f"Pixel {width // 2 + cell}, {height // 2 - cell}"
    for key in ("ArrowRight", "ArrowDown"):
        for _ in range(50):
            page.keyboard.press(key)
    assert where(page) == f"Pixel {width - 1}, {height - 1}"


def test_pins_and_links_reach_the_last_pixel_and_none_beyond_it(
    page: Page, shaped_run: Path, shaped_server: str, open_page: OpenPage
) -> None:
    width, height = size = size_of(shaped_run)
    last = width - 1, height - 1
    open_page(page, shaped_server)
    page.mouse.click(*place(page, *last, size))
    assert where(page) == f"Pixel {last[0]}, {last[1]}"
    page.wait_for_url(f"**at={last[0]},{last[1]}&pins={last[0]},{last[1]}")
    page.reload()
    expect(page.locator("#where")).to_contain_text(f"Pixel {last[0]}, {last[1]}")
    open_page(page, f"{shaped_server}/?other#pins=0,{last[1]};{last[0]},0;{width},0;0,{height}")
    assert page.locator(".pin").all_inner_texts() == [f"0, {last[1]}", f"{last[0]}, 0"]


def test_the_readout_and_the_outline_are_the_librarys(
    page: Page, shaped_run: Path, shaped_server: str, open_page: OpenPage
) -> None:
    width, height = size = size_of(shaped_run)
    open_page(page, f"{shaped_server}/#seed=3&index=4&label=1")
    payload = Renderer(open_model(shaped_run)).sample(SampleRequest(seed=3, index=4, label=1))
    (attention,) = (rows for name, rows in payload.maps.items() if name.startswith("generator."))
    (rows, columns), keys = grids(attention, (height, width))
    far = attention_distance(attention[None], (height, width))[0]
    windows = convolution_windows((rows, columns), (height, width))
    beyond = attention_beyond(attention[None], windows, (height, width))[0]
    for x, y in ((1, height - 2), (20, 9), (width - 1, 0), (width - 1, height - 1)):
        page.mouse.move(*place(page, x, y, size))
        assert where(page) == f"Pixel {x}, {y}"
        query = y * rows // height * columns + x * columns // width
        shown = page.locator("#far").inner_text().removesuffix(" px")
        assert float(shown) == pytest.approx(far[query], abs=0.5)
        found = page.evaluate(
            """async ([row, queries, keys, size, query]) => {
              const a = await import("sagan/attention.js");
              const weights = Float32Array.from(row);
              const map = { queries, keys };
              const inside = a.region(weights);
              return {
                far: a.distance(map, query, weights, size),
                beyond: a.beyondKernel(map, query, weights),
                inside: [...inside],
                border: a.outline(inside, keys).length,
              };
            }""",
            [
                attention[query].tolist(),
                *map(axes, ((rows, columns), keys, (height, width))),
                query,
            ],
        )
        region = attended_region(attention[query])
        segments = outline(region.reshape(keys)) * keys[::-1]
        assert found["far"] == pytest.approx(far[query], rel=1e-5)
        assert found["beyond"] == pytest.approx(beyond[query], rel=1e-5, abs=1e-6)
        assert found["inside"] == region.tolist()
        assert found["border"] == round(np.abs(segments[:, 1] - segments[:, 0]).sum())


def axes(rows_and_columns: tuple[int, int]) -> dict[str, int]:
    """A grid as the page writes it."""
    rows, columns = rows_and_columns
    return {"width": columns, "height": rows}


def test_a_copied_picture_has_its_proportions(
    browser: Browser,
    shaped_run: Path,
    shaped_server: str,
    open_page: OpenPage,
    copy_png: Callable[[Page], bytes],
) -> None:
    width, height = size = size_of(shaped_run)
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = open_page(context.new_page(), f"{shaped_server}/#at={width - 1},{height - 1}")
    data = copy_png(page)
    context.close()
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (1024 * width // min(size), 1024 * height // min(size))
        cell = image.width // 24
        corner = image.width - cell // 2, image.height - cell // 2
        assert image.convert("RGB").getpixel(corner) == (255, 77, 46)  # the dot


def test_the_exported_page_shows_them_too(
    page: Page, shaped_run: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    width, height = size = size_of(shaped_run)
    export_page(str(shaped_run), tmp_path / "page.html", num=2, seed=5)
    open_page(page, (tmp_path / "page.html").as_uri())
    page.locator("#gallery button").nth(1).click()
    page.mouse.move(*place(page, width - 1, height - 1, size))
    assert where(page) == f"Pixel {width - 1}, {height - 1}"
    page.locator("#picture").focus()
    page.keyboard.press("Escape")
    url = page.locator("#picture .composite").evaluate("canvas => canvas.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))) as image:
        shown = np.array(image.convert("RGB"))
    scale = len(shown) // height
    assert shown.shape == (scale * height, scale * width, 3)
    drawn = as_rgb(open_model(shaped_run).generator().sample(2, [0, 1], seed=5))
    assert np.abs(shown[::scale, ::scale].astype(int) - drawn[1]).max() <= 1


def test_the_chips_name_layers_by_width_and_height(
    page: Page, shaped_run: Path, shaped_server: str, open_page: OpenPage
) -> None:
    open_page(page, shaped_server)
    cells = "24 × 16" if "96x64" in shaped_run.name else "24 × 48"
    labels = page.locator("#layers label").all_inner_texts()
    assert labels == [f"Generator {cells}", f"Discriminator {cells}"]
