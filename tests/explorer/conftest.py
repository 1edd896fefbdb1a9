"""A small run with visible attention, a server for it, and a real browser."""

import asyncio
import base64
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import uvicorn
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from sagan.build import build_networks
from sagan.config import resolve
from sagan.explorer.app import create_app
from sagan.model import open_model
from sagan.run.checkpoint import save_checkpoint
from sagan.run.directory import RunDescription, create_run

CLASSES = ("ant", "bee", "<i>cat</i></script>")
SETTINGS = {
    "channels_g": 16,
    "channels_d": 16,
    "latent_size": 8,
    "precision": "float32",
    "spectral_norm_g": False,
    "spectral_norm_d": False,
}
GRIDS = (2, 4, 6)
# On busy cores a browser encodes a PNG in more than five seconds, the default of `expect`.
BROWSER_TIMEOUT = 30_000  # milliseconds
expect.set_options(timeout=BROWSER_TIMEOUT)
# The tour moves the point on a first visit: only its own tests have one.
TOUR_WAS_SEEN = "try { localStorage.setItem('sagan-tour', 'seen') } catch {}"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
NOT_ON_PATH = (
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
    Path("C:/Program Files/Google/Chrome/Application/chrome.exe"),
)


def make_run(folder: Path, classes: tuple[str, ...], **settings: Any) -> Path:
    """A run directory: untrained networks with sharp, strong attention; curves; grids."""
    config = resolve("smoke", SETTINGS | {"conditional": bool(classes)} | settings)
    data = {"source": "none", "fingerprint": "0", "images": 0, "classes": list(classes)}
    create_run(folder, RunDescription(config, "smoke", data), {})
    generator, discriminator = build_networks(config, len(classes))
    with torch.no_grad():
        generator.to_rgb.weight.mul_(8)  # contrast
        for network, sharpness, gamma in ((generator, 48, 0.8), (discriminator, 256, -0.5)):
            for layer in network.attention_layers().values():
                layer.query.weight.mul_(sharpness)
                layer.gamma.fill_(gamma)
    states = {
        "generator": generator.state_dict(),
        "ema": generator.state_dict(),
        "discriminator": discriminator.state_dict(),
        "optimizer": {},
    }
    save_checkpoint(folder, GRIDS[-1], states, {})
    for step in range(1, GRIDS[-1] + 1):
        record_step(folder, step)
    for step in GRIDS:
        draw_grid(folder, step)
    return folder


def record_step(run: Path, step: int) -> None:
    """Add a line to a run's statistics."""
    layer = "generator.attention_16"
    record = {"step": step, "loss/d": 2.0 / step, "loss/g": -0.25 * step, f"gamma/{layer}": 0.01}
    record |= {f"sigma/generator/blocks.{i}.conv1": 1.0 + i * step for i in range(8)}
    record |= {f"attention/{layer}/distance": 9.5, "metric/fid": 300.0 - step}
    record |= {"gradient/generator": 2.0 * step, "gradient/discriminator": 3.0 * step}
    with (run / "stats.jsonl").open("a") as file:
        file.write(json.dumps(record) + "\n")


def draw_grid(run: Path, step: int) -> None:
    """Add a grid and a figure of attention, of a single color that depends on the step."""
    for folder, width in (("samples", 100), ("attention", 300)):
        image = np.full((66, width, 3), 10 * step, dtype=np.uint8)
        Image.fromarray(image).save(run / folder / f"step-{step:08d}.png")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A conditional run. Read-only: copy it before changing it."""
    return make_run(tmp_path_factory.mktemp("explored") / "insects", CLASSES)


@pytest.fixture(name="make_run")
def _make_run(tmp_path: Path) -> Callable[..., Path]:
    """make_run(classes=CLASSES, **settings): a run for this test alone."""

    def make(classes: tuple[str, ...] = CLASSES, **settings: Any) -> Path:
        return make_run(tmp_path / "made", classes, **settings)

    return make


@pytest.fixture(scope="session")
def unconditional_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unconditional run. Read-only."""
    return make_run(tmp_path_factory.mktemp("explored") / "plain", ())


@pytest.fixture(scope="session", params=["96x64", "48x96"])
def shaped_run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of wide images, and one of tall gray ones. Read-only."""
    colors = "rgb" if request.param == "96x64" else "gray"
    folder = tmp_path_factory.mktemp("shaped") / request.param
    return make_run(folder, CLASSES, resolution=request.param, colors=colors)


@contextmanager
def serving(run: Path, beside: Path | None = None) -> Iterator[str]:
    """The URL of a real server for a run, and maybe one beside it."""
    app = create_app(open_model(run), run, beside=beside)
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(10)


@pytest.fixture(scope="session")
def run_without_attention(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with no attention layer in either network."""
    folder = tmp_path_factory.mktemp("explored") / "blind"
    return make_run(folder, (), attention_g=[], attention_d=[])


