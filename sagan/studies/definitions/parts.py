"""Do parts of a face that lie apart agree better with attention? Zhang et al. 2018, section 1.

Details in distant portions of an image should be consistent with each other. In faces of `avatars`
the truth is known: they have one hair color and one skin, and eyes that are alike. Readers that see
one piece of a sample at a time tell how often two pieces agree (see `sagan.metrics.parts`).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sagan.errors import SaganError
from sagan.metrics.evaluation import evaluate
from sagan.metrics.features.network import DEFAULT_DISTANCE, open_network
from sagan.metrics.measures.inputs import MetricInputs, known_labels
from sagan.metrics.measures.parts import MIN_FACES, PARTS_NETWORK, check_faces
from sagan.metrics.opening import OpenedImages
from sagan.metrics.parts.agreement import Agreements, agreements, by_kind
from sagan.metrics.parts.pieces import KINDS
from sagan.metrics.parts.weights import read_table
from sagan.metrics.samples import SamplePlan
from sagan.studies.definitions.attention import attention_variants
from sagan.studies.measure.blocks import block_rows
from sagan.studies.measure.cuts import (
    CUT_COLUMNS,
    CUT_NOTE,
    NEARER,
    WITHOUT,
    cut_claims,
    distance_of,
    samples_with_cuts,
)
from sagan.studies.measure.objects import (
    OBJECT_COLUMNS,
    OBJECT_NOTE,
    OBJECT_NUMBERS,
    SMALLEST_SHARE,
    object_claims,
    object_numbers,
)
from sagan.studies.measure.quality import QUALITY_COLUMNS, measure_final_quality, prepare_reference
from sagan.studies.measure.train import (
    kept_curves,
    last_values,
    parameters_of,
    seconds_per_step,
    train_run,
)
from sagan.studies.run import RunMetrics, RunObserver, StudyData, StudyRun
from sagan.studies.study import (
    ATTENTION_NOTE,
    COMMON_SETTINGS,
    SMALLEST_AGREEMENT,
    SMALLEST_DISTANCE,
    Chart,
    Claim,
    Column,
    Study,
)
from sagan.types import NamedProgress

DEFAULT_VARIANTS = ("none", "residual-16", "attention-16")
AGREEMENT = "agreement"


def check_and_prepare(data: StudyData, progress: NamedProgress) -> None:
    """Check that the images are faces, and compute the features that samples are measured against.

    Raises:
        SaganError: they are others, of a single style, too few, or in styles without a part that
            the reader can compare.
    """
    check_faces(data.train)
    if not data.train.classes or len(data.train) < MIN_FACES:
        raise SaganError(
            f"the study parts needs {MIN_FACES} faces in two or more styles, as --data avatars, "
            f"and '{data.train.source}' has {len(data.train)} in {data.train.num_classes or 1}"
        )
    readable = {pair.style for pair in read_table().pairs}
    if not readable.intersection(data.train.classes):
        raise SaganError(
            f"the study parts compares parts of faces, and none can be compared in the styles of "
            f"'{data.train.source}': add one of {', '.join(sorted(readable))}"
        )
    prepare_reference(data, progress)


def perform(run: StudyRun, data: StudyData, observer: RunObserver) -> RunMetrics:
    """Train, then read the parts of samples of the last step, and measure their quality."""
    records = train_run(run, data, observer)
    document, blocks = measure_final_quality(run, data, observer.progress)
    numbers, by_block, protocol = measure_agreement(run.folder, run, data, observer.progress)
    for cut, samples in samples_with_cuts(run, data, [WITHOUT]):
        with_cut, _, _ = measure_agreement(samples, run, data, observer.progress)
        numbers[f"{AGREEMENT}{cut}"] = with_cut[AGREEMENT]
        numbers[f"{DEFAULT_DISTANCE}{cut}"] = distance_of(samples, data, observer.progress)
    curves = kept_curves(records)
    return RunMetrics(
        numbers=document["metrics"]
        | numbers
        | object_numbers(run, data)
        | last_values(curves, "gamma/", "dropped"),
        curves=curves,
        parameters=parameters_of(run, data),
        protocol={"quality": document["protocol"], "parts": protocol},
        step_seconds=seconds_per_step(records),
        blocks=blocks | {AGREEMENT: by_block},
    )


def measure_agreement(
    samples: Path | OpenedImages, run: StudyRun, data: StudyData, progress: NamedProgress
) -> tuple[dict[str, float], list[float], dict[str, Any]]:
    """Read the parts of a run's samples, with or without a cut, each in the style asked for.

    The style that the reader sees is not used: early samples may be in none.

    Returns:
        Numbers by name, the agreement in each block of samples, and the protocol.
    """
    by_block: list[float] = []
    numbers: dict[str, float] = {}
    table = read_table()
    styles = np.array([table.styles.index(name) for name in data.train.classes])

    def observe(inputs: MetricInputs) -> None:
        logits, asked_for = inputs.samples.features, styles[known_labels(inputs.samples)]
        numbers.update(agreement_numbers(agreements(logits, table, asked_for)))
        for rows in block_rows(len(logits)):
            found = agreement_numbers(agreements(logits[rows], table, asked_for[rows]))
            by_block.append(found[AGREEMENT])

    document = evaluate(
        samples, data.train, metrics=["kid"], network=open_network(PARTS_NETWORK),
        plan=SamplePlan(num=min(run.samples, len(data.train))), observe=observe, progress=progress,
    )  # fmt: skip
    return numbers, by_block, document["protocol"]


def agreement_numbers(found: Agreements) -> dict[str, float]:
    """Return the mean over kinds of the agreement beyond chance, and the rates by kind.

    Rates alone would be highest for a generator that draws one face again and again.
    """
    kinds = by_kind(found)
    numbers = {AGREEMENT: float(np.mean([one.corrected for one in kinds.values()]))}
    for kind, one in kinds.items():
        numbers |= {f"{AGREEMENT}/{kind}": one.rate, f"{AGREEMENT}/{kind}/chance": one.chance}
    return numbers


def _claims() -> Iterator[Claim]:
    sizes = (16, 32, 8)
    for size in sizes:
        yield from _agreement_claims(size)
    for size in sizes:
        yield from _distance_claims(size)
    for size in sizes:
        yield from cut_claims("Parts agree more often", AGREEMENT, "higher", size, [WITHOUT])
        yield from cut_claims(NEARER, DEFAULT_DISTANCE, "lower", size, [WITHOUT])
        yield from object_claims(size)


def _distance_claims(size: int) -> Iterator[Claim]:
    """Yield claims on the same runs' images as a whole."""
    for sentence, against in (
        ("no attention", "none"),
        ("a residual block of the same size in its place", f"residual-{size}"),
    ):
        yield Claim(
            f"Attention at {size} x {size} in both networks draws better images than {sentence}",
            DEFAULT_DISTANCE, "lower", f"attention-{size}", against,
        )  # fmt: skip


