"""Take the first screens of the page: every shipped model, desktop and phone, light and dark.

    python scripts/first_screens.py                      # into screens/
    python scripts/first_screens.py openmoji-64 --docs   # the light ones also into docs/images

needs Chromium or Chrome (`scripts/install-chromium`) and the extra `dev`. Each screen is what the
page opens with, after a visitor has seen the tour; nothing moves, as for visitors who prefer that.
They are written as MODEL-DEVICE-COLORS.png, with the credits of the model's images.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from pages.hosting import DESKTOP, PHONE, TOUR_WAS_SEEN, chromium, wait_until_ready
from PIL import Image

from sagan.errors import SaganError
from sagan.gallery import save_image
from sagan.model import open_model, shipped_models

ROOT = Path(__file__).parents[1]
# The devices' screens, the pixels of theirs for one of CSS, and the docs' names for their pictures.
DEVICES = {"desktop": (DESKTOP, 1, "explorer.png"), "phone": (PHONE, 2, "explorer-phone.png")}
COLORS = ("light", "dark")


@contextmanager
def explored(model: str) -> Iterator[str]:
    """The URL of `sagan explore` for a model."""
    command = [sys.executable, "-u", "-m", "sagan", "explore", model, "--no-open"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        lines = iter(server.stdout.readline, "")
        address = next((word for line in lines for word in line.split() if "http:" in word), None)
        if address is None:
            raise SaganError(f"sagan explore {model} did not start")
        yield address
    finally:
        server.terminate()
        server.wait()


def take(model: str, out: Path) -> None:
    """Write the screens of one model."""
    credits = open_model(model).credits
    with explored(model) as url, chromium() as browser:
        for device, (size, scale, _) in DEVICES.items():
            for colors in COLORS:
                context = browser.new_context(
                    viewport={"width": size[0], "height": size[1]},
                    device_scale_factor=scale,
                    color_scheme="dark" if colors == "dark" else "light",
                    reduced_motion="reduce",
                )
                context.add_init_script(TOUR_WAS_SEEN)
                page = context.new_page()
                page.goto(url)
                wait_until_ready(page)
                page.wait_for_timeout(1000)  # the gallery is filled last
                with Image.open(BytesIO(page.screenshot())) as screen:
                    pixels = np.asarray(screen.convert("RGB"))
                path = out / f"{model}-{device}-{colors}.png"
                save_image(pixels, path, credits)
                print(f"wrote {path}", flush=True)
                context.close()


def main() -> None:
    """Take the screens."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", help="by default all shipped models")
    parser.add_argument("--out", type=Path, default=Path("screens"), help="folder for the screens")
    parser.add_argument("--docs", action="store_true", help="replace those in docs/images, too")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    models = arguments.models or list(shipped_models())
    if arguments.docs and len(models) > 1:
        raise SaganError("name the one model that docs/images show: openmoji-64 --docs")
    for model in models:
        take(model, arguments.out)
    if arguments.docs:
        for device, (_, _, name) in DEVICES.items():
            screen = arguments.out / f"{models[0]}-{device}-light.png"
            shutil.copyfile(screen, ROOT / "docs" / "images" / name)
            print(f"wrote docs/images/{name}")


if __name__ == "__main__":
    try:
        main()
    except SaganError as error:
        sys.exit(f"error: {error}")
