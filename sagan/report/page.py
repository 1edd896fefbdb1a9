"""A run's report as one HTML page that needs no network and no other file."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sagan.errors import SaganError, shorten
from sagan.images.grid import GAP, captions_for, grid_columns, visible_scale
from sagan.report.curves import drawn_panels
from sagan.report.html import render
from sagan.report.snapshots import read_snapshot, snapshots, spread
from sagan.run.directory import RunDescription
from sagan.run.run import Run
from sagan.run.stats import Record
from sagan.sampling import GRID_IMAGES, grid_labels
from sagan.storage.files import check_page_name, write_bytes

REPORT_TEMPLATES = Path(__file__).parent / "templates"

MAX_FRAMES = 16  # images of a timelapse: bounds the size of the page
ATTENTION = {
    "distance": "distance, pixels",
    "entropy": "entropy, nats",
    "concentration": "share of keys with half of the attention",
}


@dataclass(frozen=True)
class Timelapse:
    """Images over time, with a slider.

    Attributes:
        name: names it in the style sheet.
        title: its heading.
        caption: what all images have in common.
        frames: step and data: URL of each image, in order; the last one is shown first.
        width: at which to show the images, in pixels; None for their own.
        names: of the columns of the images.
    """

    name: str
    title: str
    caption: str
    frames: Sequence[tuple[int, str]]
    width: int | None = None
    names: Sequence[str] = ()


def write_report(run: Path, out: Path) -> None:
    """Write one HTML file on a run: its samples, its curves, its configuration and environment.

    Args:
        run: a run directory, finished or not.
        out: FILE.html.

    Raises:
        SaganError: `run` is not a run directory, nothing has been recorded yet, or the file cannot
            be written.
    """
    found = Run(run)
    found.require()
    check_page_name(out)
    if not found.records:
        raise SaganError(f"'{run}' has recorded nothing yet: train longer, then try again")
    # JSON from elsewhere may contain half a surrogate pair, which UTF-8 cannot encode.
    write_bytes(out, _page(found).encode(errors="backslashreplace"))


def _page(run: Run) -> str:
    description = run.description
    first, latest = _merged(run.records[::-1]), _merged(run.records)
    attention = _frames(run.path / "attention")
    timelapses = (
        _samples(description, _frames(run.path / "samples")),
        Timelapse("attention", "Attention", "what single pixels attend to", attention),
    )
    return render(
        REPORT_TEMPLATES / "run.html",
        title=run.path.resolve().name,
        preset=description.preset,
        num_images=description.data.get("images"),
        source=description.data.get("source"),
        numbers=_key_numbers(latest),
        timelapses=[timelapse for timelapse in timelapses if timelapse.frames],
        panels=drawn_panels(run.records),
        attention_headings=ATTENTION.values(),
        attention=_attention_over_time(first, latest),
        configuration=_as_text(description.config.model_dump(mode="json")),
        environment=_as_text(run.environment),
        credits=description.credits.splitlines(),
    )


def _merged(records: Sequence[Record]) -> Record:
    """The last value of everything that was recorded."""
    merged: Record = {}
    for record in records:
        merged |= record
    return merged


def _key_numbers(latest: Record) -> dict[str, str]:
    """The latest values that show at a glance how the run went."""
    shown = {"step": f"{latest['step']:,}"}
    if "seconds" in latest:
        shown["minutes of updates"] = f"{latest['seconds'] / 60:.1f}"
    if latest.get("dropped"):
        shown["updates dropped"] = f"{latest['dropped']:,.0f}"
    for name, value in latest.items():
        kind, _, rest = name.partition("/")
        if kind in ("metric", "gamma") and rest != "seconds" and isinstance(value, float):
            shown[rest if kind == "metric" else f"gamma of {rest}"] = f"{value:.4g}"
    return shown


def _attention_over_time(first: Record, latest: Record) -> dict[str, list[str]]:
    """{layer: its first and its latest value of each of ATTENTION}."""
    layers = [
        name.split("/")[1]
        for name in latest
        if name.startswith("attention/") and name.endswith("/entropy")
    ]
    return {
        layer: [_change(f"attention/{layer}/{measure}", first, latest) for measure in ATTENTION]
        for layer in layers
    }


def _change(name: str, first: Record, latest: Record) -> str:
    return " → ".join(
        f"{record[name]:.3g}" if name in record else "?" for record in (first, latest)
    )


def _samples(description: RunDescription, frames: Sequence[tuple[int, str]]) -> Timelapse:
    """The saved grids, enlarged, with names at their columns or, failing that, in the caption."""
    shape, classes = description.config.shape, description.classes
    columns = grid_columns(GRID_IMAGES, len(classes))
    in_turn = [classes[label] for label in grid_labels(GRID_IMAGES, len(classes)) or ()]
    captions = captions_for(in_turn, columns)
    caption = "the same latents at every step"
    if captions.images:
        caption += f", row by row, the classes in turn: {shorten(', '.join(classes))}"
    width = (columns * (shape.width + GAP) - GAP) * visible_scale(shape, GRID_IMAGES)
    return Timelapse("samples", "Samples", caption, frames, width, captions.columns)


def _frames(folder: Path) -> list[tuple[int, str]]:
    """Step and data: URL of at most MAX_FRAMES of a folder's images."""
    return [
        (step, "data:image/png;base64," + base64.b64encode(content).decode())
        for step, path in spread(list(snapshots(folder).items()), MAX_FRAMES)
        if (content := read_snapshot(path)) is not None
    ]


def _as_text(content: Mapping[str, Any]) -> dict[str, str]:
    return {
        str(key): value if isinstance(value, str) else json.dumps(value)
        for key, value in content.items()
    }
