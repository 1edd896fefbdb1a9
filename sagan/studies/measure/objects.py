"""Does attention know the object? How much of the object's attention stays on it.

Drawings of `avatars` are on white, so what is drawn is known without labels. In them, and in
samples of a generator that learned from them, the mean attention of positions on the object is
compared with what uniform attention would give.
"""

from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from sagan.errors import DivergedError
from sagan.images.rgb import as_rgb
from sagan.metrics.measures.inputs import evenly_spaced
from sagan.metrics.samples import SamplePlan, matching_labels
from sagan.model import load_discriminator, open_model
from sagan.nn.base import AttentionMaps
from sagan.runtime.processes import join_processes
from sagan.studies.run import StudyData, StudyRun
from sagan.studies.study import Claim, Column, SmallestEffect
from sagan.types import BoolArray, FloatArray, UInt8Array

NUM_IMAGES = 64  # of each network; their maps are in memory at once
WHITE = 225  # pixels with a darker channel are of the object
IF_UNIFORM = " if it were uniform"
OBJECT_NUMBERS = tuple(f"{network}'s attention on the object" for network in ("G", "D"))
SMALLEST_SHARE = SmallestEffect(0.05, relative=False)  # of the attention
OBJECT_COLUMNS = tuple(
    Column(f"{number}{end}", f"{number}{end}", ".3f")
    for number in OBJECT_NUMBERS
    for end in ("", IF_UNIFORM)
)
OBJECT_NOTE = (
    "Attention on the object: of positions on what is drawn (not white), the share of their "
    "attention on keys there, in samples (G) and in training images (D); if it were uniform, it "
    "would be the share of the keys there."
)


def object_numbers(run: StudyRun, data: StudyData) -> dict[str, float]:
    """Return the share of attention on the object, by the names of `OBJECT_COLUMNS`.

    G is read in its first samples, D in training images. A network without attention has none, nor
    has one whose training diverged until its maps are no longer finite.
    """
    device = join_processes().device
    model = open_model(run.folder)
    generator = model.generator().to(device)
    numbers: dict[str, float] = {}
    of_g, of_d = OBJECT_NUMBERS
    if generator.attention_layers():
        num = min(NUM_IMAGES, run.samples)
        labels = matching_labels(num, len(model.classes), data.train)
        with suppress(DivergedError):
            samples, maps = generator.sample(num, labels, SamplePlan().seed, return_attention=True)
            numbers |= _shares(of_g, samples, maps)
    discriminator = load_discriminator(run.folder).to(device)
    if discriminator.attention_layers():
        images = data.train.images[evenly_spaced(len(data.train), NUM_IMAGES)]
        with suppress(DivergedError):
            numbers |= _shares(of_d, images, discriminator.attention(images))
    return numbers


def _shares(number: str, images: UInt8Array, maps: AttentionMaps) -> dict[str, float]:
    """Return the mean over layers of the share on the object, and of uniform attention's."""
    drawn: BoolArray = np.any(as_rgb(images) < WHITE, axis=-1)
    found = [share_inside(np.asarray(attention), drawn) for attention in maps.values()]
    ours, uniform = np.mean(found, axis=0)
    return {number: float(ours), f"{number}{IF_UNIFORM}": float(uniform)}


def share_inside(attention: FloatArray, region: BoolArray) -> tuple[float, float]:
    """Return the share of attention that stays in a region, and that of uniform attention.

    Args:
        attention: (num, N, M); rows sum to 1. Queries and keys are in rows, on grids with the
            images' proportions.
        region: bool (num, H, W). A position is in it if most of its pixels are. Images without
            queries or keys in it are left out.

    Returns:
        Means over images of the mean share of the queries in the region on keys in the region,
        and of the share of the keys in it; nan if no image has any.
    """
    queries, keys = (_on_grid(region, size) for size in attention.shape[1:])
    ours, uniform = [], []
    for weights, of_query, of_key in zip(attention, queries, keys, strict=True):
        if of_query.any() and of_key.any():
            ours.append(weights[of_query][:, of_key].sum(axis=1).mean())
            uniform.append(of_key.mean())
    return (float(np.mean(ours)), float(np.mean(uniform))) if ours else (np.nan, np.nan)


def _on_grid(region: BoolArray, size: int) -> BoolArray:
    """Return which of `size` positions, in rows, have most of their pixels in the region."""
    num, height, width = region.shape
    step = round((height * width / size) ** 0.5)
    cells = region.reshape(num, height // step, step, width // step, step)
    inside: BoolArray = cells.mean(axis=(2, 4)).reshape(num, -1) > 0.5
    return inside


def object_claims(size: int) -> Iterator[Claim]:
    """Yield the claims that attention at `size` x `size` knows the object, in G and in D."""
    variant = f"attention-{size}"
    for number in OBJECT_NUMBERS:
        sentence = f"{number} at {size} x {size} is more than uniform attention's"
        yield Claim(sentence, number, "higher", variant, variant, f"{number}{IF_UNIFORM}")
