"""The server answers its own page and nobody else, whatever it is sent."""

import asyncio
import io
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from PIL import Image
from safetensors.numpy import load
from schemathesis.checks import CHECKS
from schemathesis.generation import GenerationMode

from sagan.checkpoint import open_model
from sagan.data.decode import UnreadableError, decode
from sagan.errors import SaganError
from sagan.explorer import pictures
from sagan.explorer.app import create_app, listen
from sagan.explorer.guard import is_own_host

OWN = "http://127.0.0.1:7326"

RunAsync = Callable[[Any], Any]


@pytest.fixture(scope="module")
def client(run: Path) -> Iterator[TestClient]:
    with TestClient(create_app(open_model(run), run), base_url=OWN) as client:
        yield client


def png(side: int = 40) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


# Who may ask.


@pytest.mark.parametrize("host", ["127.0.0.1:7326", "localhost", "localhost:1", "[::1]:7326"])
def test_the_page_is_served_under_the_names_of_this_machine(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "evil.example:7326", "10.0.0.7", "", "[", "@"],
)
def test_a_name_that_was_pointed_at_this_machine_is_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/api/sample", "/static/live.js"):
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
def test_beyond_loopback_any_address_will_do_and_no_other_name(
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
def test_requests_from_other_pages_are_refused(client: TestClient, headers: dict) -> None:
    assert client.get("/api/gallery", headers=headers).status_code == 403
    assert client.post("/api/picture", content=png(), headers=headers).status_code == 403


def test_a_link_from_elsewhere_leads_to_the_page(client: TestClient) -> None:
    assert client.get("/", headers={"sec-fetch-site": "cross-site"}).status_code == 200
    own = {"origin": OWN, "sec-fetch-site": "same-origin"}
    assert client.post("/api/picture", content=png(), headers=own).status_code == 200


def test_every_answer_forbids_other_hosts_frames_and_guessing_of_types(client: TestClient) -> None:
    for path in ("/", "/api/sample", "/static/live.js", "/static/../app.py", "/nowhere"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_a_class_name_cannot_end_the_element_that_it_stands_in(client: TestClient) -> None:
    assert "<i>cat" not in client.get("/").text


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static//etc/passwd"]
)
def test_files_beside_the_pages_are_not_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


# What is asked.


@pytest.mark.parametrize(
    ("mode", "paths"),
    [
        (
            GenerationMode.POSITIVE,
            [
                "/",
                "/api/gallery",
                "/api/sample",
                "/api/picture",
                "/api/run/history",
                "/api/run/grids/{step}",
            ],
        ),
        # Of the others nothing that can be sent is against the schema.
        (GenerationMode.NEGATIVE, ["/api/gallery", "/api/sample"]),
    ],
)
def test_schemathesis_finds_nothing_that_the_schema_does_not_say(
    server: str, mode: GenerationMode, paths: list[str]
) -> None:
    schema = schemathesis.openapi.from_url(f"{server}/api/openapi.json")
    # A number of the right kind may be no class of this model, bytes may be no picture.
    excluded = [check for check in CHECKS.get_all() if check.__name__ == "positive_data_acceptance"]
    operations = {operation.path: operation for operation in map(_ok, schema.get_all_operations())}
    assert operations.keys() >= set(paths)
    for path in paths:
        examples = 4 if path == "/api/picture" else 10  # each starts a process

        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
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
    ],
)  # fmt: skip
def test_values_that_make_no_sense_are_the_askers_fault(client: TestClient, query: str) -> None:
    answer = client.get(f"/api/sample?{query}")
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]


def test_another_method_or_path_is_told_apart_from_a_fault(client: TestClient) -> None:
    assert client.post("/api/sample").status_code == 405
    assert client.get("/api/picture").status_code == 405
    assert client.get("/api/nothing").status_code == 404
    assert client.get("/docs").status_code == 404  # would load scripts from another host


# A picture of the visitor's.


def test_a_picture_is_cropped_and_resized_as_for_training(client: TestClient) -> None:
    tensors = load(client.post("/api/picture", content=png(50)).content)
    assert np.array_equal(tensors["picture"], decode(png(50), 32, "crop"))
    assert "bytes/discriminator.attention_16" in tensors
    assert "bytes/generator.attention_16" not in tensors
    assert tensors["scores"].shape == (3,)


def test_every_bad_picture_is_refused_with_its_reason(
    client: TestClient, bad_pictures: dict[str, tuple[bytes, str]]
) -> None:
    for name, (data, reason) in bad_pictures.items():
        answer = client.post("/api/picture", content=data)
        assert answer.status_code == 415, name
        assert reason.replace("89,478,485", "50,000,000") in answer.json()["detail"]


