"""Use a model's static page in Firefox, and compare what it shows with torch.

    apt-get install firefox-esr            # or another Firefox
    pip install --editable '.[dev]'        # with Playwright, which drives it over WebDriver BiDi
    python scripts/firefox.py cifar10-32
    python scripts/firefox.py openmoji-64 --screens screens

The page is written, served with `python -m http.server`, and used as visitors do: new seeds, a
class, attention strength, every layer, interpolation, a photo. After each, the picture must be
torch's to one level and the maps to 0.001, the discriminator's where it judges equal pixels. With
`--screens`, it is also written as it looks on a desktop and on a phone.

Playwright 1.65 uses a command that Firefox 153 (ESR) does not have: "unknown command" means that
`pip install 'playwright<1.64'` helps, or a newer Firefox.
"""

import argparse
import base64
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from pages.hosting import (
    DESKTOP,
    PHONE,
    TOUR_WAS_SEEN,
    firefox,
    hosted,
    set_screen,
    wait_for,
    wait_until_ready,
)
from PIL import Image
from playwright.sync_api import Page

from sagan.errors import SaganError
from sagan.explorer.folder import MAP_TOLERANCE, write_folder
from sagan.explorer.payload import Payload
from sagan.explorer.renderer import Renderer, start_request
from sagan.images.decode import read_photo
from sagan.model import open_model
from sagan.types import UInt8Array

PATIENCE = 60.0  # seconds until the page must show what was asked for

# The maps of a sample or a photo, each as base64 of its float32 weights, from another engine of the
# page's own modules: the page keeps its engine to itself.
MAPS = """async ([query, photo]) => {
  const { NetworkEngine } = await import("sagan/network_engine.js");
  window.engine ??= new NetworkEngine(JSON.parse(document.querySelector("#facts").textContent));
  const bytes = photo && Uint8Array.from(atob(photo), (letter) => letter.charCodeAt(0));
  const file = bytes && new File([bytes], "photo.png");
  const { maps } = await (file ? engine.photo(file) : engine.sample(query));
  const encode = (buffer) => {
    let text = "";
    for (const byte of new Uint8Array(buffer)) text += String.fromCharCode(byte);
    return btoa(text);
  };
  return maps.map(({ name, queries, row }) => {
    const count = queries.width * queries.height;
    const rows = Array.from({ length: count }, (_, query) => [...row(query)]);
    return [name, encode(Float32Array.from(rows.flat()).buffer)];
  });
}"""


class Visitor:
    """A visitor of a static page who compares it with the model.

    Attributes:
        wrong: what differed, and what the browser reported.
    """

    def __init__(self, page: Page, renderer: Renderer) -> None:
        self.page, self.renderer = page, renderer
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("request", lambda request: self._watch(request.url))

    def _hear(self, kind: str, text: str) -> None:
        if kind == "error":
            self.wrong.append(f"console: {text}")

    def _watch(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "blob:", "data:")):
            self.wrong.append(f"request to {url}")

    def compare(
        self, name: str, expected: Payload, asked: Any, tolerance: float = MAP_TOLERANCE
    ) -> None:
        """Compare the picture that is shown, and all maps, with the model's."""
        levels = self._difference_shown(expected.image)
        found = dict(self.page.evaluate(MAPS, asked))
        apart = 0.0
        for layer, weights in expected.maps.items():
            if levels and layer.startswith("discriminator."):
                continue  # it judges other pixels: one level changes a sharp map by 0.01
            decoded = np.frombuffer(base64.b64decode(found[layer]), np.float32)
            apart = max(apart, float(np.abs(decoded.reshape(weights.shape) - weights).max()))
        sound = levels <= 1 and apart <= tolerance and found.keys() == expected.maps.keys()
        print(f"{name:>15}: picture within {levels}, maps within {apart:.1e}", flush=True)
        if not sound:
            self.wrong.append(name)

    def _difference_shown(self, image: UInt8Array) -> int:
        """Return the largest difference once the page has had time to draw, in levels of 255."""
        until = time.monotonic() + PATIENCE
        while True:
            levels = int(np.abs(self._shown(image.shape) - image.astype(int)).max())
            if levels <= 1 or time.monotonic() > until:
                return levels
            time.sleep(0.2)

    def _shown(self, shape: tuple[int, ...]) -> UInt8Array:
        """Return the picture without dots and glow, one pixel of each of its squares."""
        self.page.locator("#picture").focus()
        self.page.keyboard.press("Escape")
        width, height, text = self.page.locator("#picture .composite").evaluate(
            """(canvas) => {
              const { width, height } = canvas;
              const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
              let text = "";
              for (const byte of data) text += String.fromCharCode(byte);
              return [width, height, btoa(text)];
            }"""
        )
        pixels = np.frombuffer(base64.b64decode(text), np.uint8).reshape(height, width, 4)
        rows, columns = height // shape[0], width // shape[1]
        return pixels[rows // 2 :: rows, columns // 2 :: columns, :3]

    def screen(self, path: Path, full: bool = False) -> None:
        """Write what is shown. Playwright adds a style for that, which the policy forbids."""
        known = len(self.wrong)
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=path, full_page=full)
        del self.wrong[known:]

    def point_at_each_layer(self) -> None:
        """Choose every layer and point at the picture: the page must say what it attends to."""
        for layer in self.page.locator("#layers input").all():
            name = layer.get_attribute("value")
            layer.check(force=True)
            self.page.locator("#picture").hover(position={"x": 100, "y": 200})
            wait_for(
                self.page,
                f"""() => document.querySelector("#layers input:checked").value === "{name}"
                  && document.querySelector("#where").textContent.startsWith("Pixel")""",
            )
            print(f"{'layer':>15}: {name}: {self.page.locator('#where').text_content()}")