def _agreement_claims(size: int) -> Iterator[Claim]:
    variant, at = f"attention-{size}", f"at {size} x {size} in both networks"
    better = "draws faces with parts that agree more often than"
    for sentence, against in (
        ("no attention", "none"),
        ("a residual block of the same size in its place", f"residual-{size}"),
        ("a residual block of the same cost in its place", f"residual-macs-{size}"),
        ("attention in G only", f"g-{size}"),
        ("attention in D only", f"d-{size}"),
    ):
        yield Claim(f"Attention {at} {better} {sentence}", AGREEMENT, "higher", variant, against)
    for one in ("g", "d"):
        yield Claim(
            f"Attention at {size} x {size} in {one.upper()} only {better} no attention",
            AGREEMENT, "higher", f"{one}-{size}", "none",
        )  # fmt: skip


STUDY = Study(
    name="parts",
    question="Do parts of a face that lie apart agree better with attention?",
    variants=tuple(attention_variants(DEFAULT_VARIANTS)),
    settings={
        "conditional": True,
        "attention_block": "attention",
        "attention_form": "pooled",
        **COMMON_SETTINGS,
    },
    prepare=check_and_prepare,
    perform=perform,
    claims=tuple(_claims()),
    columns=(
        Column(AGREEMENT, "agreement beyond chance", ".3f"),
        *(Column(f"{AGREEMENT}/{kind}", f"{kind} agree", ".1%") for kind in KINDS),
        *(Column(f"{AGREEMENT}/{kind}/chance", f"{kind} by chance", ".1%") for kind in KINDS),
        *QUALITY_COLUMNS,
        Column(f"{AGREEMENT}{WITHOUT}", f"agreement{WITHOUT}", ".3f"),
        *CUT_COLUMNS,
        *OBJECT_COLUMNS,
    ),
    smallest={
        AGREEMENT: SMALLEST_AGREEMENT,
        DEFAULT_DISTANCE: SMALLEST_DISTANCE,
        **dict.fromkeys(OBJECT_NUMBERS, SMALLEST_SHARE),
    },
    charts=(
        Chart("Absolute value of gamma in G", "gamma/generator.*"),
        Chart("Absolute value of gamma in D", "gamma/discriminator.*"),
    ),
    notes=(
        "Parts agree if a reader that sees one piece of the sample at a time reads the same in "
        "two pieces that touch: hair on both sides of the middle, skin likewise, skin of face and "
        "neck, both eyes. Chance: pieces of two different samples of a style. The agreement "
        "beyond chance is the mean over the four of (rate - chance) / (1 - chance): 1 is perfect.",
        f"{DEFAULT_DISTANCE} and the others are measured as in the study attention.",
        ATTENTION_NOTE,
        CUT_NOTE,
        OBJECT_NOTE,
    ),
)