def test_a_picture_of_more_bytes_or_pixels_than_allowed_is_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MAX_BYTES", 1000)
    assert client.post("/api/picture", content=bytes(1001)).status_code == 413
    # A stream that does not say how long it is.
    assert client.post("/api/picture", content=(bytes(100) for _ in range(11))).status_code == 413
    large = io.BytesIO()
    Image.new("1", (7_100, 7_100)).save(large, "PNG")
    monkeypatch.undo()
    answer = client.post("/api/picture", content=large.getvalue())
    assert answer.status_code == 415
    assert "50,000,000 pixels" in answer.json()["detail"]


def test_who_dawdles_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, run_async: RunAsync
) -> None:
    monkeypatch.setattr(pictures, "ARRIVAL_SECONDS", 0.05)

    async def dawdle() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.sleep(5)

    with pytest.raises(TimeoutError):
        run_async(pictures.received(dawdle()))


def test_a_picture_that_takes_too_long_to_decode_is_given_up_and_its_process_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_async: RunAsync
) -> None:
    told = tmp_path / "pid"
    child = f"import os, time; open({str(told)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr(pictures, "_CHILD", child.replace("{", "{{"))
    monkeypatch.setattr(pictures, "DECODING_SECONDS", 0.5)
    with pytest.raises(UnreadableError, match=r"0\.5 seconds"):
        run_async(pictures.decoded(b"", 32, "crop"))
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


def test_a_decoder_that_crashes_takes_nothing_with_it(
    monkeypatch: pytest.MonkeyPatch, run_async: RunAsync
) -> None:
    monkeypatch.setattr(pictures, "_CHILD", "import os; os.abort()")
    with pytest.raises(UnreadableError, match="crashed"):
        run_async(pictures.decoded(b"", 32, "crop"))


# Many at once.


def test_fifty_visitors_at_once_are_served_without_an_error_or_growing_memory(server: str) -> None:
    def visit(seed: int) -> int:
        with urlopen(f"{server}/api/sample?seed={seed}&index=5") as answer:
            return len(answer.read())

    resident = []
    with ThreadPoolExecutor(50) as visitors:
        for first in range(0, 400, 50):
            sizes = set(visitors.map(visit, range(first, first + 50)))
            assert len(sizes) == 1
            resident.append(resident_bytes())
    remembered = 4 * 50 * sizes.pop()  # what four rounds leave in the server's own memory
    assert resident[-1] - resident[-5] < remembered + 8 * 2**20, resident


def resident_bytes() -> int:
    if not Path("/proc/self/statm").exists():
        return 0
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# The run.


def test_the_history_is_sent_again_only_when_it_changed(client: TestClient) -> None:
    first = client.get("/api/run/history")
    assert first.json()["grids"] == [2, 4, 6]
    tag = first.headers["etag"]
    assert client.get("/api/run/history", headers={"if-none-match": tag}).status_code == 304
    assert client.get("/api/run/history", headers={"if-none-match": '"x"'}).status_code == 200


def test_a_grid_is_the_runs_own_file(client: TestClient, run: Path) -> None:
    answer = client.get("/api/run/grids/4")
    assert answer.content == (run / "samples" / "step-00000004.png").read_bytes()
    assert client.get("/api/run/grids/5").status_code == 404
    assert client.get("/api/run/grids/..%2f..%2fconfig").status_code in (404, 422)


def test_a_model_file_has_no_training_tab(unconditional_run: Path) -> None:
    with TestClient(create_app(open_model(unconditional_run), None), base_url=OWN) as client:
        assert client.get("/api/run/history").status_code == 404
        assert "tablist" not in client.get("/").text
        assert client.get("/api/gallery?label=0").status_code == 400
        assert client.get("/api/sample").status_code == 200


# Where it listens.


def test_it_listens_on_this_machine_only_unless_told_otherwise_and_says_when_it_cannot() -> None:
    with listen("127.0.0.1", 0) as taken:
        address, port = taken.getsockname()
        assert address == "127.0.0.1"
        with pytest.raises(SaganError, match=rf"127\.0\.0\.1:{port}.*--port"):
            listen("127.0.0.1", port)
    with pytest.raises(SaganError, match="cannot serve at no such host"):
        listen("no such host", 0)


def test_without_a_port_given_a_taken_one_is_gone_round(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr("sagan.explorer.app.PORT", taken.getsockname()[1])
        with listen("127.0.0.1", None) as listener:
            assert listener.getsockname()[1] != taken.getsockname()[1]