def visit(visitor: Visitor, name: str, folder: Path) -> None:
    """Do what a visitor does, comparing after each step."""
    page, renderer = visitor.page, visitor.renderer
    model = open_model(name)
    start = start_request(model)

    def compare(step: str, tolerance: float = MAP_TOLERANCE, **changes: Any) -> None:
        nonlocal start
        start = start.model_copy(update=changes)
        query = start.model_dump()
        visitor.compare(step, renderer.sample(start), [query, None], tolerance)

    compare("first view", 0.004)  # computed in advance, and stored in bytes
    page.locator("#seed").focus()
    page.keyboard.press("ControlOrMeta+A")
    page.keyboard.type("12")  # Firefox reports a change only to what was typed
    page.keyboard.press("Enter")
    compare("seed", seed=12)
    if model.classes:
        label = len(model.classes) // 2
        page.locator(f"#classes input[value='{label}']").check(force=True)
        compare("class", label=label)
    page.locator("#gamma").fill("2")
    compare("strength", gamma=2.0)
    page.locator("#gamma").fill("1")
    visitor.point_at_each_layer()
    page.locator("#blend").fill("40")
    toward = page.evaluate("import('sagan/url_state.js').then(({ nextSeed }) => nextSeed(12))")
    compare("interpolation", gamma=1.0, toward=toward, blend=40)
    noise = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    photo = folder / "photo.png"
    Image.fromarray(noise).save(photo)
    page.set_input_files("#photo", photo)
    judged = renderer.judge(read_photo(photo, model.config.shape, model.fit))
    visitor.compare("photo", judged, [None, base64.b64encode(photo.read_bytes()).decode()])


def main() -> int:
    """Visit the page; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a run directory, a model file or a shipped model")
    parser.add_argument("--folder", type=Path, help="its static page, if there is one already")
    parser.add_argument("--screens", type=Path, help="folder for screenshots")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "page"
        if not arguments.folder:
            write_folder(arguments.model, folder, print)
        with hosted(folder) as url, firefox() as browser:
            print(f"Firefox {browser.version}", flush=True)
            page = browser.new_page()
            page.add_init_script(TOUR_WAS_SEEN)
            visitor = Visitor(page, Renderer(open_model(arguments.model)))
            page.goto(url)
            wait_until_ready(page)
            for kind, size in {"phone": PHONE, "desktop": DESKTOP}.items():
                set_screen(page, size)
                if page.evaluate("document.documentElement.scrollWidth") > size[0]:
                    visitor.wrong.append(f"{kind}: wider than the screen")
                if arguments.screens:
                    visitor.screen(arguments.screens / f"firefox-{kind}.png", full=True)
            visit(visitor, arguments.model, Path(temporary))
            if arguments.screens:
                visitor.screen(arguments.screens / "firefox-photo.png")
    print("\n".join(["wrong:", *visitor.wrong]) if visitor.wrong else "all as in torch")
    return bool(visitor.wrong)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SaganError as error:
        sys.exit(f"error: {error}")
