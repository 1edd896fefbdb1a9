"""The first thing a newcomer runs: a model trained on the built-in pictures in minutes."""

from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from sagan.checkpoint import open_model
from sagan.display import PackingProgress
from sagan.explain.model import draw_figures
from sagan.gallery import write_samples
from sagan.training.session import Session, prepare

PRESET = "demo-32"
SAMPLES = 64
EXPLAINED = 4

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
    write_samples(generator, samples, SAMPLES, None, (), seed=0, truncation=1.0)
    images, maps = generator.sample(EXPLAINED, return_attention=True)
    draw_figures(images, maps, figure)
    print(
        f"""
{samples}    what it draws so far
{figure}  what single pixels attend to while it draws

Next:
  sagan demo --out {out} --minutes {minutes:g}            train on for as long
  sagan explain {out} --out dots.png --query 16,10   ask about a pixel of your own
  sagan train --data YOUR_FOLDER --out runs/mine      train on your pictures"""
    )
