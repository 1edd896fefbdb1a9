"""The first command to try: it trains a model on the built-in images within minutes."""

import math
import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from sagan.display import PackingProgress
from sagan.errors import SaganError
from sagan.explain.draw import draw_figure
from sagan.gallery import save_image
from sagan.images.grid import captioned_grid, captions_for, grid_columns, visible_scale
from sagan.model import open_model
from sagan.run.run import Run
from sagan.runtime.processes import join_processes
from sagan.runtime.shell import quoted
from sagan.sampling import grid_labels
from sagan.storage.files import refuse_links
from sagan.training.session import Session, prepare_session
from sagan.training.time_plan import make_plan

PRESET = "demo-32"
DATA = "avatars@10000"
SAMPLES = 64
EXPLAINED = 4  # samples in the attention figure
ACTIVATE = r".venv\Scripts\activate" if os.name == "nt" else ". .venv/bin/activate"

Train = Callable[[Session, Console], None]


def run_demo(
    out: Path, minutes: float, console: Console, train: Train, device: str | None = None
) -> None:
    """Train for some minutes, write samples.png and attention.png, and suggest what to try next.

    Args:
        out: the run directory; if it already holds a run, training resumes.
        minutes: how long to train.
        console: where to show the progress.
        train: trains a session for a number of seconds.
        device: where to train (see `sagan.runtime.device.choose_device`).

    Raises:
        SaganError: the minutes are not finite, or the device or the directory cannot be used.
    """
    if not math.isfinite(minutes):
        raise SaganError(f"--minutes {minutes} is not a number of minutes")
    refuse_links(out, ("samples.png", "attention.png"))
    join_processes(device)
    run = Run(out)
    done = run.description.config.minutes if run.exists else 0.0
    print(f"training a self-attention GAN on drawn faces for {minutes:g} minutes")
    with PackingProgress(console, "packing") as progress:
        session = prepare_session(DATA, out, PRESET, {"minutes": done + minutes}, print, progress)
    train(make_plan(session, print), console)
    # 64 samples are drawn in a second on any CPU.
    generator = open_model(out).generator()
    samples, figure = out / "samples.png", out / "attention.png"
    labels = grid_labels(SAMPLES, generator.num_classes)
    names = [generator.classes[label] for label in labels or ()]
    images, maps = generator.sample(SAMPLES, labels, return_attention=True)
    columns = grid_columns(SAMPLES, generator.num_classes)
    scale, credits = visible_scale(generator.resolution, SAMPLES), session.description.credits
    grid = captioned_grid(images, columns, scale, captions_for(names, columns))
    save_image(grid, samples, credits)
    explained = {name: attention[:EXPLAINED] for name, attention in maps.items()}
    titles = names[:EXPLAINED]
    draw_figure(figure, generator, images[:EXPLAINED], explained, titles=titles, credits=credits)
    print(
        f"""
{samples}    samples drawn by the model so far
{figure}  what single pixels attend to in them

Next:
  sagan demo --out {quoted(out)} --minutes {minutes:g}            train for {minutes:g} minutes more
  sagan explain {quoted(out)} --out dots.png --query 16,10   ask about another pixel
  sagan train --data YOUR_FOLDER --out runs/mine      train on your own pictures
(if sagan is not found, run this first: {ACTIVATE})"""
    )
