"""A visitor's own picture is found in the generator, with its progress, and can be pointed at."""

import base64
import functools
import io
import json
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from playwright.sync_api import Page, expect
from safetensors.numpy import load

from sagan.errors import SaganError
from sagan.explain.projection import project
from sagan.explorer.app import create_app
from sagan.explorer.projecting import projection_lines
from sagan.explorer.renderer import Renderer
from sagan.explorer.work_queue import WorkQueue
from sagan.model import open_model

OpenPage = Callable[[Page, str], Page]
RunAsync = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six steps of Adam instead of 120."""
    short = functools.partial(project, steps=6)
    monkeypatch.setattr("sagan.explorer.renderer.project", short)


@pytest.fixture
def client(run: Path) -> Iterator[TestClient]:
    app = create_app(open_model(run), run)
    with TestClient(app, base_url="http://127.0.0.1:7326") as client:
        yield client


@pytest.fixture
def picture(run: Path) -> np.ndarray:
    """A sample, which the generator can draw: uint8 (32, 32, 3)."""
    return open_model(run).generator().sample(1, [1], seed=77)[0]


def png(image: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "PNG")
    return data.getvalue()


def test_the_last_line_has_the_projection_with_its_maps(
    client: TestClient, run: Path, picture: np.ndarray
) -> None:
    answer = client.post("/api/projection", content=png(picture))
    assert answer.headers["content-type"] == "application/x-ndjson"
    *progress, last = map(json.loads, answer.text.splitlines())
    assert all(line.keys() == {"done", "total"} for line in progress)
    done = [line["done"] for line in progress]
    assert done == sorted(done)
    model = open_model(run)
    expected = project(model.generator(), model.discriminator(), picture, steps=6)
    assert last["distance"] == pytest.approx(expected.distance, rel=1e-3)
    assert last["distance"] < last["random_distance"]
    found = load(base64.b64decode(last["payload"]))
    assert np.abs(found["image"].astype(int) - expected.image).max() <= 1
    assert "bytes/generator.attention_16" in found
    assert "bytes/discriminator.attention_16" in found
    assert not np.array_equal(found["image"], found["without_attention"])


def test_a_file_that_is_not_an_image_is_refused(client: TestClient) -> None:
    answer = client.post("/api/projection", content=b"hello")
    assert answer.status_code == 415
    assert "not a readable image" in answer.json()["detail"]


def test_the_search_stops_soon_after_its_visitor_has_left(
    run: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch, run_async: RunAsync
) -> None:
    steps: list[int] = []
    ended = threading.Event()

    def endless(self: Renderer, image: np.ndarray, progress: Callable[[int, int], None]) -> None:
        try:
            for step in range(10**6):
                steps.append(step)
                progress(step, 10**6)
                ended.wait(0.01)
        finally:
            ended.set()

    monkeypatch.setattr(Renderer, "project", endless)

    async def leave_after_two_lines() -> list[dict[str, int]]:
        lines = projection_lines(Renderer(open_model(run)), WorkQueue(), picture)
        seen = [json.loads(await anext(lines)) for _ in range(2)]
        await lines.aclose()  # type: ignore[attr-defined]
        return seen

    first, second = run_async(leave_after_two_lines())
    assert 0 <= first["done"] < second["done"]
    assert ended.wait(5)
    assert len(steps) < 10**5


@pytest.mark.parametrize(
    ("queue_length", "error", "said"),
    [
        (0, MemoryError(), "busy"),
        (1, MemoryError(), "memory"),
        (1, SaganError("not finite"), "not finite"),
    ],
)
def test_what_prevents_it_is_said_in_the_last_line(
    run: Path,
    picture: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    run_async: RunAsync,
    queue_length: int,
    error: Exception,
    said: str,
) -> None:
    def fail(self: Renderer, *arguments: object) -> None:
        raise error

    monkeypatch.setattr(Renderer, "project", fail)

    async def lines() -> list[bytes]:
        queue = WorkQueue(max_jobs=queue_length)
        return [line async for line in projection_lines(Renderer(open_model(run)), queue, picture)]

    (only,) = run_async(lines())
    assert said in json.loads(only)["detail"]


# The page.


@pytest.fixture
def with_photo(
    page: Page,
    run: Path,
    picture: np.ndarray,
    tmp_path: Path,
    serve: Callable[..., str],
    open_page: OpenPage,
) -> Page:
    """The page with a photo chosen."""
    open_page(page, serve(run))
    assert not page.locator("#projection").is_visible()
    (tmp_path / "photo.png").write_bytes(png(picture))
    page.set_input_files("#photo", tmp_path / "photo.png")
    expect(page.locator("#where")).to_contain_text("· your picture")
    return page


def test_the_nearest_sample_can_be_pointed_at_and_compared_with_the_photo(with_photo: Page) -> None:
    page = with_photo
    generator = page.get_by_role("radio", name="Generator 16 × 16")  # noqa: RUF001
    expect(generator).to_be_disabled()
    page.get_by_role("button", name="Find it in the generator").click()
    expect(page.locator("#where")).to_contain_text("· nearest to your picture")
    expect(generator).to_be_enabled()
    said = page.locator("#projection [role=status]")
    expect(said).to_have_text(re.compile(r"^Distance of this sample to your picture: 0\.\d+; of"))
    generator.check()
    page.locator("#picture").hover(position={"x": 100, "y": 200})
    expect(page.locator("#half")).to_contain_text("%")
    page.get_by_role("button", name="Show your picture").click()
    expect(page.locator("#where")).to_contain_text("· your picture")
    page.get_by_role("button", name="Show the nearest sample").click()
    expect(page.locator("#where")).to_contain_text("· nearest to your picture")


def test_the_search_shows_its_progress_and_can_be_stopped(
    with_photo: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = with_photo
    stopped = threading.Event()

    def slow(self: Renderer, image: np.ndarray, progress: Callable[[int, int], None]) -> None:
        try:
            while True:
                progress(30, 120)
                stopped.wait(0.05)
        finally:
            stopped.set()

    monkeypatch.setattr(Renderer, "project", slow)
    bar = page.get_by_role("progressbar", name="Search")
    assert not bar.is_visible()
    page.get_by_role("button", name="Find it in the generator").click()
    expect(bar).to_have_js_property("value", 0.25)
    page.get_by_role("button", name="Stop").click()
    expect(bar).to_be_hidden()
    expect(page.get_by_role("button", name="Find it in the generator")).to_be_visible()
    assert stopped.wait(10)
    expect(page.locator("#where")).to_contain_text("· your picture")


def test_a_finished_search_does_not_replace_what_was_chosen_meanwhile(
    with_photo: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = with_photo
    chosen = threading.Event()
    search = Renderer.project

    def slow(self: Renderer, *arguments: Any) -> Any:
        assert chosen.wait(30)
        return search(self, *arguments)

    # The server computes one thing at a time, so the sample must be there before.
    page.locator("#gallery button").nth(1).click()
    expect(page.locator("#where")).to_contain_text("· bee")
    page.locator("#gallery button").nth(0).click()
    expect(page.locator("#where")).to_contain_text("· ant")
    monkeypatch.setattr(Renderer, "project", slow)
    page.get_by_role("button", name="Find it in the generator").click()
    page.locator("#gallery button").nth(1).click()
    expect(page.locator("#where")).to_contain_text("· bee")
    chosen.set()
    found = page.get_by_role("button", name="Show the nearest sample")
    expect(found).to_be_visible()
    expect(page.locator("#where")).to_contain_text("· bee")
    found.click()
    expect(page.locator("#where")).to_contain_text("· nearest to your picture")


def test_an_error_is_reported_and_the_search_can_be_started_again(
    with_photo: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Renderer, *arguments: object) -> None:
        raise MemoryError

    page = with_photo
    with monkeypatch.context() as patch:
        patch.setattr(Renderer, "project", fail)
        page.get_by_role("button", name="Find it in the generator").click()
        expect(page.locator("#toast")).to_contain_text("not enough memory")
    page.get_by_role("button", name="Find it in the generator").click()
    expect(page.locator("#where")).to_contain_text("· nearest to your picture")


def test_it_is_accessible(with_photo: Page, axe: Callable[[Page], None]) -> None:
    with_photo.get_by_role("button", name="Find it in the generator").click()
    expect(with_photo.locator("#where")).to_contain_text("· nearest to your picture")
    axe(with_photo)
