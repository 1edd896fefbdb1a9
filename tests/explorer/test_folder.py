"""The static page: networks run in the browser and give the model's own numbers."""

import base64
import functools
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import BrowserContext, Page, Route, expect

from sagan import cli
from sagan.errors import SaganError
from sagan.explain.queries import interesting_queries
from sagan.explain.statistics import grids
from sagan.explorer import browser_runtime as runtime_module
from sagan.explorer import folder as folder_module
from sagan.explorer.browser_runtime import BINARY, SCRIPT, browser_runtime
from sagan.explorer.folder import MAP_TOLERANCE, _network_content, write_folder
from sagan.explorer.payload import Payload
from sagan.explorer.renderer import Renderer, SampleRequest
from sagan.images.decode import Fit, decode
from sagan.images.pixels import to_float
from sagan.images.rgb import as_rgb
from sagan.images.shape import Colors, Resolution
from sagan.model import open_model, shipped_models
from sagan.nn.inputs import seeded_latents
from sagan.sampling import grid_labels, spherical_interpolation

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

OpenPage = Callable[[Page, str], Page]

# Playwright passes arrays as lists, slowly, number by number: large ones cross as base64.
BASE64 = """
window.toBase64 = (...arrays) => new Promise((resolve) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result.split(",")[1]);
  reader.readAsDataURL(new Blob(arrays));
});
window.fromBase64 = (text) => Uint8Array.from(atob(text), (byte) => byte.charCodeAt(0));
"""

# What the page's engine says, as JSON: a query's image, scores and maps, or those of a photo.
ENGINE = """async ({ query, photo }) => {
  const { NetworkEngine } = await import("sagan/network_engine.js");
  const facts = JSON.parse(document.querySelector("#facts").textContent);
  window.engine ??= new NetworkEngine(facts);
  const file = photo && new File([fromBase64(photo)], "photo.png");
  const payload = await (file ? engine.photo(file) : engine.sample(query));
  const maps = payload.maps.map(async ({ name, queries, keys, row, highlights }) => {
    const count = queries.width * queries.height;
    const rows = await toBase64(...Array.from({ length: count }, (_, query) => row(query)));
    return [name, { queries, keys, rows, highlights }];
  });
  const { withoutAttention, size, scores, label } = payload;
  const image = await toBase64(payload.image);
  const plain = withoutAttention && (await toBase64(withoutAttention));
  return { image, size, plain, scores, label, maps: await Promise.all(maps) };
}"""


def to_base64(data: bytes | np.ndarray) -> str:
    return base64.b64encode(data).decode()


def from_base64(text: str, kind: type[np.generic], *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind).reshape(shape)


