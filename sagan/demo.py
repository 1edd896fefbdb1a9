"""The first thing a newcomer runs: a model trained on the built-in pictures in minutes."""

import shlex
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from sagan.display import PackingProgress
from sagan.explain.draw import draw_figure
from sagan.gallery import save_image
from sagan.images.grid import enlarged, grid_columns, image_grid
from sagan.model import open_model
from sagan.training.session import Session, prepare

PRESET = "demo-32"
SAMPLES = 64
ENLARGED = 3  # 32 pixels are small on a screen
EXPLAINED = 4  # of the samples, in the attention figure

Train = Callable[[Session, Console, float], None]


def run_demo(out: Path, minutes: float, console: Console, train: Train) -> None:
    """Train for some minutes, write samples.png and attention.png, say what to try next.

    Args:
        out: the run directory; the same one again trains on.
        minutes: how long to train.
        console: where it shows itself.
        train: trains a session for a number of seconds.

    Raises:
        SaganError: the directory cannot be used.
    """
    print(f"training a self-attention GAN on 4,495 OpenMoji pictures for {minutes:g} minutes")
    with PackingProgress(console, "packing") as progress:
        session = prepare("openmoji", out, PRESET, {}, print, progress)
    train(session, console, 60 * minutes)
    generator = open_model(out).generator()
    samples, figure = out / "samples.png", out / "attention.png"
    images, maps = generator.sample(SAMPLES, return_attention=True)
    save_image(image_grid(enlarged(images, ENLARGED), grid_columns(SAMPLES, 0)), samples)
    explained = {name: attention[:EXPLAINED] for name, attention in maps.items()}
    draw_figure(figure, generator, images[:EXPLAINED], explained)
    named = shlex.quote(str(out))
    print(
        f"""
{samples}    what it draws so far
{figure}  what single pixels attend to while it draws

Next:
  sagan demo --out {named} --minutes {minutes:g}            train on for as long
  sagan explain {named} --out dots.png --query 16,10   ask about a pixel of your own
  sagan train --data YOUR_FOLDER --out runs/mine      train on your pictures
(where sagan is no command: . .venv/bin/activate first)"""
    )
