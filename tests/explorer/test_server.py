"""The server answers its own page and no other site, whatever it is sent."""

import asyncio
import io
import logging
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import httpx
import numpy as np
import psutil
import pytest
import schemathesis
import torch
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from PIL import Image
from safetensors.numpy import load
from schemathesis.checks import CHECKS
from schemathesis.generation import GenerationMode

from sagan.errors import SaganError, UnreadableError
from sagan.explorer import uploads
from sagan.explorer.app import create_app
from sagan.explorer.renderer import Renderer, SampleRequest
from sagan.explorer.security import is_own_host
from sagan.explorer.sockets import listen
from sagan.images.decode import decode
from sagan.images.rgb import as_rgb
from sagan.images.shape import ImageShape
from sagan.model import open_model

OWN = "http://127.0.0.1:7326"

RunAsync = Callable[[Any], Any]


@pytest.fixture(scope="module")
def client(run: Path) -> Iterator[TestClient]:
    with TestClient(create_app(open_model(run), run), base_url=OWN) as client:
        yield client


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def encoded(image: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def png(height: int = 40, width: int = 60) -> bytes:
    return encoded(Image.fromarray(noise(height, width, 3)))


def connect(url: str, request: str) -> socket.socket:
    """A connection over which this much of a request has been sent."""
    address = urlsplit(url).netloc
    visitor = socket.create_connection(tuple(address.split(":")), timeout=60)
    visitor.sendall(request.format(host=address).encode())
    return visitor


INCOMPLETE = "POST /api/image HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\nx"


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Who may send requests.


@pytest.mark.parametrize("host", ["127.0.0.1:7326", "localhost", "localhost:1", "[::1]:7326"])
def test_the_page_is_served_under_the_names_of_this_machine(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "evil.example:7326", "10.0.0.7", "", "[", "@"],
)
def test_other_names_that_point_at_this_machine_are_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/api/sample", "/static/served.js"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 400
        assert "detail" in answer.json()


@pytest.mark.parametrize(
    ("header", "bound", "own"),
    [
        ("box.local:80", "box.local", True),
        ("192.168.1.5:7326", "0.0.0.0", True),
        ("[fe80::1]:7326", "::", True),
        ("evil.example", "0.0.0.0", False),
        ("192.168.1.5", "127.0.0.1", False),
        ("127.0.0.2", "localhost", True),
    ],
)
def test_bound_beyond_loopback_any_address_is_accepted_but_no_other_name(
    header: str, bound: str, own: bool
) -> None:
    assert is_own_host(header, bound) is own


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": OWN + ".evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_requests_from_other_sites_are_refused(client: TestClient, headers: dict) -> None:
    assert client.get("/api/gallery", headers=headers).status_code == 403
    assert client.post("/api/image", content=png(), headers=headers).status_code == 403


def test_a_link_on_another_site_leads_to_the_page(client: TestClient) -> None:
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200
    own = {"origin": OWN, "sec-fetch-site": "same-origin"}
    assert client.post("/api/image", content=png(), headers=own).status_code == 200


def test_every_response_forbids_other_hosts_frames_and_type_sniffing(client: TestClient) -> None:
    for path in ("/", "/api/sample", "/static/served.js", "/static/../app.py", "/nowhere"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_a_class_name_cannot_end_the_element_it_is_in(client: TestClient) -> None:
    assert "<i>cat" not in client.get("/").text


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd"]
)
def test_files_outside_the_static_folder_are_not_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


# What requests ask for.


@pytest.mark.parametrize(
    ("mode", "paths"),
    [
        (
            GenerationMode.POSITIVE,
            [
                "/",
                "/api/gallery",
                "/api/sample",
                "/api/image",
                "/api/projection",
                "/api/run/history",
                "/api/run/grids/{step}",
                "/api/run/attention/{step}",
            ],
        ),
        # Nothing that can be sent to the others violates the schema.
        (GenerationMode.NEGATIVE, ["/api/gallery", "/api/sample", "/api/run/grids/{step}"]),
    ],
)
def test_schemathesis_finds_no_deviation_from_the_schema(
    server: str, mode: GenerationMode, paths: list[str]
) -> None:
    schema = schemathesis.openapi.from_url(f"{server}/api/openapi.json")
    # A valid number may not be a class of this model, and bytes may not be an image.
    excluded = [check for check in CHECKS.get_all() if check.__name__ == "positive_data_acceptance"]
    operations = {operation.path: operation for operation in map(_ok, schema.get_all_operations())}
    assert operations.keys() >= set(paths)
    for path in paths:
        examples = 4 if path in ("/api/image", "/api/projection") else 10  # each starts a process

        @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
        @given(case=operations[path].as_strategy(generation_mode=mode))
        def probe(case: schemathesis.Case) -> None:
            case.call_and_validate(excluded_checks=excluded)

        probe()
    if mode is GenerationMode.POSITIVE:
        assert operations.keys() == set(paths)


