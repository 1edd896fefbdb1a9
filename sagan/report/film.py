"""A film of a training: the grids of samples that it saved, one after the other."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from PIL import Image

from sagan.errors import SaganError
from sagan.images.credits import credit_options
from sagan.images.grid import (
    GAP,
    Captions,
    captioned_grid,
    captions_for,
    visible_scale,
)
from sagan.report.snapshots import read_grid, snapshots, spread
from sagan.run.run import Run
from sagan.sampling import GRID_IMAGES, grid_labels
from sagan.storage.files import write_image
from sagan.types import UInt8Array

FORMATS = {".gif": {}, ".webp": {"quality": 80}}  # with Pillow's options
# Pillow keeps all frames in memory, 100 MB at most, and half a minute of more would help nobody.
MAX_FRAMES = 60
MAX_FRAME_PIXELS = 2**19
FRAME_MILLISECONDS, LAST_MILLISECONDS = 120, 2400


def write_film(run: Path, out: Path) -> None:
    """Write an animation of the samples that a run saved: the same latents, step by step.

    Each frame shows its step and the names of classes. Samples are enlarged for people to see them
    well. Long runs are thinned evenly, and of large samples only some are shown.

    Args:
        run: a run directory, finished or not.
        out: FILE.gif or FILE.webp.

    Raises:
        SaganError: `run` is not a run directory, has saved no samples yet, or the file has another
            ending or cannot be written.
    """
    extension = out.suffix.lower()
    if extension not in FORMATS:
        raise SaganError(f"a film is called FILE.gif or FILE.webp, not '{out.name or out}'")
    found = Run(run)
    found.require()
    frames = _Frames(found)
    if not frames.shape:
        raise SaganError(f"'{run}' has saved no samples yet: train longer, then try again")
    images = [Image.fromarray(frame) for frame in frames.drawn()]
    durations = [FRAME_MILLISECONDS] * (len(images) - 1) + [LAST_MILLISECONDS]
    write_image(
        out,
        images[0],
        save_all=True,
        append_images=images[1:],
        duration=durations,
        loop=0,
        **FORMATS[extension],
        **credit_options(extension, found.description.credits),
    )


class _Frames:
    """The frames of a run's film. All have the shape of the newest grid; others are left out.

    Attributes:
        shape: of the newest grid that can be read; empty without one.
    """

    def __init__(self, run: Run) -> None:
        self._sample_shape = run.description.config.shape
        self._classes = run.description.classes
        self._paths = list(snapshots(run.path / "samples").items())
        self.shape: tuple[int, ...] = ()
        while self._paths and not self.shape:
            newest = read_grid(self._paths[-1][1], self._sample_shape)
            if newest is not None:
                self.shape = newest.shape
            else:
                self._paths.pop()

    def drawn(self) -> Iterator[UInt8Array]:
        """Yield each frame, uint8 (H, W, 3), in the order of steps."""
        rows, columns = self.shape[:2]
        scale = visible_scale(self._sample_shape, rows * columns)
        height, width = (side * scale + GAP for side in self._sample_shape[:2])
        most = MAX_FRAME_PIXELS // (height * width)
        # Columns first, since they are classes, but of large samples not just one long row.
        while columns > 4 * (most // columns) and columns > 1:
            columns -= 1
        rows = max(1, min(rows, most // columns))
        names = self._names(rows, columns)
        for step, path in spread(self._paths, MAX_FRAMES):
            cells = read_grid(path, self._sample_shape)
            if cells is not None and cells.shape == self.shape:
                images = cells[:rows, :columns].reshape(-1, *cells.shape[2:])
                title = " · ".join(filter(None, (f"step {step:,}", names.title)))
                captions = Captions(title, names.columns, (), names.images)
                yield captioned_grid(images, columns, scale, captions)

    def _names(self, rows: int, columns: int) -> Captions:
        """The class names of the shown cells, in the order of the labels of a saved grid."""
        in_turn = grid_labels(GRID_IMAGES, len(self._classes)) or []
        across = self.shape[1]
        shown = chain.from_iterable(in_turn[row * across :][:columns] for row in range(rows))
        return captions_for([self._classes[label] for label in shown], columns)
