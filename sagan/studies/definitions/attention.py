"""Does attention improve what a GAN generates? Zhang et al. 2018, section 5.2 and table 1."""

from collections.abc import Callable, Collection, Iterator
from itertools import pairwise
from typing import Any

from sagan.config import Config
from sagan.metrics.features.network import DEFAULT_DISTANCE
from sagan.studies.measure.cuts import (
    CUT_COLUMNS,
    CUT_NOTE,
    CUTS,
    NEARER,
    cut_claims,
    cut_distances,
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
    SMALLEST_DISTANCE,
    Chart,
    Claim,
    ConfigOverrides,
    Study,
    Variant,
)

MAP_SIZES = (8, 16, 32, 64)  # sides of feature maps; networks have those below the image size
DEFAULT_VARIANTS = ("none", "residual-16", "attention-8", "attention-16")  # for 32 x 32 images
OTHER_FORMS = ("full", "paper")  # besides "pooled", the form of all other variants
_G, _D = "attention/generator.*", "attention/discriminator.*"


def perform(run: StudyRun, data: StudyData, observer: RunObserver) -> RunMetrics:
    """Train, then measure samples of the last step."""
    records = train_run(run, data, observer)
    document, blocks = measure_final_quality(run, data, observer.progress)
    curves = kept_curves(records)
    return RunMetrics(
        numbers=document["metrics"]
        | cut_distances(run, data, observer.progress, tuple(CUTS))
        | last_values(curves, "gamma/", "attention/", "dropped"),
        curves=curves,
        parameters=parameters_of(run, data),
        protocol=document["protocol"],
        step_seconds=seconds_per_step(records),
        blocks=blocks,
    )


def attention_variants(default: Collection[str]) -> Iterator[Variant]:
    """Yield all variants with and without attention, given the names of those run by default."""
    for name, title, settings in _variants():
        yield Variant(name, title, _always(settings), default=name in default)


def _always(settings: ConfigOverrides) -> Callable[[Config], ConfigOverrides]:
    return lambda _: settings


def _variants() -> Iterator[tuple[str, str, ConfigOverrides]]:
    yield "none", "no attention", {"attention_g": (), "attention_d": ()}
    for size in MAP_SIZES:
        for block, alike in (("residual", "as large"), ("residual-macs", "as costly")):
            title = f"a residual block {alike} as attention, at {size} x {size} in both networks"
            yield f"{block}-{size}", title, _at(size) | {"attention_block": block}
    for size in MAP_SIZES:
        yield f"attention-{size}", f"attention at {size} x {size} in both networks", _at(size)
    for size in MAP_SIZES:
        at = f"at {size} x {size}"
        yield f"g-{size}", f"attention {at} in G only", _at(size) | {"attention_d": ()}
        yield f"d-{size}", f"attention {at} in D only", _at(size) | {"attention_g": ()}
        for form in OTHER_FORMS:
            settings = _at(size) | {"attention_form": form}
            yield f"{form}-{size}", f'form "{form}" {at} in both networks', settings


def _at(size: int) -> dict[str, Any]:
    return {"attention_g": (size,), "attention_d": (size,)}


def _claims() -> Iterator[Claim]:
    for size in reversed(MAP_SIZES):
        both, at = f"attention-{size}", f"at {size} x {size}"
        better = "generates better images than"
        yield _claim(f"Attention {at} in both networks {better} no attention", both, "none")
        yield _claim(
            f"Attention {at} {better} a residual block of the same size in its place",
            both, f"residual-{size}",
        )  # fmt: skip
        yield _claim(
            f"Attention {at} {better} a residual block of the same cost in its place",
            both, f"residual-macs-{size}",
        )  # fmt: skip
        for one in ("g", "d"):
            place, name = f"in {one.upper()} only", f"{one}-{size}"
            yield _claim(f"Attention {at} {place} {better} no attention", name, "none")
            yield _claim(f"Attention {at} in both networks {better} {place}", both, name)
        for form in OTHER_FORMS:
            sentence = f'Attention {at} in the form "pooled" {better} in the form "{form}"'
            yield _claim(sentence, both, f"{form}-{size}")
    for size in reversed(MAP_SIZES):
        yield from cut_claims(NEARER, DEFAULT_DISTANCE, "lower", size, tuple(CUTS))
    for small, large in pairwise(MAP_SIZES):
        yield _claim(
            f"Attention at {large} x {large} generates better images than at {small} x {small}",
            f"attention-{large}", f"attention-{small}",
        )  # fmt: skip


def _claim(sentence: str, variant: str, against: str) -> Claim:
    return Claim(sentence, DEFAULT_DISTANCE, "lower", variant, against)


STUDY = Study(
    name="attention",
    question="Does attention improve what a GAN generates, with equal data, seeds, steps and "
    "recipe?",
    variants=tuple(attention_variants(DEFAULT_VARIANTS)),
    # The variants' names and the claims take these for granted.
    settings={"attention_block": "attention", "attention_form": "pooled", **COMMON_SETTINGS},
    prepare=prepare_reference,
    perform=perform,
    claims=tuple(_claims()),
    columns=(*QUALITY_COLUMNS, *CUT_COLUMNS),
    smallest={DEFAULT_DISTANCE: SMALLEST_DISTANCE},
    charts=(
        Chart("Absolute value of gamma in G", "gamma/generator.*"),
        Chart("Absolute value of gamma in D", "gamma/discriminator.*"),
        Chart("Share of keys with half of G's attention (uniform: 0.5)", f"{_G}/concentration"),
        Chart("Share of keys with half of D's attention (uniform: 0.5)", f"{_D}/concentration"),
        Chart("Mean distance of attention in G, in pixels", f"{_G}/distance"),
        Chart("Mean distance of attention in D, in pixels", f"{_D}/distance"),
    ),
    notes=(
        ATTENTION_NOTE,
        CUT_NOTE,
        "Variants differ in the time per step: in equal time, a variant without attention would "
        "train for more steps. KD and FD are measured against the training images and cannot be "
        "compared with numbers measured against a test split.",
    ),
)
