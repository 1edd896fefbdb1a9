"""Does attention improve what a GAN draws? Zhang et al. 2018, section 5.2 and table 1."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from sagan.metrics.features.network import DEFAULT_DISTANCE
from sagan.studies.measure.quality import QUALITY_COLUMNS, measure, prepare_reference
from sagan.studies.measure.train import (
    kept_curves,
    last_values,
    parameters_of,
    seconds_per_step,
    train_run,
)
from sagan.studies.run import Data, Findings, Run, Watch
from sagan.studies.study import ALIKE, READING_ATTENTION, Chart, Claim, Settings, Study, Variant


def perform(run: Run, data: Data, watch: Watch) -> Findings:
    """Train, then measure the samples of the last step."""
    records = train_run(run, data, watch)
    document = measure(run.folder, data, watch.progress)
    curves = kept_curves(records)
    return Findings(
        numbers=document["metrics"] | last_values(curves, "gamma/", "attention/", "dropped"),
        curves=curves,
        parameters=parameters_of(run, data),
        protocol=document["protocol"],
        step_seconds=seconds_per_step(records),
    )


_G, _D = "attention/generator.*", "attention/discriminator.*"


SIZES = (8, 16, 32, 64)  # sides of maps; networks have those below their pictures' own
DEFAULT = ("none", "residual-16", "attention-8", "attention-16")  # for pictures of 32 x 32
FORMS = ("full", "paper")  # besides "pooled", which all others are of


def _variants() -> Iterator[Variant]:
    yield _variant("none", "no attention", {"attention_g": (), "attention_d": ()})
    for size in SIZES:
        title = f"a residual block as large as attention, at {size} x {size} in both networks"
        yield _variant(f"residual-{size}", title, _at(size) | {"attention_block": "residual"})
    for size in SIZES:
        yield _variant(f"attention-{size}", f"attention at {size} x {size} in both", _at(size))
    for size in SIZES:
        at = f"at {size} x {size}"
        yield _variant(f"g-{size}", f"attention {at} in G only", _at(size) | {"attention_d": ()})
        yield _variant(f"d-{size}", f"attention {at} in D only", _at(size) | {"attention_g": ()})
        for form in FORMS:
            settings = _at(size) | {"attention_form": form}
            yield _variant(f"{form}-{size}", f'form "{form}" {at} in both', settings)


def _at(size: int) -> dict[str, Any]:
    return {"attention_g": (size,), "attention_d": (size,)}


def _variant(name: str, title: str, settings: Settings) -> Variant:
    return Variant(name, title, lambda _: settings, default=name in DEFAULT)


def _claims() -> Iterator[Claim]:
    for size in reversed(SIZES):
        both, at = f"attention-{size}", f"at {size} x {size}"
        yield _claim(f"Attention {at} in both networks draws better than none", both, "none")
        yield _claim(
            f"Attention {at} draws better than a residual block as large in its place",
            both, f"residual-{size}",
        )  # fmt: skip
        for one in ("g", "d"):
            place, name = f"in {one.upper()} only", f"{one}-{size}"
            yield _claim(f"Attention {at} {place} draws better than none", name, "none")
            yield _claim(f"Attention {at} in both draws better than {place}", both, name)
        for form in FORMS:
            sentence = f'Attention {at} in the form "pooled" draws better than in "{form}"'
            yield _claim(sentence, both, f"{form}-{size}")
    for small, large in pairwise(SIZES):
        yield _claim(
            f"Attention at {large} x {large} draws better than at {small} x {small}",
            f"attention-{large}", f"attention-{small}",
        )  # fmt: skip


def _claim(sentence: str, variant: str, against: str) -> Claim:
    return Claim(sentence, DEFAULT_DISTANCE, "lower", variant, against)


STUDY = Study(
    name="attention",
    question="Does attention improve what a GAN draws, at equal data, seeds, steps and recipe?",
    variants=tuple(_variants()),
    # What the variants' names and the claims take for granted.
    settings={"attention_block": "attention", "attention_form": "pooled", **ALIKE},
    prepare=prepare_reference,
    perform=perform,
    claims=tuple(_claims()),
    columns=QUALITY_COLUMNS,
    charts=(
        Chart("Size of gamma in G", "gamma/generator.*"),
        Chart("Size of gamma in D", "gamma/discriminator.*"),
        Chart("Share of keys with half of G's attention, even 0.5", f"{_G}/concentration"),
        Chart("Share of keys with half of D's attention, even 0.5", f"{_D}/concentration"),
        Chart("How far attention in G looks, pixels", f"{_G}/distance"),
        Chart("How far attention in D looks, pixels", f"{_D}/distance"),
    ),
    notes=(
        READING_ATTENTION,
        "Variants take other times per step: at equal time a variant without attention has more "
        "steps. KD and FD are against the training pictures, and compare with no figure that is "
        "against a test split.",
    ),
)  # fmt: skip