def _ok(found: Any) -> Any:
    return found.ok()


@pytest.mark.parametrize(
    "query",
    [
        "seed=-1", "seed=4294967296", "seed=x", "label=3", "label=-1", "truncation=nan",
        "truncation=inf", "truncation=9", "index=24", "gamma=1e9", "blend=65", "blend=0.5",
        "toward=", "unknown=1", "seed=" + "9" * 5000, "label=%00",
        "moves=9", "moves=nan", "moves=x", "moves=1&" * 6,
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_client_errors(client: TestClient, query: str) -> None:
    answer = client.get(f"/api/sample?{query}")
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]


def test_wrong_methods_and_paths_have_their_own_status(client: TestClient) -> None:
    assert client.post("/api/sample").status_code == 405
    assert client.get("/api/image").status_code == 405
    assert client.get("/api/nothing").status_code == 404
    assert client.get("/docs").status_code == 404  # it would load scripts from another host


# Uploads.


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_an_upload_is_made_square_and_resized_as_for_training(run: Path, fit: str) -> None:
    with TestClient(create_app(replace(open_model(run), fit=fit), None), base_url=OWN) as client:
        tensors = load(client.post("/api/image", content=png()).content)
    assert np.array_equal(tensors["image"], decode(png(), 32, fit))
    assert "bytes/discriminator.attention_16" in tensors
    assert "bytes/generator.attention_16" not in tensors


@pytest.mark.parametrize(
    "changes",
    [
        {"colors": "gray"},
        {"colors": "rgba"},
        {"resolution": 48},
        {"resolution": 96},
        {"resolution": "96x64"},
        {"resolution": "48x96", "colors": "gray"},
    ],
)
def test_models_of_other_colors_and_sizes_are_shown_as_rgb(
    make_run: Callable[..., Path], changes: dict[str, Any]
) -> None:
    model = open_model(make_run(**changes))
    shape = model.config.shape
    with TestClient(create_app(model, None), base_url=OWN) as client:
        gallery = load(client.get("/api/gallery").content)["images"]
        sample = load(client.get("/api/sample").content)
        photo = load(client.post("/api/image", content=png()).content)
    assert gallery.shape == (24, *shape[:2], 3)
    for payload in (sample, photo):
        assert payload["image"].shape == (*shape[:2], 3)
    assert np.abs(sample["image"].astype(int) - gallery[0]).max() <= 1
    assert np.array_equal(
        photo["image"], as_rgb(decode(png(), shape.resolution, "crop", colors=shape.colors))
    )


def test_an_uploads_scores_are_the_discriminators_logits(
    run: Path, unconditional_run: Path
) -> None:
    pixels = torch.from_numpy(decode(png(), 32, "crop").copy())
    image = pixels.permute(2, 0, 1)[None] / 127.5 - 1
    for folder, labels in ((run, [0, 1, 2]), (unconditional_run, [None])):
        model = open_model(folder)
        with TestClient(create_app(model, None), base_url=OWN) as client:
            scores = load(client.post("/api/image", content=png()).content)["scores"]
        judge = model.discriminator()
        given = [None if label is None else torch.tensor([label]) for label in labels]
        assert scores.tolist() == pytest.approx([float(judge(image, y)) for y in given], rel=1e-4)


def test_images_of_every_kind_are_accepted(client: TestClient) -> None:
    colors = Image.fromarray(noise(40, 60, 3))
    gray = Image.fromarray(noise(40, 60).astype(np.uint16) * 257)
    turned = Image.Exif()
    turned[0x0112], turned[0xA002], turned[0xA003] = 6, 9_000_000, 7  # not its true size
    lying = b"Exif\0\0II*\0\xff\xff\xff\x7f"  # entries far beyond the end
    palette = colors.convert("P")
    more = [palette.rotate(180)]
    kinds = {
        "16 bits": encoded(gray),
        "CMYK": encoded(colors.convert("CMYK"), "JPEG"),
        "palette": encoded(palette, transparency=3),
        "GIF animation": encoded(palette, "GIF", save_all=True, append_images=more),
        "WebP animation": encoded(colors, "WEBP", save_all=True, append_images=more),
        "PNG animation": encoded(colors, save_all=True, append_images=[colors.rotate(180)]),
        "EXIF of another size": encoded(colors, "JPEG", exif=turned),
        "EXIF without end": encoded(colors, "JPEG", exif=lying),
    }
    for kind, data in kinds.items():
        answer = client.post("/api/image", content=data)
        assert answer.status_code == 200, (kind, answer.text)
        assert np.array_equal(load(answer.content)["image"], decode(data, 32, "crop")), kind


def test_every_bad_image_is_refused_with_its_reason(
    client: TestClient, bad_images: dict[str, tuple[bytes, str]]
) -> None:
    for name, (data, reason) in bad_images.items():
        answer = client.post("/api/image", content=data)
        assert answer.status_code == 415, name
        assert reason.replace("89,478,485", "50,000,000") in answer.json()["detail"]


def test_an_upload_with_more_bytes_or_pixels_than_allowed_is_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_BYTES", 1000)
    assert client.post("/api/image", content=bytes(1001)).status_code == 413
    # A stream without a length.
    assert client.post("/api/image", content=(bytes(100) for _ in range(11))).status_code == 413
    monkeypatch.undo()
    answer = client.post("/api/image", content=encoded(Image.new("1", (7_100, 7_100))))
    assert answer.status_code == 415
    assert "50,000,000 pixels" in answer.json()["detail"]


def test_a_slow_upload_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, run_async: RunAsync
) -> None:
    monkeypatch.setattr(uploads, "UPLOAD_SECONDS", 0.05)

    async def slow_chunks() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(5)

    with pytest.raises(TimeoutError):
        run_async(uploads.receive(slow_chunks()))