@pytest.fixture(scope="session")
def run_with_the_control(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with residual blocks in place of its attention layers."""
    folder = tmp_path_factory.mktemp("explored") / "control"
    return make_run(folder, (), attention_block="residual")


@pytest.fixture(scope="session")
def server(run: Path) -> Iterator[str]:
    """A server for the run."""
    with serving(run) as url:
        yield url


@pytest.fixture(scope="session")
def shaped_server(shaped_run: Path) -> Iterator[str]:
    """A server for it."""
    with serving(shaped_run) as url:
        yield url


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """serve(run, beside=None): the URL of a server for this test alone."""
    with ExitStack() as stack:
        yield lambda *runs: stack.enter_context(serving(*runs))


@pytest.fixture
def train_to() -> Callable[[Path, int], None]:
    """train_to(run, step): write what training writes at a step."""

    def write(run: Path, step: int) -> None:
        record_step(run, step)
        draw_grid(run, step)

    return write


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium. Without one, tests of the page are skipped; on CI they fail."""
    elsewhere = (str(path) for path in NOT_ON_PATH if path.is_file())
    found = next(filter(None, [*map(shutil.which, CHROMIUM), *elsewhere]), None)
    if found is None:
        missing = "no Chromium: the page is NOT TESTED; run scripts/install-chromium and test again"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        sandbox = [] if os.name == "nt" or os.geteuid() else ["--no-sandbox"]  # root has none
        browser = playwright.chromium.launch(
            executable_path=found, args=[*sandbox, "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def run_async() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """run_async(coroutine): its result, from a thread: Playwright's loop runs in this one."""

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, coroutine).result()

    return run


@contextmanager
def visiting(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh browser profile."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(BROWSER_TIMEOUT)
    context.add_init_script(TOUR_WAS_SEEN)
    yield context
    context.close()


@contextmanager
def watched(page: Page) -> Iterator[Page]:
    """A page that must not report an error or contact another host meanwhile."""
    errors: list[str] = []
    hosts: set[str] = set()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if is_error(message) else None)
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    yield page
    assert not errors
    assert all(host == "" or host.startswith("127.0.0.1:") for host in hosts), hosts


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A fresh browser profile."""
    with visiting(browser) as context:
        yield context


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page that must not report an error or contact another host."""
    with watched(context.new_page()) as page:
        yield page


@pytest.fixture(scope="module")
def lasting_page(browser: Browser) -> Iterator[Page]:
    """A page for all tests of a file that only compute on it. It is watched, too."""
    with visiting(browser) as context, watched(context.new_page()) as page:
        page.emulate_media(reduced_motion="reduce")  # it is idle most of the time
        yield page


def is_error(message: object) -> bool:
    return message.type == "error" and "status of 4" not in message.text  # type: ignore[attr-defined]


@pytest.fixture
def axe() -> Callable[[Page], None]:
    """axe(page): no serious violation on phone and desktop, in light and dark colors."""

    def check(page: Page) -> None:
        for width in (390, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                found = Axe().run(page).response["violations"]
                serious = [v for v in found if v["impact"] in ("serious", "critical")]
                violations = [(v["id"], [n["html"] for n in v["nodes"]]) for v in serious]
                assert not violations, (width, scheme, violations)

    return check


@pytest.fixture
def steady(page: Page) -> Iterator[None]:
    """Nothing on the page moves by itself, only in response to a key or a click."""
    page.add_init_script(
        """window.moved = [];
        new PerformanceObserver((list) => {
          for (const { value, hadRecentInput, sources } of list.getEntries()) {
            const nodes = sources.map(({ node }) => node?.id || node?.className || node?.nodeName);
            if (!hadRecentInput) moved.push([value, String(nodes)]);
          }
        }).observe({ type: "layout-shift", buffered: true });"""
    )
    yield
    moved = page.evaluate("window.moved")
    assert sum(value for value, _ in moved) < 0.01, moved


@pytest.fixture
def explore(page: Page, server: str) -> Page:
    """The page, loaded and showing a sample."""
    return open_page(page, server)


def open_page(page: Page, url: str) -> Page:
    """Go to a URL and wait until an image is shown."""
    page.goto(url)
    page.wait_for_selector("html.ready")
    expect(page.locator("#where")).not_to_have_text("No pixel selected")
    return page


@pytest.fixture(name="open_page", scope="session")
def _open_page() -> Callable[[Page, str], Page]:
    """open_page(page, url)."""
    return open_page


@pytest.fixture(scope="session")
def copy_png() -> Callable[[Page], bytes]:
    """copy_png(page): the PNG that the page's button copies."""

    def copy(page: Page) -> bytes:
        page.click("#copy-png")
        expect(page.locator("#toast")).to_have_text("Picture copied")
        data = page.evaluate(
            """async () => {
              const [item] = await navigator.clipboard.read();
              const reader = new FileReader();
              reader.readAsDataURL(await item.getType("image/png"));
              await new Promise((resolve) => (reader.onload = resolve));
              return reader.result.split(",")[1];  // as base64: lists cross number by number
            }"""
        )
        return base64.b64decode(data)

    return copy
