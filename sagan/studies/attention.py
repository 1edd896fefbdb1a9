"""Does attention improve what a GAN draws? Zhang et al. 2018, section 5.2 and table 1."""

from sagan.metrics.features import DEFAULT_DISTANCE
from sagan.studies.gan import (
    kept_curves,
    last_values,
    parameters_of,
    seconds_per_step,
    train_run,
)
from sagan.studies.quality import QUALITY_COLUMNS, measure, prepare_reference
from sagan.studies.run import Data, Findings, Run, Watch
from sagan.studies.study import ALIKE, READING_ATTENTION, Chart, Claim, Study, Variant


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


def _both(size: int) -> dict[str, tuple[int, ...]]:
    return {"attention_g": (size,), "attention_d": (size,)}


STUDY = Study(
    name="attention",
    question="Does attention improve what a GAN draws, at equal data, seeds, steps and recipe?",
    variants=(
        Variant("none", "no attention", lambda _: {"attention_g": (), "attention_d": ()}),
        Variant(
            "residual-16",
            "a residual block as large as attention, at 16 x 16 in both networks",
            lambda _: _both(16) | {"attention_block": "residual"},
        ),
        Variant("attention-8", "attention at 8 x 8 in both", lambda _: _both(8)),
        Variant("attention-16", "attention at 16 x 16 in both", lambda _: _both(16)),
        Variant(
            "attention-32",
            "attention at 32 x 32 in both (64 pixels and more)",
            lambda _: _both(32),
            default=False,
        ),
        Variant(
            "residual-8",
            "the residual block at 8 x 8 in both",
            lambda _: _both(8) | {"attention_block": "residual"},
            default=False,
        ),
        Variant(
            "residual-32",
            "the residual block at 32 x 32 in both",
            lambda _: _both(32) | {"attention_block": "residual"},
            default=False,
        ),
        Variant(
            "g-16",
            "attention at 16 x 16 in G only",
            lambda _: {"attention_g": (16,), "attention_d": ()},
            default=False,
        ),
        Variant(
            "d-16",
            "attention at 16 x 16 in D only",
            lambda _: {"attention_g": (), "attention_d": (16,)},
            default=False,
        ),
        Variant(
            "g-32",
            "attention at 32 x 32 in G only",
            lambda _: {"attention_g": (32,), "attention_d": ()},
            default=False,
        ),
        Variant(
            "full-16",
            'form "full" at 16 x 16 in both',
            lambda _: _both(16) | {"attention_form": "full"},
            default=False,
        ),
        Variant(
            "paper-16",
            'form "paper" at 16 x 16 in both',
            lambda _: _both(16) | {"attention_form": "paper"},
            default=False,
        ),
    ),
    # What the variants' names and the claims take for granted.
    settings={"attention_block": "attention", "attention_form": "pooled", **ALIKE},
    prepare=prepare_reference,
    perform=perform,
    claims=(
        Claim(
            "Attention at 16 x 16 in both networks draws better than no attention",
            DEFAULT_DISTANCE, "lower", "attention-16", "none",
        ),
        Claim(
            "Attention at 16 x 16 draws better than a residual block as large in its place",
            DEFAULT_DISTANCE, "lower", "attention-16", "residual-16",
        ),
        Claim(
            "Attention at 8 x 8 in both networks draws better than no attention",
            DEFAULT_DISTANCE, "lower", "attention-8", "none",
        ),
        Claim(
            "Attention at 16 x 16 draws better than at 8 x 8",
            DEFAULT_DISTANCE, "lower", "attention-16", "attention-8",
        ),
        Claim(
            "Attention at 8 x 8 draws better than a residual block as large in its place",
            DEFAULT_DISTANCE, "lower", "attention-8", "residual-8",
        ),
        Claim(
            "Attention at 32 x 32 in both networks draws better than no attention",
            DEFAULT_DISTANCE, "lower", "attention-32", "none",
        ),
        Claim(
            "Attention at 32 x 32 draws better than a residual block as large in its place",
            DEFAULT_DISTANCE, "lower", "attention-32", "residual-32",
        ),
        Claim(
            "Attention at 32 x 32 draws better than at 8 x 8",
            DEFAULT_DISTANCE, "lower", "attention-32", "attention-8",
        ),
        Claim(
            "Attention in G only draws better than no attention",
            DEFAULT_DISTANCE, "lower", "g-16", "none",
        ),
        Claim(
            "Attention in D only draws better than no attention",
            DEFAULT_DISTANCE, "lower", "d-16", "none",
        ),
        Claim(
            "Attention in both networks draws better than in G only",
            DEFAULT_DISTANCE, "lower", "attention-16", "g-16",
        ),
        Claim(
            "Attention in both networks draws better than in D only",
            DEFAULT_DISTANCE, "lower", "attention-16", "d-16",
        ),
        Claim(
            'The form "pooled" draws better than the form "full"',
            DEFAULT_DISTANCE, "lower", "attention-16", "full-16",
        ),
        Claim(
            'The form "pooled" draws better than the form "paper"',
            DEFAULT_DISTANCE, "lower", "attention-16", "paper-16",
        ),
    ),
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
