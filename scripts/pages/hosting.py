"""A static page behind `python -m http.server`, and browsers to open it in."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from sagan.errors import SaganError

CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FIREFOX = ("firefox", "firefox-esr")
DESKTOP = (1440, 900)
PHONE = (360, 740)
# The tour moves the point on a first visit.
TOUR_WAS_SEEN = "try { localStorage.setItem('sagan-tour', 'seen') } catch {}"
_SECONDS = 180  # for what takes a second on a free core


@contextmanager
def hosted(folder: Path) -> Iterator[str]:
    """The URL of a folder behind `python -m http.server`, on a free port of 127.0.0.1."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    server = subprocess.Popen(
        [*command, "--directory", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert server.stdout is not None
        port = server.stdout.readline().split(" port ")[1].split()[0]  # "... port 8000 (http..."
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait()


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's Chromium or Chrome, without a window."""
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=_installed(CHROMIUM),
            args=[*sandbox, "--disable-gpu", "--disable-dev-shm-usage"],
            timeout=1000 * _SECONDS,
        )
        yield browser
        browser.close()


@contextmanager
def firefox() -> Iterator[Browser]:
    """The system's Firefox, without a window, over WebDriver BiDi."""
    with sync_playwright() as playwright:
        browser = playwright.firefox.launch(
            executable_path=_installed(FIREFOX),
            channel="moz-firefox",  # an unmodified one, not Playwright's own build
            timeout=1000 * _SECONDS,
        )
        yield browser
        browser.close()


def _installed(names: tuple[str, ...]) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise SaganError(f"none of these browsers is installed: {', '.join(names)}")
    return found


def wait_until_ready(page: Page) -> None:
    """Wait until a page shows a sample with a point on it and, if static, its networks run."""
    wait_for(
        page,
        """() => document.querySelector("html.ready")
          && !document.querySelector("#where").textContent.startsWith("No pixel")
          && (document.querySelector("#loading")?.hidden ?? true)""",
    )


def wait_for(page: Page, condition: str) -> None:
    """Wait for a JavaScript function to return true.

    Playwright's own wait evaluates text inside the page, which its Content-Security-Policy forbids
    in Firefox.
    """
    until = time.monotonic() + _SECONDS
    while not page.evaluate(condition):
        if time.monotonic() > until:
            raise SaganError(f"after {_SECONDS} s, still not: {condition}")
        time.sleep(0.1)


def set_screen(page: Page, size: tuple[int, int]) -> None:
    """Set a page's width and height, in CSS pixels."""
    page.set_viewport_size({"width": size[0], "height": size[1]})