@pytest.fixture(scope="module")
def runtime() -> Iterator[dict[str, bytes]]:
    """onnxruntime-web, which npm fetches if the user's cache does not have it yet.

    For all pages of these tests it is unpacked and compressed once.
    """
    try:
        files = browser_runtime(print)
    except SaganError as error:
        pytest.skip(f"the static page is NOT TESTED: {error}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_module, "browser_runtime", lambda say: files)
        patch.setattr(folder_module, "_compressed", functools.cache(folder_module._compressed))
        yield files


@pytest.fixture(scope="module")
def folder(run: Path, tmp_path_factory: pytest.TempPathFactory, runtime: object) -> Path:
    """The static page of the run."""
    out = tmp_path_factory.mktemp("static") / "page"
    write_folder(str(run), out, lambda line: None)
    return out


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


class _DeclaringHandler(_QuietHandler):
    """A host that declares .gz files as an encoding, so that browsers unpack them by themselves."""

    def guess_type(self, path: Any) -> str:
        return "application/octet-stream" if str(path).endswith(".gz") else super().guess_type(path)

    def end_headers(self) -> None:
        if self.path.endswith(".gz"):
            self.send_header("Content-Encoding", "gzip")
        super().end_headers()


class _HoldingHandler(_QuietHandler):
    """A host that sends the second half of the runtime's program once `released`."""

    released = threading.Event()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        content = source.read()
        half = len(content) // 2 if self.path.endswith(".wasm.gz") else len(content)
        outputfile.write(content[:half])
        outputfile.flush()
        if half < len(content):
            self.released.wait(60)
            outputfile.write(content[half:])


class _CountingHandler(_QuietHandler):
    """A host that counts the bytes of the files it sends."""

    sent: list[int]

    def send_header(self, keyword: str, value: str) -> None:
        if keyword == "Content-Length":
            self.sent.append(int(value))
        super().send_header(keyword, value)


@contextmanager
def hosted(folder: Path, kind: type[_QuietHandler] = _QuietHandler) -> Iterator[str]:
    """The URL of what `python -m http.server` does with a folder."""
    handler = partial(kind, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[str]:
    """The URL of the static page of the run."""
    with hosted(folder) as url:
        yield url


@pytest.fixture
def static(page: Page, site: str, open_page: OpenPage) -> Page:
    """The static page, with its networks loaded."""
    return open_static(page, site, open_page)


@pytest.fixture(scope="module")
def computing(lasting_page: Page, site: str, open_page: OpenPage) -> Page:
    """The static page, opened once: asking its modules for numbers changes nothing on it."""
    return open_static(lasting_page, site, open_page)


def open_static(page: Page, url: str, open_page: OpenPage) -> Page:
    """Open a static page and wait for its networks."""
    page.set_default_timeout(60_000)
    page.add_init_script(BASE64)
    open_page(page, url)
    expect(page.locator("#loading")).to_be_hidden(timeout=60_000)
    return page


def image_shown(page: Page) -> np.ndarray:
    """The picture without its overlay, uint8 (S, S, 3)."""
    page.locator("#picture").focus()
    page.keyboard.press("Escape")
    pixels = page.locator("#picture .composite").evaluate(
        """canvas => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, 256, 256);
          const every8th = Array.from({ length: 32 }, (_, i) => 8 * i);
          const color = (start) => [...data.subarray(start, start + 3)];
          return every8th.map((y) => every8th.map((x) => color(4 * (256 * y + x))));
        }"""
    )
    return np.array(pixels, dtype=np.uint8)


def assert_shows(page: Page, image: np.ndarray) -> None:
    """Wait until the picture is this one, to one level: the last bits of sums differ."""
    for _ in range(300):
        shown = image_shown(page)
        if np.abs(shown.astype(int) - image).max() <= 1:
            return
        page.wait_for_timeout(100)
    assert np.abs(shown.astype(int) - image).max() <= 1


def assert_same_payload(
    found: dict[str, Any], expected: Payload, judged: bool = True, levels: int = 1
) -> None:
    """Images, to so many levels, and maps are torch's; if `judged`, the discriminator's, too."""
    height, width = expected.image.shape[:2]
    assert found["size"] == {"width": width, "height": height}
    image = from_base64(found["image"], np.uint8, height, width, 3)
    assert np.abs(image - expected.image.astype(int)).max() <= levels
    if expected.without_attention is not None:
        plain = from_base64(found["plain"], np.uint8, height, width, 3)
        assert np.abs(plain - expected.without_attention.astype(int)).max() <= levels
    if judged:
        np.testing.assert_allclose(found["scores"], expected.scores, atol=0.02)
    maps = dict(found["maps"])
    assert maps.keys() == expected.maps.keys()
    for name, attention in expected.maps.items():
        for kind, (rows, columns) in zip(
            ("queries", "keys"), grids(attention, (height, width)), strict=True
        ):
            assert maps[name][kind] == {"width": columns, "height": rows}
        if judged or name.startswith("generator."):
            rows = from_base64(maps[name]["rows"], np.float32, *attention.shape)
            np.testing.assert_allclose(rows, attention, atol=MAP_TOLERANCE)


# The numbers are the model's.


@pytest.mark.parametrize(
    "query",
    [
        {"seed": 3, "index": 4, "label": 1},
        {"seed": 2**32 - 1, "index": 23, "truncation": 0.55},
        {"seed": 7, "label": 2, "gamma": 2.5},
        {"seed": 1, "index": 2, "toward": 9, "blend": 40, "gamma": 0},
        {"seed": 1, "index": 3, "truncation": 0.8, "moves": [2.5, 0, -1]},
    ],
    ids=["class", "truncation", "gamma", "interpolation", "directions"],
)
def test_samples_and_maps_are_those_of_torch(
    computing: Page, run: Path, query: dict[str, Any]
) -> None:
    asked = SampleRequest(**query)
    found = computing.evaluate(ENGINE, {"query": asked.model_dump()})
    assert_same_payload(found, Renderer(open_model(run)).sample(asked))
    assert found["label"] == (asked.label if asked.label is not None else asked.index % 3)


def test_the_discriminators_map_of_a_photo_is_torchs(computing: Page, run: Path) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    data = png(Image.fromarray(noise))
    found = computing.evaluate(ENGINE, {"photo": to_base64(data)})
    assert_same_payload(found, Renderer(open_model(run)).judge(decode(data, 32, "crop")))


SHAPES = [(90, 41), (41, 90), (50, 41), (32, 32), (20, 11), (30, 20), (32, 48)]  # of photos


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize(
    ("resolution", "colors"), [(32, "rgb"), ("48x32", "rgb"), ("20x30", "gray")]
)
def test_photos_are_resized_as_pillow_does_it(
    computing: Page, fit: Fit, resolution: Resolution, colors: Colors
) -> None:
    for shape in SHAPES:
        noise = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
        data = png(Image.fromarray(noise))
        expected = decode(data, resolution, fit, colors=colors)
        assert np.array_equal(fitted_photo(computing, data, expected.shape, fit), expected), shape


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_transparent_photos_are_resized_as_pillow_does_it(computing: Page, fit: Fit) -> None:
    """What is seen, that is: browsers keep the colors of faint pixels in a few levels only."""
    for shape in SHAPES:
        noise = np.random.default_rng(2).integers(0, 256, (*shape, 4), dtype=np.uint8)
        noise[..., 3] *= noise[..., 3] > 60
        data = png(Image.fromarray(noise))
        expected = decode(data, "48x32", fit, colors="rgba")
        found = fitted_photo(computing, data, expected.shape, fit)
        assert np.array_equal(found[..., 3], expected[..., 3]), shape
        assert np.abs(as_rgb(found).astype(int) - as_rgb(expected)).max() <= 1, shape
        assert (found[found[..., 3] == 0] == (255, 255, 255, 0)).all()


def fitted_photo(page: Page, data: bytes, shape: tuple[int, ...], fit: str) -> np.ndarray:
    """A photo's pixels as the page computes them, uint8 (H, W, C)."""
    height, width, channels = shape
    found = page.evaluate(
        """async ([bytes, size, fit, channels]) => {
          const { fittedPhoto } = await import("sagan/photo.js");
          return toBase64(await fittedPhoto(new Blob([fromBase64(bytes)]), size, fit, channels));
        }""",
        [to_base64(data), {"width": width, "height": height}, fit, channels],
    )
    return from_base64(found, np.uint8, *shape)


@pytest.fixture(params=[("96x64", "rgb"), ("48x96", "gray"), ("96x64", "rgba")], ids="-".join)
def shaped(
    request: pytest.FixtureRequest, make_run: Callable[..., Path], tmp_path: Path, runtime: object
) -> tuple[Path, Path]:
    """A run of wide or tall images, and its static page."""
    resolution, colors = request.param
    run, out = make_run(resolution=resolution, colors=colors), tmp_path / "page"
    write_folder(str(run), out, lambda line: None)
    return run, out


def test_models_of_any_shape_and_colors_have_a_static_page_with_their_numbers(
    page: Page, shaped: tuple[Path, Path], open_page: OpenPage
) -> None:
    run, folder = shaped
    model = open_model(run)
    renderer, colors = Renderer(model), model.config.colors
    asked = SampleRequest(seed=3, index=4, label=1, gamma=1.5)
    noise = np.random.default_rng(5).integers(0, 256, (80, 70, 3), dtype=np.uint8)
    data = png(Image.fromarray(noise))
    with hosted(folder) as url:
        open_static(page, url, open_page)
        sample = page.evaluate(ENGINE, {"query": asked.model_dump()})
        photo = page.evaluate(ENGINE, {"photo": to_base64(data)})
    # The discriminator is compared on equal pixels: one level changes its sharp map by 0.01.
    levels = 2 if colors == "rgba" else 1  # on white, one of color and one of opacity
    assert_same_payload(sample, renderer.sample(asked), judged=False, levels=levels)
    fitted = decode(data, model.config.resolution, "crop", colors=colors)
    assert_same_payload(photo, renderer.judge(fitted))


def png(image: Image.Image) -> bytes:
    from io import BytesIO

    data = BytesIO()
    image.save(data, "PNG")
    return data.getvalue()


@pytest.mark.parametrize("seed", [0, 1, 123_456, 2**32 - 1])
def test_a_seed_gives_the_latents_that_it_gives_in_python_bit_for_bit(
    computing: Page, seed: int
) -> None:
    found = computing.evaluate(
        """async ([seed]) => {
          const { seededLatents } = await import("sagan/latents.js");
          return toBase64(...seededLatents(40, 500, seed));
        }""",
        [seed],
    )
    assert np.array_equal(from_base64(found, np.float32, 40, 500), seeded_latents(40, 500, seed))


def test_the_way_between_two_latents_is_the_librarys(computing: Page) -> None:
    found = computing.evaluate(
        """async () => {
          const { between, seededLatents } = await import("sagan/latents.js");
          const [start, end] = seededLatents(2, 128, 3);
          return [0, 0.25, 0.5, 1].map((share) => [...between(start, end, share)]);
        }"""
    )
    start, end = seeded_latents(2, 128, 3)
    expected = spherical_interpolation(start, end, 5)[[0, 1, 2, 4]]
    torch.testing.assert_close(torch.tensor(found), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(32, 32), (48, 32), (16, 64)], ids=str)
@pytest.mark.parametrize(("side", "key_side"), [(8, 8), (16, 8)])
def test_the_points_that_are_shown_first_are_those_of_the_library(
    computing: Page, side: int, key_side: int, size: tuple[int, int]
) -> None:
    width, height = size
    rng = np.random.default_rng(side + key_side)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    cells = [
        {"width": shorter * width // min(size), "height": shorter * height // min(size)}
        for shorter in (side, key_side)
    ]
    numbers = [grid["width"] * grid["height"] for grid in cells]
    logits = torch.tensor(rng.normal(size=numbers) * 3)
    attention = torch.softmax(logits, 1).float().numpy()
    found = computing.evaluate(
        """async ([image, weights, size, [queries, keys]]) => {
          const { interestingQueries } = await import("sagan/highlights.js");
          const map = { weights: new Float32Array(fromBase64(weights).buffer), queries, keys };
          return interestingQueries(map, fromBase64(image), size, 4);
        }""",
        [to_base64(image), to_base64(attention), {"width": width, "height": height}, cells],
    )
    assert found == interesting_queries(attention, image, 4)


# What visitors do.


def test_every_control_draws_without_a_server(static: Page, run: Path, site: str) -> None:
    generator = open_model(run).generator()
    requested: list[str] = []
    static.on("request", lambda request: requested.append(request.url))
    static.fill("#seed", "12")
    static.press("#seed", "Enter")
    assert_shows(static, generator.sample(1, [0], 12)[0])
    static.get_by_role("radio", name="bee").check()
    assert_shows(static, generator.sample(1, [1], 12)[0])
    static.locator("#truncation").fill("0.5")
    assert_shows(static, generator.sample(1, [1], 12, truncation=0.5)[0])
    static.get_by_role("switch").click()
    renderer = Renderer(open_model(run))
    asked = SampleRequest(seed=12, label=1, truncation=0.5, gamma=0)
    assert_shows(static, renderer.sample(asked).image)
    static.get_by_role("switch").click()
    static.locator("#gallery button").nth(5).click()
    last = generator.sample(6, [1] * 6, 12, truncation=0.5)[5]
    assert_shows(static, last)
    static.get_by_role("radio", name="Discriminator").check()
    expect(static.locator("#layers input:checked")).to_have_value("discriminator.attention_16")
    static.locator("#picture").hover(position={"x": 100, "y": 200})
    expect(static.locator("#where")).to_contain_text("· bee")
    assert requested == []


def test_a_visitors_photo_is_judged_in_the_browser(static: Page, tmp_path: Path) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "photo.png")
    static.set_input_files("#photo", tmp_path / "photo.png")
    static.locator("#picture").hover(position={"x": 100, "y": 200})
    expect(static.locator("#where")).to_contain_text("your picture")
    with Image.open(tmp_path / "photo.png") as photo:
        assert_shows(static, decode(png(photo), 32, "crop"))
    (tmp_path / "text.png").write_text("no picture")
    static.set_input_files("#photo", tmp_path / "text.png")
    expect(static.locator("#toast")).to_contain_text("not a readable image")


def test_the_first_view_does_not_wait_for_the_networks(
    page: Page, site: str, run: Path, open_page: OpenPage
) -> None:
    held: list[Route] = []
    page.route("**/*.wasm.gz", lambda route: held.append(route))
    open_page(page, site)
    expect(page.locator("#loading")).to_be_visible()
    generator = open_model(run).generator()
    assert_shows(page, generator.sample(1, [0], 0)[0])
    page.fill("#seed", "4")
    page.press("#seed", "Enter")
    held[0].continue_()
    expect(page.locator("#loading")).to_be_hidden(timeout=60_000)
    assert_shows(page, generator.sample(1, [0], 4)[0])


def test_a_missing_part_is_reported_and_the_first_view_stays(
    page: Page, site: str, open_page: OpenPage
) -> None:
    page.route("**/*.wasm.gz", lambda route: route.fulfill(status=404))
    open_page(page, site)
    page.get_by_role("button", name="New samples").click()
    expect(page.locator("#toast")).to_contain_text(".wasm.gz is missing")
    expect(page.locator("#loading")).to_be_hidden()
    expect(page.locator("#where")).to_contain_text("Pixel")


def test_the_progress_bar_moves_while_the_networks_load(
    page: Page, folder: Path, open_page: OpenPage
) -> None:
    with hosted(folder, _HoldingHandler) as url:
        open_page(page, url)
        bar = page.locator("#loading progress")
        for _ in range(300):
            share = bar.evaluate("bar => bar.value / bar.max")
            if share > 0.5:
                break
            page.wait_for_timeout(100)
        assert 0.5 < share < 0.95
        expect(bar).to_be_visible()
        _HoldingHandler.released.set()
        expect(page.locator("#loading")).to_be_hidden(timeout=60_000)


def test_a_host_that_declares_the_encoding_of_compressed_files_will_do(
    page: Page, folder: Path, run: Path, open_page: OpenPage
) -> None:
    with hosted(folder, _DeclaringHandler) as url:
        open_static(page, url, open_page)
        page.fill("#seed", "4")
        page.press("#seed", "Enter")
        assert_shows(page, open_model(run).generator().sample(1, [0], 4)[0])


def test_axe_finds_no_serious_violation(static: Page, axe: Callable[[Page], None]) -> None:
    axe(static)


def test_the_policy_forbids_other_hosts_in_the_page_and_in_its_worker(
    context: BrowserContext, site: str, open_page: OpenPage
) -> None:
    page = open_page(context.new_page(), site)
    reach = "fetch('https://192.0.2.1/').then(() => 'reached', (error) => 'refused')"
    in_worker = f"""new Promise((resolve) => {{
      const url = URL.createObjectURL(new Blob([`{reach}.then(postMessage)`]));
      new Worker(url).onmessage = ({{ data }}) => resolve(data);
    }})"""
    violations = """document.addEventListener("securitypolicyviolation",
      ({ effectiveDirective }) => (window.violated ??= []).push(effectiveDirective))"""
    page.evaluate(violations)
    assert page.evaluate(reach) == "refused"
    assert page.evaluate(in_worker) == "refused"
    assert page.evaluate("window.violated") == ["connect-src"]


# The folder.


def test_the_folder_is_small_and_names_no_other_place(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 6e6
    model = sum(path.stat().st_size for path in (folder / "model").iterdir())
    assert model < 3e6
    assert "Microsoft" in (folder / "runtime" / "LICENSE.txt").read_text()
    own = [*folder.glob("*.html"), *folder.glob("static/*")]
    for path in own:
        text = path.read_text().replace("http://www.w3.org/", "")
        assert "http:" not in text, path.name
        assert "https:" not in text, path.name
    assert not list(folder.rglob(".*"))


@functools.cache
def shipped_network(name: str, network: str) -> bytes:
    """A network of a shipped model as in its page: exporting it takes seconds."""
    return _network_content(open_model(name), network)


@pytest.mark.parametrize("name", shipped_models())
def test_the_maps_of_a_shipped_models_page_are_torchs_as_generated(name: str) -> None:
    from sagan.exporting.onnx_file import run_onnx

    generator = open_model(name).generator()
    labels = grid_labels(8, generator.num_classes)
    _, maps = generator.sample(8, labels, seed=5, return_attention=True)
    inputs = {
        "latents": seeded_latents(8, generator.latent_size, seed=5),
        "gamma_scale": torch.ones(()),
    }
    inputs |= {"labels": torch.tensor(labels)} if labels else {}
    found = run_onnx(shipped_network(name, "generator"), inputs)
    for attention, expected in zip(found[-len(maps) :], maps.values(), strict=True):
        np.testing.assert_allclose(attention, expected, atol=MAP_TOLERANCE)


@pytest.mark.parametrize("name", shipped_models())
def test_the_maps_of_a_shipped_models_page_are_torchs_as_judged(name: str) -> None:
    from sagan.exporting.onnx_file import run_onnx

    model = open_model(name)
    images = model.generator().sample(8, grid_labels(8, len(model.classes)), seed=5)
    maps = model.discriminator().attention(images)
    inputs = {"images": to_float(torch.from_numpy(images))}
    inputs |= {"labels": torch.arange(8) % 2} if model.classes else {}
    found = run_onnx(shipped_network(name, "discriminator"), inputs)
    for attention, expected in zip(found[-len(maps) :], maps.values(), strict=True):
        np.testing.assert_allclose(attention, expected, atol=MAP_TOLERANCE)


@pytest.mark.parametrize("name", shipped_models())
@pytest.mark.usefixtures("runtime")
def test_a_shipped_models_page_loads_within_20_seconds_over_10_megabits_per_second(
    page: Page, open_page: OpenPage, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its bytes: nothing else takes long, and a clock would measure this machine."""
    monkeypatch.setattr(
        folder_module, "_network_content", lambda _, network: shipped_network(name, network)
    )
    write_folder(name, tmp_path / "page", lambda line: None)
    files = [path for path in (tmp_path / "page").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25e6
    model = sum(path.stat().st_size for path in files if path.parent.name == "model")
    assert model < 8e6
    counting = type("Counting", (_CountingHandler,), {"sent": []})
    with hosted(tmp_path / "page", counting) as url:
        open_static(page, url, open_page)
    assert sum(counting.sent) > 4e6
    assert 8 * sum(counting.sent) / 10e6 < 20


def test_an_older_page_is_replaced_and_anything_else_left_alone(
    run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sagan.explorer.folder._network_content", lambda model, network: b"onnx")
    out = tmp_path / "page"
    (out / "static").mkdir(parents=True)
    for name in ("index.html", "static/live.js", "static/old.js"):
        (out / name).write_text("old")
    write_folder(str(run), out, lambda line: None)
    assert not (out / "static" / "old.js").exists()
    assert json.loads((out / "index.html").read_text().split('id="facts">')[1].split("<")[0])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    with pytest.raises(SaganError, match="not a static page"):
        write_folder(str(run), tmp_path / "mine", lambda line: None)


@pytest.mark.parametrize("foreign", ["CNAME", ".git/HEAD", "about.html"])
def test_an_older_page_with_anything_else_in_its_folder_is_left_alone(
    foreign: str, tmp_path: Path
) -> None:
    for name in ("index.html", "static/live.js", "model/old", foreign):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("old")
    with pytest.raises(SaganError, match=foreign.partition("/")[0]):
        write_folder("cifar10-32", tmp_path, lambda line: None)
    assert (tmp_path / foreign).read_text() == "old"


def test_a_model_without_attention_has_no_static_page(
    run_without_attention: Path, tmp_path: Path
) -> None:
    with pytest.raises(SaganError, match="no attention layer"):
        write_folder(str(run_without_attention), tmp_path / "out", lambda line: None)


# The runtime.


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the tarball would be in an empty cache."""
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path))
    return tmp_path / "browser" / f"onnxruntime-web-{runtime_module.VERSION}.tgz"


def test_without_npm_one_line_says_which_file_goes_where(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(SaganError) as failure:
        browser_runtime(print)
    text = str(failure.value)
    assert f"npm pack onnxruntime-web@{runtime_module.VERSION}" in text
    assert str(empty_cache) in text
    assert "\n" not in text


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for npm")
@pytest.mark.parametrize("status", [0, 1])
def test_it_is_announced_fetched_by_npm_and_checked(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: int
) -> None:
    npm = tmp_path / "npm"
    npm.write_text(
        f"#!/bin/sh\necho other > onnxruntime-web-{runtime_module.VERSION}.tgz\nexit {status}\n"
    )
    npm.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(npm))
    said: list[str] = []
    with pytest.raises(SaganError, match="is there a network" if status else "another file"):
        browser_runtime(said.append)
    assert "fetching onnxruntime-web" in said[0]
    assert not empty_cache.exists()


def test_the_version_that_was_checked_has_its_files(runtime: dict[str, bytes]) -> None:
    assert runtime[BINARY][:4] == b"\0asm"
    assert b"Microsoft" in runtime[SCRIPT]


def test_the_command_refuses_a_place_that_is_taken(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    command = ["sagan", "explore", str(run), "--static", str(tmp_path / "file")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capfd.readouterr()
    assert (end.value.code, out) == (2, "")
    assert "not a static page" in err
