"""Load a model's static page over a simulated slow line, in Chromium, and say how long it takes.

    python scripts/slow_line.py cifar10-32
    python scripts/slow_line.py openmoji-64 --megabits 10 --latency 40

The page must be ready in less than 20 seconds, and its progress bar must move. Chromium simulates
the line for the page and its worker (`Network.emulateNetworkConditions`); nothing is in its cache.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from pages.hosting import chromium, hosted
from playwright.sync_api import Page

from sagan.errors import SaganError

MAX_SECONDS = 20.0
MIN_STAGES = 10  # of the progress bar that one must see on its way

# Every state of the bar, with the time since the page was asked for, in milliseconds.
RECORD = """addEventListener("DOMContentLoaded", () => {
  window.seen = [];
  const look = () => {
    const loading = document.querySelector("#loading");
    const value = loading.hidden ? 1 : loading.querySelector("progress").value;
    if (value !== seen.at(-1)?.[1]) seen.push([performance.now(), value]);
    if (!loading.hidden) requestAnimationFrame(look);
    else window.loaded = performance.now();
  };
  look();
})"""


def measure(page: Page, url: str, megabits: float, latency: float) -> tuple[float, float, int]:
    """Load a page.

    Returns:
        Seconds until the first view is shown, and until the networks can run; the number of states
        of the progress bar.
    """
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    line = {"downloadThroughput": megabits * 1e6 / 8, "uploadThroughput": megabits * 1e6 / 8}
    session.send("Network.emulateNetworkConditions", {"offline": False, "latency": latency, **line})
    page.add_init_script(RECORD)
    start = time.monotonic()
    page.goto(url, wait_until="commit")
    page.wait_for_selector("html.ready", timeout=120_000)
    shown = "() => !document.querySelector('#where').textContent.startsWith('No pixel')"
    while not page.evaluate(shown):
        time.sleep(0.02)
    first = time.monotonic() - start
    while page.evaluate("window.loaded ?? null") is None:
        if time.monotonic() - start > 300:
            raise SaganError("the page is not ready after 300 s")
        time.sleep(0.1)
    return first, page.evaluate("window.loaded") / 1000, len(page.evaluate("window.seen"))


def main() -> int:
    """Load the page; return 1 if that takes too long or the bar does not move."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="a run directory, a model file or a shipped model")
    parser.add_argument("--folder", type=Path, help="its static page, if there is one already")
    parser.add_argument("--megabits", type=float, default=10.0, help="of the line, per second")
    parser.add_argument("--latency", type=float, default=40.0, help="of the line, in milliseconds")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary) / "page"
        if not arguments.folder:
            from sagan.explorer.folder import write_folder  # with torch, which takes seconds

            write_folder(arguments.model, folder, print)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        with hosted(folder) as url, chromium() as browser:
            first, ready, stages = measure(
                browser.new_page(), url, arguments.megabits, arguments.latency
            )
    least = 8 * size / arguments.megabits
    print(f"{size:.1f} MB, at least {least:.1f} s at {arguments.megabits:g} Mbit/s")
    print(f"first view after {first:.1f} s, networks after {ready:.1f} s")
    print(f"{stages} states of the progress bar")
    return not (ready < MAX_SECONDS and stages >= MIN_STAGES)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except SaganError as error:
        sys.exit(f"error: {error}")