def test_a_slow_upload_is_answered_with_408(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "UPLOAD_SECONDS", 0.05)
    with connect(server, INCOMPLETE) as visitor:
        assert visitor.recv(1000).startswith(b"HTTP/1.1 408")


def test_too_many_uploads_are_refused_and_abandoned_ones_make_room_and_log_nothing(
    server: str, caplog: pytest.LogCaptureFixture
) -> None:
    logging.getLogger("uvicorn.error").addHandler(caplog.handler)

    def upload() -> int:
        url = f"{server}/api/image"
        return httpx.post(url, content=png(), timeout=60, trust_env=False).status_code

    incomplete = [connect(server, INCOMPLETE) for _ in range(uploads.MAX_UPLOADS)]
    wait_until(lambda: upload() == 429)
    for visitor in incomplete:
        visitor.close()
    wait_until(lambda: upload() == 200)
    logging.getLogger("uvicorn.error").removeHandler(caplog.handler)
    assert caplog.text == ""


def test_at_most_max_decoders_run_at_a_time(
    monkeypatch: pytest.MonkeyPatch, run_async: RunAsync
) -> None:
    running: list[int] = []
    counts = []

    async def slow(*_: Any) -> np.ndarray:
        running.append(1)
        counts.append(len(running))
        await asyncio.sleep(0.01)
        running.pop()
        return np.zeros((32, 32, 3), np.uint8)

    async def body() -> AsyncIterator[bytes]:
        yield b"x"

    async def visit() -> None:
        decoder = uploads.UploadDecoder(ImageShape(32, 32), "crop")
        await asyncio.gather(*(decoder.decode(body()) for _ in range(uploads.MAX_UPLOADS)))

    monkeypatch.setattr(uploads, "decode_in_child", slow)
    run_async(visit())
    assert max(counts) == uploads.MAX_DECODERS


def test_a_decoder_that_takes_too_long_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_async: RunAsync
) -> None:
    pid_file = tmp_path / "pid"
    child = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr(uploads, "_CHILD", child.replace("{", "{{"))
    monkeypatch.setattr(uploads, "DECODING_SECONDS", 0.5)
    with pytest.raises(UnreadableError, match=r"0\.5 seconds"):
        run_async(uploads.decode_in_child(b"", ImageShape(32, 32), "crop"))
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_a_decoder_that_crashes_does_not_crash_the_server(
    monkeypatch: pytest.MonkeyPatch, run_async: RunAsync
) -> None:
    monkeypatch.setattr(uploads, "_CHILD", "import os; os.abort()")
    with pytest.raises(UnreadableError, match="crashed"):
        run_async(uploads.decode_in_child(b"", ImageShape(32, 32), "crop"))


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_a_decoders_memory_is_enough_for_the_largest_image_and_limited(
    monkeypatch: pytest.MonkeyPatch, run_async: RunAsync
) -> None:
    monkeypatch.setattr(uploads, "DECODING_SECONDS", 120.0)  # this test is about memory alone
    side = int(uploads.MAX_UPLOAD_PIXELS**0.5)
    large = encoded(Image.new("I;16", (side, side)), compress_level=1)
    assert run_async(uploads.decode_in_child(large, ImageShape(32, 32), "crop")).max() == 0
    less = "import sagan.explorer.uploads as p; p.MAX_MEMORY = 2**29; decode("
    monkeypatch.setattr(uploads, "_CHILD", uploads._CHILD.replace("decode({", less + "{"))
    assert run_async(uploads.decode_in_child(png(), ImageShape(32, 32), "crop")).shape == (
        32,
        32,
        3,
    )
    with pytest.raises(UnreadableError, match="more memory"):
        run_async(uploads.decode_in_child(large, ImageShape(32, 32), "crop"))


