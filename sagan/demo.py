"""The first command to try: what a trained model draws, then a model trained within minutes."""

import math
import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from sagan.display import PackingProgress, rough_duration
from sagan.errors import SaganError
from sagan.explain.draw import draw_figure
from sagan.gallery import save_image
from sagan.images.grid import captioned_grid, captions_for, grid_columns, visible_scale
from sagan.model import Model, open_model
from sagan.report.strip import write_strip
from sagan.run.checkpoint import step_of
from sagan.run.directory import check_run_folder
from sagan.run.run import Run
from sagan.runtime.processes import join_processes, refuse_launcher
from sagan.runtime.shell import quoted
from sagan.sampling import grid_labels
from sagan.storage.files import refuse_links
from sagan.training.session import Session, prepare_session
from sagan.training.time_plan import make_plan

DATA = "avatars:toon-head@8000"
SHIPPED = "avatars-64"
SAMPLES = 60
EXPLAINED = 4  # samples in an attention figure
FILES = ("trained.png", "samples.png", "attention.png", "progress.png")
# The README's picture: three minutes of two cores without bfloat16.
README_STEPS = 738
ACTIVATE = r".venv\Scripts\activate" if os.name == "nt" else ". .venv/bin/activate"

Train = Callable[[Session, Console], None]


def run_demo(
    out: Path,
    minutes: float,
    console: Console,
    train: Train,
    device: str | None = None,
    start: str | None = None,
) -> None:
    """Show a trained model's attention, train a model of faces for some minutes, and show it.

    Args:
        out: the run directory; if it already holds a run, training resumes.
        minutes: how long to train.
        console: where to show the progress.
        train: trains a session.
        device: where to train (see `sagan.runtime.device.choose_device`).
        start: a model to start from; None trains from scratch.

    Raises:
        SaganError: the minutes are not finite, or the device or the directory cannot be used.
    """
    if not math.isfinite(minutes):
        raise SaganError(f"--minutes {minutes} is not a number of minutes")
    refuse_links(out, FILES)
    refuse_launcher("start sagan demo without a launcher")
    join_processes(device)
    trained, samples, attention, progress_strip = (out / name for name in FILES)
    run = Run(out)
    earlier = run.description.config.minutes if run.exists else 0.0
    if not run.exists:
        check_run_folder(out)
        _draw_attention(open_model(SHIPPED), trained)
        print(f"{trained}: what a trained model draws ({SHIPPED}), and what it attends to")
        how = f"{f'on from {start}' if start else 'one from scratch'}, for {minutes:g} minutes"
    else:
        newest = run.newest_checkpoint
        done = step_of(newest) if newest is not None else 0
        how = f"the run in {out} on from step {done:,}, to {earlier + minutes:g} minutes in all"
    print(f"now training {how}, on drawings of faces")
    with PackingProgress(console, "packing") as progress:
        session = prepare_session(
            DATA, out, None, {"minutes": earlier + minutes}, print, progress, start
        )
    train(make_plan(session, print), console)
    model = open_model(out)
    _draw_grid(model, samples)
    _draw_attention(model, attention)
    write_strip(out, progress_strip)
    print(
        f"""
{samples}    samples drawn by your model
{attention}  what single pixels attend to in them
{progress_strip}   how they came about
{_how_far(out, model.step)}

Next:
  sagan demo --out {quoted(out)} --minutes {minutes:g}            train for {minutes:g} minutes more
  sagan explain {quoted(out)} --out dots.png --query 16,10   ask about another pixel
  sagan train --data YOUR_FOLDER --out runs/mine --minutes 60   your own pictures
(if sagan is not found, run this first: {ACTIVATE})"""
    )


def _draw_grid(model: Model, out: Path) -> None:
    """Write samples of all classes; 60 are drawn in a second on any CPU."""
    generator = model.generator()
    labels = grid_labels(SAMPLES, generator.num_classes)
    columns = grid_columns(SAMPLES, generator.num_classes)
    names = [model.classes[label] for label in labels or ()]
    grid = captioned_grid(
        generator.sample(SAMPLES, labels),
        columns,
        visible_scale(generator.shape, SAMPLES),
        captions_for(names, columns),
    )
    save_image(grid, out, model.credits)


def _draw_attention(model: Model, out: Path) -> None:
    generator = model.generator()
    labels = grid_labels(EXPLAINED, generator.num_classes)
    titles = [model.classes[label] for label in labels or ()]
    images, maps = generator.sample(EXPLAINED, labels, return_attention=True)
    draw_figure(out, generator, images, maps, titles=titles, credits=model.credits)


def _how_far(run: Path, step: int) -> str:
    """Return a line that compares the training with the README's, at the speed just measured."""
    if step >= README_STEPS:
        return f"{step:,} steps; the README's picture took {README_STEPS:,}"
    seconds = Run(run).records[-1]["seconds"] / step
    left = rough_duration((README_STEPS - step) * seconds)
    return f"{step:,} of the {README_STEPS:,} steps of the README's picture: {left} more here"
