"""The exported page needs no server and shows what the served page shows."""

import base64
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect
from safetensors.numpy import load

from sagan.errors import SaganError
from sagan.explorer.export import _entries_of_sample, _requests, export_page
from sagan.explorer.renderer import Renderer, SampleRequest, start_request
from sagan.model import open_model, shipped_models

OpenPage = Callable[[Page, str], Page]


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exported") / "page.html"
    export_page(str(run), out, seed=5)
    return out


def test_a_dozen_samples_can_be_explored_without_a_server_or_any_request(
    context: BrowserContext, exported: Path, run: Path
) -> None:
    page = context.new_page()
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.goto(exported.as_uri())
    expect(page.locator("#where")).not_to_have_text("No pixel selected")
    buttons = page.locator("#gallery button")
    assert buttons.count() == 12
    buttons.nth(4).click()
    page.locator("#picture").hover(position={"x": 100, "y": 200})
    expect(page.locator("#where")).to_contain_text("· bee")
    shown = page.locator("#picture .composite").evaluate("canvas => canvas.toDataURL()")
    page.locator("#picture").focus()
    page.keyboard.press("Escape")
    plain = page.locator("#picture .composite").evaluate("canvas => canvas.toDataURL()")
    assert shown != plain
    with Image.open(io.BytesIO(base64.b64decode(plain.split(",")[1]))) as image:
        pixels = np.array(image.convert("RGB"))[::8, ::8]
    images = open_model(run).generator().sample(5, [0, 1, 2, 0, 1], seed=5)
    assert np.abs(pixels.astype(int) - images[4]).max() <= 1
    page.get_by_role("radio", name="Discriminator").check()
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert errors == []


def test_strength_and_the_way_to_another_picture_are_in_the_file(
    page: Page, exported: Path, run: Path, open_page: OpenPage
) -> None:
    open_page(page, exported.as_uri())
    renderer = Renderer(open_model(run))

    def shows(**changes: int) -> None:
        page.locator("#picture").focus()
        page.keyboard.press("Escape")
        expected = renderer.sample(SampleRequest(seed=5, index=1, **changes)).image
        page.wait_for_function(SHOWN, arg=[expected.ravel().tolist()])

    page.locator("#gallery button").nth(1).click()
    shows()
    page.locator("#gamma").fill("2")
    shows(gamma=2)
    expect(page.locator("#where")).to_be_visible()
    assert page.get_by_role("radio", name="Generator").is_enabled()
    assert page.get_by_role("radio", name="Discriminator").is_disabled()
    page.locator("#attention").uncheck()
    shows(gamma=0)
    page.locator("#attention").check()
    shows(gamma=2)
    page.locator("#blend").fill("24")
    shows(toward=6, blend=24)
    page.locator("#gallery button").nth(0).click()
    assert page.input_value("#blend") == "0"


def test_what_is_unpacked_slowly_does_not_replace_a_later_choice(
    page: Page, exported: Path, open_page: OpenPage
) -> None:
    page.add_init_script(
        """let wait = 500;
        const read = Response.prototype.arrayBuffer;
        Response.prototype.arrayBuffer = async function () {
          const first = wait;
          wait = 0;
          await new Promise((resolve) => setTimeout(resolve, first));
          return read.call(this);
        };"""
    )
    end = page.locator("#interpolation-end")

    def drawn() -> str:
        page.wait_for_timeout(1000)
        pixels: str = end.evaluate("canvas => canvas.toDataURL()")
        return pixels

    open_page(page, exported.as_uri())
    page.locator("#gallery button").nth(1).click()
    second = drawn()
    page.locator("#gallery button").nth(0).click()
    assert drawn() != second
    page.locator("#gallery button").nth(1).click()
    assert drawn() == second


# The picture's own pixels, in the middle of the 8 x 8 that show each, within a level.
SHOWN = """([image]) => {
  const canvas = document.querySelector("#picture .composite");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const scale = canvas.width / 32;
  return image.every((value, i) => {
    const [y, x] = [Math.floor(i / 96), Math.floor(i / 3) % 32].map((at) => at * scale + 4);
    return Math.abs(data[4 * (y * canvas.width + x) + (i % 3)] - value) <= 1;
  });
}"""


