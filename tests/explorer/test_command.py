"""`sagan explore` from its start to Ctrl-C."""

import ipaddress
import os
import signal
import socket
import time
import webbrowser
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
import uvicorn
from fastapi.testclient import TestClient

from sagan.errors import SaganError
from sagan.explorer import sockets
from sagan.explorer.app import serve

Start = Callable[..., tuple[str, TestClient]]


def test_it_prints_its_url_serves_there_and_ends_quietly_on_ctrl_c(
    run: Path, start_python: Callable[..., Any]
) -> None:
    command = ["-m", "sagan", "explore", run, "--no-open", "--port", 0]
    process = start_python(command, os.environ | {"PYTHONUNBUFFERED": "1"})
    url = process.stdout.readline().split()[3]
    assert url.startswith("http://127.0.0.1:")
    with urlopen(f"{url}/api/run/history") as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


SLOW = """
import sys, time
from sagan.explorer.app import serve
from sagan.explorer.renderer import Renderer
Renderer.gallery = lambda self, request: print("computing", flush=True) or time.sleep(60)
serve(sys.argv[1], "127.0.0.1", 0, open_browser=False)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, {0}), (signal.SIGTERM, {143, -15})])
def test_it_ends_within_two_seconds_of_a_signal_whatever_it_is_computing(
    number: int, status: set[int], run: Path, start_python: Callable[..., Any]
) -> None:
    process = start_python(["-c", SLOW, run])
    url = process.stdout.readline().split()[3]
    with ThreadPoolExecutor(1) as visitor:
        answer = visitor.submit(urlopen, f"{url}/api/gallery")
        assert process.stdout.readline() == "computing\n"
        started = time.monotonic()
        process.send_signal(number)
        process.communicate(timeout=30)
        # A busy machine adds to the two seconds; the work alone takes 60.
        assert time.monotonic() - started < 4
        assert answer.exception(timeout=30) is not None
    assert process.returncode in status


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs opened in a browser."""
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    return opened


@pytest.fixture
def start(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Start:
    """start(name, host, open_browser): the printed URL and the application.

    The server ends as soon as someone could connect to that URL.
    """

    def start(
        name: Path = run, host: str = "127.0.0.1", open_browser: bool = True
    ) -> tuple[str, TestClient]:
        served: list[tuple[str, TestClient]] = []

        def look(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
            url = next(word for word in capsys.readouterr().out.split() if "//" in word)
            parts = urlsplit(url)
            socket.create_connection((parts.hostname, parts.port), timeout=30).close()
            served.append((url, TestClient(server.config.app, base_url=url)))

        monkeypatch.setattr(uvicorn.Server, "run", look)
        serve(str(name), host, 0, open_browser)
        return served[0]

    return start


def test_the_browser_opens_the_printed_url_unless_turned_off(
    start: Start, opened: list[str]
) -> None:
    url, _ = start()
    assert opened == [url]
    start(open_browser=False)
    assert opened == [url]


def test_without_a_screen_no_browser_takes_over_the_terminal(
    start: Start, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    start()
    assert opened == []


def has_ipv6() -> bool:
    """Whether this machine has a loopback address of version 6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("0.0.0.0", "127.0.0.1"),
        pytest.param(
            "::", "::1", marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
        ),
    ],
)
def test_bound_to_all_addresses_it_prints_one_for_others_and_opens_loopback(
    start: Start, opened: list[str], host: str, here: str
) -> None:
    url, client = start(host=host)
    shown, browser = urlsplit(url), urlsplit(opened[0])
    assert not ipaddress.ip_address(str(shown.hostname)).is_unspecified
    assert client.get("/").status_code == 200
    assert (browser.hostname, browser.port) == (here, shown.port)


def test_without_a_network_it_prints_the_loopback_address(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No route leads to the broadcast address unless broadcasting is enabled.
    monkeypatch.setattr(sockets, "_ELSEWHERE", {socket.AF_INET: "255.255.255.255"})
    url, _ = start(host="0.0.0.0", open_browser=False)
    assert urlsplit(url).hostname == "127.0.0.1"


def test_only_a_run_has_a_training_tab(start: Start, run: Path) -> None:
    for name, status in ((run, 200), (run / "checkpoints" / "step-00000006", 404)):
        _, client = start(name, open_browser=False)
        assert client.get("/api/run/history").status_code == status
        assert ("tablist" in client.get("/").text) == (status == 200)


def test_only_two_runs_can_be_shown_side_by_side(run: Path, tmp_path: Path) -> None:
    model_file = run / "checkpoints" / "step-00000006"
    with pytest.raises(SaganError, match=r"'.*step-00000006' is not a run directory"):
        serve(str(model_file), "127.0.0.1", 0, open_browser=False, beside=run)
    with pytest.raises(SaganError, match=r"not a run directory: it has no config\.json"):
        serve(str(run), "127.0.0.1", 0, open_browser=False, beside=tmp_path)
