"""Choose samples: labels in turn, and latents between two others."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor, distributed

from sagan.errors import SaganError, reason
from sagan.model import Model, open_model
from sagan.nn.base import BATCH_SIZE, GeneratorBase
from sagan.nn.inputs import given_latents
from sagan.run.checkpoint import folder_of
from sagan.run.directory import is_run
from sagan.runtime.memory import check_memory
from sagan.runtime.watch import waiting_for
from sagan.types import Float32Array, UInt8Array

GRID_IMAGES = 80  # in the grids that a training saves


def open_same_model(path_or_name: str | Path) -> Model:
    """Open the same model in every process, each of which calls this.

    The newest checkpoint of a run may change while the run trains, so the main process chooses one
    for all.

    Raises:
        SaganError: the model is missing or damaged, or not the same on all machines.
    """
    if not distributed.is_initialized():
        return open_model(path_or_name)
    from sagan.runtime.processes import check_agreement, gather_objects

    path, problem, model = Path(path_or_name), None, None
    try:
        model = open_model(path_or_name)
    except SaganError as error:
        problem = error
    step = gather_objects(model.step if model is not None else 0)[0]
    if model is not None and model.step != step and is_run(path):
        with suppress(SaganError):
            model = replace(open_model(folder_of(path, step)), origin=str(path_or_name))
    found = model.sha256()[:16] if model is not None else "missing or damaged"
    check_agreement(
        {f"the model '{path_or_name}'": found},
        "every machine needs the same model under the same name",
    )
    if problem is not None:
        raise problem
    assert model is not None
    return model


def read_latents(path: Path, size: int) -> Float32Array:
    """Read latents from a .npy file: float32 (num, size).

    Args:
        path: the file; of anybody, so nothing in it is run.
        size: length of a latent vector.

    Raises:
        SaganError: it cannot be read, or does not have such latents.
    """
    if not path.is_file():  # a pipe would wait
        raise SaganError(f"cannot read the latents '{path}': there is no such file")
    try:
        array = npy.open_memmap(path, mode="r")  # refuses pickled objects and anything but .npy
    except OSError as error:
        raise SaganError(f"cannot read the latents '{path}': {reason(error)}") from None
    except Exception:  # the header is parsed as Python, which can raise anything
        raise SaganError(f"'{path}' is not an .npy file of latents: write it by np.save") from None
    if array.ndim != 2 or not len(array) or array.dtype.kind not in "fiu":
        raise SaganError(
            f"'{path}' has {array.dtype} {array.shape}: the latents of this model are numbers of "
            f"shape (num, {size})"
        )
    check_memory(array.nbytes, str(path), "its latents")
    try:
        return given_latents(array, len(array), size).numpy()
    except ValueError as error:
        raise SaganError(f"'{path}': {error}") from None


def sample_batches(
    generator: GeneratorBase,
    num: int,
    labels: Sequence[int] | None,
    seed: int,
    truncation: float,
    latents: Float32Array | None = None,
) -> Iterator[UInt8Array]:
    """Yield what `generator.sample` would return at once, a bounded number of images at a time.

    Of several processes, each of which calls this, every one draws some of the batches; the main
    process gets them all, and the others get nothing.

    Args:
        generator: the network, ready to sample.
        num: number of images.
        labels: (num,) labels, None for an unconditional model.
        seed: decides the latents; image i depends only on (seed, i), as in `seeded_latents`.
        truncation: scales the latents.
        latents: (num, latent_size), to use instead of `seed`.

    Raises:
        SaganError: as for `generator.sample`.
    """
    several = distributed.is_initialized()
    processes = distributed.get_world_size() if several else 1
    rank = distributed.get_rank() if several else 0
    rng = np.random.Generator(np.random.Philox(seed))
    own, starts = None, range(0, max(num, 1), BATCH_SIZE)
    for i, start in enumerate(starts):
        size = min(BATCH_SIZE, num - start)
        # Drawn for the other processes' batches too, to get to this one's.
        drawn = rng.standard_normal((size, generator.latent_size), dtype=np.float32)
        chosen = latents[start : start + size] if latents is not None else drawn
        if i % processes == rank:
            own = generator.sample(
                size,
                labels[start : start + size] if labels is not None else None,
                truncation=truncation,
                latents=torch.from_numpy(chosen),
            )
        if (i + 1) % processes == 0 or i + 1 == len(starts):
            yield from _gathered(own)
            own = None


def _gathered(batch: UInt8Array | None) -> Iterator[UInt8Array]:
    """Yield the batches of all processes, by rank, in the main process."""
    batches: list[UInt8Array | None] = [batch]
    if distributed.is_initialized():
        main = distributed.get_rank() == 0
        batches = [None] * distributed.get_world_size() if main else []
        with waiting_for("the other processes to draw"):
            distributed.gather_object(batch, batches if main else None)
    yield from (one for one in batches if one is not None)


def spherical_interpolation(start: Tensor, end: Tensor, num: int) -> Tensor:
    """Return `num` latents (num, size) from `start` to `end` (size,), at equal angles.

    A straight line would pass through latents with untypically small norms (White 2016,
    arXiv 1609.04468). Here, norms are interpolated linearly.
    """
    share = torch.linspace(0, 1, num).unsqueeze(1)  # (num, 1)
    start_unit, end_unit = start / start.norm(), end / end.norm()
    angle = torch.acos((start_unit @ end_unit).clamp(-1 + 1e-6, 1 - 1e-6))
    direction = torch.sin((1 - share) * angle) * start_unit + torch.sin(share * angle) * end_unit
    norm = torch.lerp(start.norm(), end.norm(), share)
    return norm * direction / torch.sin(angle)


def grid_labels(num: int, num_classes: int) -> list[int] | None:
    """Return labels for `num` images, the classes in turn; None for an unconditional model.

    The label of image i does not depend on `num`.
    """
    return [i % num_classes for i in range(num)] if num_classes else None