# Many visitors.

SERVER_WITH_SMALL_CACHE = """
import sys, torch, uvicorn
from sagan.model import open_model
from sagan.explorer.app import create_app
from sagan.explorer.sockets import listen

torch.set_num_threads(1)
with listen("127.0.0.1", 0) as listener:
    app = create_app(open_model(sys.argv[1]), None, cache_bytes=2**20)
    print(listener.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
"""


def test_fifty_visitors_at_once_are_served_without_errors_or_growing_memory(
    make_run: Callable[..., Path], start_python: Callable[..., Any]
) -> None:
    run = make_run(channels_g=8, channels_d=8)
    process = start_python(["-c", SERVER_WITH_SMALL_CACHE, run])
    url = f"http://127.0.0.1:{int(process.stdout.readline())}/api/sample?index=5&seed="

    def visit(seed: int) -> int:
        with urlopen(f"{url}{seed}") as answer:
            return len(answer.read())

    resident = []
    with ThreadPoolExecutor(50) as visitors:
        for first in range(0, 300, 50):
            sizes = set(visitors.map(visit, range(first, first + 50)))
            assert len(sizes) == 1
            resident.append(psutil.Process(process.pid).memory_info().rss)
    # The cache was full after the first round; the second half served another 6 MB.
    assert sizes.pop() > 40_000
    assert max(resident[3:]) - max(resident[:3]) < 4 * 2**20, resident


