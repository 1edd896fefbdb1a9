"""What a trained generator's attention is worth: its samples once more, with attention cut.

A map shows where attention looks, samples without it what it is used for: they have the same
latents and the same weights, and only what attention adds is missing.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Literal

from sagan.explain.cutting import NEARBY, Cut, applied, cut_beyond, cut_everything
from sagan.metrics.arrays import dataset_of_pixels
from sagan.metrics.evaluation import evaluate
from sagan.metrics.features.network import DEFAULT_DISTANCE
from sagan.metrics.opening import OpenedImages
from sagan.metrics.samples import SamplePlan, matching_labels
from sagan.model import open_model
from sagan.runtime.processes import join_processes
from sagan.studies.measure.quality import feature_network
from sagan.studies.run import StudyData, StudyRun
from sagan.studies.study import Claim, Column
from sagan.types import NamedProgress

# By what follows the name of a number of samples with a cut, which is that of samples without.
WITHOUT, NEARBY_ONLY = " without attention", " with attention nearby only"
CUTS: Mapping[str, Cut] = {WITHOUT: cut_everything, NEARBY_ONLY: cut_beyond(NEARBY)}
CUT_COLUMNS = tuple(
    Column(f"{DEFAULT_DISTANCE}{cut}", f"{DEFAULT_DISTANCE}{cut}", ".4f") for cut in CUTS
)

CUT_NOTE = (
    "Samples without attention, or with its weights on nearby keys only (those of the 3x3 around a "
    "position or, where keys are pooled, the one of its own 2x2 block; rescaled to sum to 1), are "
    "drawn by the same trained networks from the same latents. They say what a network uses, not "
    "what training with attention is worth."
)
NEARER = "Samples are nearer to the images"


def samples_with_cuts(
    run: StudyRun, data: StudyData, cuts: Sequence[str]
) -> Iterator[tuple[str, OpenedImages]]:
    """Yield the name of each cut and the run's samples with it; nothing without attention in G.

    The cut applies to all attention layers of the averaged generator. Latents and labels are those
    of the samples by which the run is measured.
    """
    model = open_model(run.folder)
    generator = model.generator().to(join_processes().device)
    layers = generator.attention_layers().values()
    if not layers:
        return
    num = min(run.samples, len(data.train))
    labels = matching_labels(num, len(model.classes), data.train)
    for name in cuts:
        with ExitStack() as stack:
            for layer in layers:
                stack.enter_context(applied(layer, CUTS[name]))
            images = generator.sample(num, labels, SamplePlan().seed)
        yield name, OpenedImages(dataset_of_pixels(images, labels), ordered=True)


def cut_distances(
    run: StudyRun, data: StudyData, progress: NamedProgress, cuts: Sequence[str]
) -> dict[str, float]:
    """Return the distance of a run's samples with cuts, by the names of `CUT_COLUMNS`."""
    return {
        f"{DEFAULT_DISTANCE}{cut}": distance_of(samples, data, progress)
        for cut, samples in samples_with_cuts(run, data, cuts)
    }


def distance_of(samples: OpenedImages, data: StudyData, progress: NamedProgress) -> float:
    """Return the kernel distance of samples to the training images."""
    document = evaluate(
        samples, data.train, metrics=["kid"], network=feature_network(),
        plan=SamplePlan(num=len(samples.dataset)), progress=progress,
    )  # fmt: skip
    distance: float = document["metrics"][DEFAULT_DISTANCE]
    return distance


def cut_claims(
    better: str, number: str, direction: Literal["higher", "lower"], size: int, cuts: Sequence[str]
) -> Iterator[Claim]:
    """Yield the claims that what attention of a size adds is used, one for each cut.

    Args:
        better: what is claimed, such as "Samples are nearer to the images".
        number: a name among a result's numbers; others are its name and those in `CUTS`.
        direction: which numbers are better.
        size: side of the attention's feature map.
        cuts: names in `CUTS`.
    """
    variant = f"attention-{size}"
    for cut in cuts:
        sentence = f"{better} with attention at {size} x {size} than{cut}, in the same networks"
        yield Claim(sentence, number, direction, variant, variant, f"{number}{cut}")