def test_the_file_says_how_to_get_the_live_page(exported: Path) -> None:
    assert "sagan explore RUN_OR_MODEL_FILE" in exported.read_text()


def test_a_shipped_models_file_begins_with_its_front_view() -> None:
    model = open_model("openmoji-64")
    requests = _requests(model, 3, None, 0)
    assert requests[0] == start_request(model)
    assert [request.index for request in requests[1:]] == [0, 1]
    assert [request.seed for request in _requests(model, 2, None, 7)] == [7, 7]


def test_no_sample_is_twice_in_a_shipped_models_file() -> None:
    for name in shipped_models():
        requests = _requests(open_model(name), 4, None, 0)
        assert len(set(requests)) == 4, name


def test_all_maps_of_a_page_are_counted_before_it_is_made(
    make_run: Callable[..., Path], tmp_path: Path
) -> None:
    run = make_run(attention_g=[8, 16])
    export_page(str(run), tmp_path / "page.html", num=2)
    text = (tmp_path / "page.html").read_text()
    payloads = [base64.b64decode(part.split("<")[0]) for part in text.split('"payload">')[1:]]
    strengths = [
        zlib.decompress(base64.b64decode(part.split(">")[1].split("<")[0]))
        for part in text.split('class="variant"')[1:]
        if 'data-blend="0"' in part
    ]
    sizes = [
        array.size
        for payload in (*payloads, *strengths)
        for name, array in load(payload).items()
        if name.startswith("bytes/")
    ]
    assert sum(sizes) == 2 * _entries_of_sample(Renderer(open_model(run)))


def test_axe_finds_no_serious_violation(
    page: Page, exported: Path, open_page: OpenPage, axe: Callable[[Page], None]
) -> None:
    axe(open_page(page, exported.as_uri()))


def test_only_the_maps_that_are_shown_are_decoded(
    page: Page, exported: Path, open_page: OpenPage
) -> None:
    page.add_init_script(
        """window.letters = 0;
        const decode = atob;
        atob = (text) => ((letters += text.length), decode(text));"""
    )
    open_page(page, exported.as_uri())
    total = page.evaluate(
        """[...document.querySelectorAll("script.payload")]
             .reduce((sum, script) => sum + script.textContent.length, 0)"""
    )
    assert total / 12 < page.evaluate("letters") < total / 3
    page.locator("#gallery button").nth(7).click()
    expect(page.locator("#where")).to_contain_text("bee")


def test_a_photo_shows_the_discriminators_attention(
    page: Page, run: Path, tmp_path: Path, open_page: OpenPage
) -> None:
    Image.new("RGB", (50, 40), "teal").save(tmp_path / "photo.png")
    export_page(str(run), tmp_path / "d.html", photos=[tmp_path / "photo.png"])
    open_page(page, (tmp_path / "d.html").as_uri())
    assert page.locator("#gallery button").count() == 1
    assert page.get_by_role("radio", name="Generator").is_disabled()


def test_classes_are_used_in_turn(run: Path, tmp_path: Path) -> None:
    export_page(str(run), tmp_path / "c.html", classes="bee,ant")
    text = (tmp_path / "c.html").read_text()
    blocks = [part.split("<")[0] for part in text.split('class="payload">')[1:]]
    assert [label_of(base64.b64decode(block)) for block in blocks] == ["1", "0"] * 6


def label_of(payload: bytes) -> str:
    """The label in the metadata of a safetensors file."""
    length = int.from_bytes(payload[:8], "little")
    return str(json.loads(payload[8 : 8 + length])["__metadata__"]["label"])


def test_what_cannot_be_exported_is_refused_in_one_line(run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    out = tmp_path / "x.html"
    for photo, reason in (("text.png", "not a picture"), ("gone.png", "cannot read")):
        with pytest.raises(SaganError, match=reason):
            export_page(str(run), out, photos=[tmp_path / photo])
    with pytest.raises(SaganError, match="no class 'cow'"):
        export_page(str(run), out, classes="cow")
    with pytest.raises(SaganError, match="seed"):
        export_page(str(run), out, seed=2**32)
    with pytest.raises(SaganError, match="cannot write"):
        export_page(str(run), tmp_path / "text.png" / "x.html")
    assert not out.exists()