def test_samples_that_only_departed_visitors_requested_are_not_drawn(
    serve: Callable[[Path], str], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, gate = [], threading.Event()
    draw = Renderer.sample

    def draw_slowly(renderer: Renderer, request: SampleRequest) -> Any:
        drawn.append(request.seed)
        assert gate.wait(60)
        return draw(renderer, request)

    monkeypatch.setattr(Renderer, "sample", draw_slowly)
    url = serve(run)

    def visit(path: str) -> int:
        with urlopen(url + path, timeout=60) as answer:
            return answer.status

    with ThreadPoolExecutor(1) as patient:
        first = patient.submit(visit, "/api/sample?seed=0")
        wait_until(lambda: drawn == [0])
        for seed in range(1, 6):
            sample = f"GET /api/sample?seed={seed} HTTP/1.1\r\nHost: {{host}}\r\n\r\n"
            connect(url, sample).close()
        for _ in range(3):
            assert visit("/") == 200  # by now the server has noticed that they left
        gate.set()
        assert first.result() == 200
    assert visit("/api/sample?seed=9") == 200
    assert drawn == [0, 9]


# The shipped model.


def test_the_shipped_model_shows_a_sample_with_its_maps_within_150_ms() -> None:
    with TestClient(create_app(open_model("cifar10-32"), None), base_url=OWN) as client:
        page = client.get("/")
        assert page.status_code == 200
        assert "airplane" in page.text

        def seconds(seed: int) -> float:
            started = time.perf_counter()
            answer = client.get(f"/api/sample?seed={seed}")
            assert any(name.startswith("bytes/generator") for name in load(answer.content))
            return time.perf_counter() - started

        for seed in range(5):
            seconds(seed)
        # Other processes can only raise a median: the lowest of several is the server's own.
        medians: list[float] = []
        for first in (100, 200, 300):
            medians.append(median(map(seconds, range(first, first + 20))))
            if medians[-1] < 0.15:
                break
    assert min(medians) < 0.15, medians


# The run's history.


def test_the_history_is_sent_again_only_if_it_has_changed(client: TestClient) -> None:
    first = client.get("/api/run/history")
    assert first.json()["grids"] == [2, 4, 6]
    tag = first.headers["etag"]
    assert client.get("/api/run/history", headers={"if-none-match": tag}).status_code == 304
    assert client.get("/api/run/history", headers={"if-none-match": '"x"'}).status_code == 200


@pytest.mark.parametrize(("images", "folder"), [("grids", "samples"), ("attention", "attention")])
def test_an_image_is_the_runs_own_file(
    client: TestClient, run: Path, images: str, folder: str
) -> None:
    answer = client.get(f"/api/run/{images}/4")
    assert answer.content == (run / folder / "step-00000004.png").read_bytes()
    assert client.get(f"/api/run/{images}/5").status_code == 404
    assert client.get(f"/api/run/{images}/..%2f..%2fconfig").status_code in (404, 422)


def test_a_run_beside_it_has_a_history_and_images_of_its_own(
    client: TestClient, run: Path, unconditional_run: Path
) -> None:
    assert client.get("/api/beside/history").status_code == 404
    app = create_app(open_model(run), run, beside=unconditional_run)
    with TestClient(app, base_url=OWN) as both:
        assert both.get("/api/beside/history").json()["attention"] == [2, 4, 6]
        own = (unconditional_run / "samples" / "step-00000002.png").read_bytes()
        assert both.get("/api/beside/grids/2").content == own
        page = both.get("/").text
        assert "Samples of insects" in page
        assert "Attention of plain" in page


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_runs_whose_names_are_not_utf_8_are_shown(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / os.fsdecode(name) for name in (b"caf\xe9", b"th\xe9")]
    for path in paths:
        shutil.copytree(run, path)
    monkeypatch.chdir(paths[0])
    app = create_app(open_model("."), Path(), beside=paths[1])
    with TestClient(app, base_url=OWN) as client:
        page = client.get("/").text
    assert "Samples of caf\ufffd" in page
    assert "Samples of th\ufffd" in page


def test_browsers_do_not_show_what_another_run_or_version_left_in_their_cache(
    client: TestClient, run: Path, tmp_path: Path
) -> None:
    for path in ("/", "/static/served.js", "/api/run/history", "/api/run/grids/4"):
        assert client.get(path).headers["cache-control"] == "no-cache"
    other = tmp_path / "other"
    shutil.copytree(run, other)
    (other / "samples/step-00000006.png").rename(other / "samples/step-00000004.png")
    with TestClient(create_app(open_model(other), other), base_url=OWN) as other_client:
        for path in ("/api/run/grids/4", "/api/run/history"):
            first = client.get(path)
            known = {"if-none-match": first.headers["etag"]}
            assert client.get(path, headers=known).status_code == 304
            answer = other_client.get(path, headers=known)
            assert answer.status_code == 200
            assert answer.content != first.content


def test_a_model_file_has_no_training_tab(unconditional_run: Path) -> None:
    with TestClient(create_app(open_model(unconditional_run), None), base_url=OWN) as client:
        assert client.get("/api/run/history").status_code == 404
        assert "tablist" not in client.get("/").text
        assert client.get("/api/gallery?label=0").status_code == 400
        assert client.get("/api/sample").status_code == 200


# The address.


def test_it_binds_to_the_given_address_and_reports_one_that_is_not_available() -> None:
    with listen("127.0.0.1", 0) as taken:
        address, port = taken.getsockname()
        assert address == "127.0.0.1"
        with pytest.raises(SaganError, match=rf"127\.0\.0\.1:{port}.*--port"):
            listen("127.0.0.1", port)
    for nonsense in ("no such host", "a..b", "a" * 64 + ".b", "\udcff"):
        with pytest.raises(SaganError, match=f"cannot serve at '{nonsense}"):
            listen(nonsense, 0)


def test_without_a_given_port_another_replaces_one_that_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr("sagan.explorer.sockets.PORT", taken.getsockname()[1])
        with listen("127.0.0.1", None) as listener:
            assert listener.getsockname()[1] != taken.getsockname()[1]


def test_the_server_survives_running_out_of_memory_and_says_so(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Renderer, request: Any) -> bytes:
        torch.empty(2**60, dtype=torch.uint8)
        raise AssertionError

    with TestClient(create_app(open_model(run), run), base_url=OWN) as client:
        with monkeypatch.context() as patch:
            patch.setattr(Renderer, "gallery", full)
            response = client.get("/api/gallery")
        assert response.status_code == 503
        assert "memory" in response.json()["detail"]
        assert "\n" not in response.json()["detail"]
        assert client.get("/api/gallery").status_code == 200
