"""The tracks of a training's film: what one or two runs saved step by step, for film.html."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sagan.errors import printable, shorten
from sagan.images.grid import GAP, captions_for, grid_columns, visible_scale
from sagan.report.snapshots import read_snapshot, snapshots, spread
from sagan.run.directory import RunDescription
from sagan.run.run import Run
from sagan.sampling import GRID_IMAGES, grid_labels

FILM_STATIC = Path(__file__).parent / "static"  # film.js and film.css
MAX_FRAMES = 16  # of a file's samples, and of its figures of attention: bounds its size
_SAMPLES, _ATTENTION = "samples", "attention"  # the folders of a run
_NOTHING_YET = "Nothing saved yet."
_NO_LAYER = "This generator has no attention layer."


@dataclass(frozen=True)
class Track:
    """Images of one kind that one run saved.

    Attributes:
        kind: the folder that they are in, "samples" or "attention".
        run: which run, 0 or 1.
        title: what they are, with the run's name if there are two.
        caption: what they have in common.
        missing: what to say while there are none.
        frames: step and URL of each, in order; the last one is shown first.
        width: at which to show them, in pixels; None for their own.
        names: of the columns of the images.
    """

    kind: str
    run: int
    title: str
    caption: str
    missing: str
    frames: Sequence[tuple[int, str]] = ()
    width: int | None = None
    names: Sequence[str] = ()


def tracks(runs: Sequence[Run]) -> list[Track]:
    """Return the tracks of one or two runs, without frames: samples first, then attention.

    If no run has attention, there are samples only.

    Raises:
        SaganError: the description of a run is damaged.
    """
    names = [f" of {name}" for name in run_names([run.path for run in runs])]
    if len(runs) == 1:
        names = [""]
    found = [
        Track(_SAMPLES, number, f"Samples{name}", "the same latents at every step", _NOTHING_YET)
        for number, name in enumerate(names)
    ]
    attends = [_has_attention(run) for run in runs]
    if any(attends):
        found += [
            Track(
                _ATTENTION,
                number,
                f"Attention{name}",
                "what single pixels attend to" if attends[number] else "",
                _NOTHING_YET if attends[number] else _NO_LAYER,
            )
            for number, name in enumerate(names)
        ]
    return found


def embedded_tracks(runs: Sequence[Run]) -> list[Track]:
    """Return the tracks of one or two runs with their images inside, as data: URLs.

    Of long runs, images are left out evenly. Samples are enlarged, with names at their columns.

    Raises:
        SaganError: the description of a run is damaged.
    """
    embedded = []
    for track in tracks(runs):
        run = runs[track.run]
        frames = _frames(run.path / track.kind, MAX_FRAMES // len(runs))
        filled = replace(track, frames=frames)
        embedded.append(_enlarged(filled, run.description) if track.kind == _SAMPLES else filled)
    return embedded


def run_names(paths: Sequence[Path]) -> list[str]:
    """Return the names of the runs' folders, or their paths if the names are the same."""
    names = [printable(path.resolve().name) for path in paths]
    return names if len(set(names)) == len(names) else [printable(str(path)) for path in paths]


def _has_attention(run: Run) -> bool:
    config = run.description.config
    return bool(config.attention_g) and config.attention_block == "attention"


def _enlarged(track: Track, description: RunDescription) -> Track:
    """Samples with their classes: at the columns or, failing that, in the caption."""
    shape, classes = description.config.shape, description.classes
    columns = grid_columns(GRID_IMAGES, len(classes))
    in_turn = [classes[label] for label in grid_labels(GRID_IMAGES, len(classes)) or ()]
    captions = captions_for(in_turn, columns)
    caption = track.caption
    if captions.images:
        caption += f", row by row, the classes in turn: {shorten(', '.join(classes))}"
    width = (columns * (shape.width + GAP) - GAP) * visible_scale(shape, GRID_IMAGES)
    return replace(track, caption=caption, width=width, names=captions.columns)


def _frames(folder: Path, most: int) -> list[tuple[int, str]]:
    """Step and data: URL of at most `most` of a folder's images."""
    return [
        (step, "data:image/png;base64," + base64.b64encode(content).decode())
        for step, path in spread(list(snapshots(folder).items()), most)
        if (content := read_snapshot(path)) is not None
    ]
