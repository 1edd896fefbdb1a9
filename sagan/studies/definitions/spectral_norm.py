"""Does spectral normalization stabilize training? Zhang et al. 2018, section 5.1, figures 3, 4."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from sagan.build import build_networks
from sagan.config import Config
from sagan.metrics.features.network import DEFAULT_DISTANCE
from sagan.model import Model
from sagan.nn.spectral_norm import fold_spectral_norm, sigma_of
from sagan.run.checkpoint import checkpoints, load_tensors, read_checkpoint, step_of
from sagan.studies.measure.failure import CRITERION, failure_step
from sagan.studies.measure.quality import (
    CURVE_SAMPLES,
    QUALITY_COLUMNS,
    blank_distance,
    measure_final_quality,
    measure_quality,
    prepare_reference,
    untrained_model,
)
from sagan.studies.measure.train import (
    kept_curves,
    last_values,
    parameters_of,
    seconds_per_step,
    train_run,
)
from sagan.studies.run import NetworkName, RunMetrics, RunObserver, Series, StudyData, StudyRun
from sagan.studies.study import (
    COMMON_SETTINGS,
    COUNT_SPEC,
    SMALLEST_DISTANCE,
    Chart,
    Claim,
    Column,
    ConfigOverrides,
    Study,
    Variant,
)

NUM_EVALUATIONS = 8  # checkpoints that are kept and measured, including the last one
LARGEST_SIGMA: dict[NetworkName, str] = {
    "generator": "largest sigma in G",
    "discriminator": "largest sigma in D",
}


def perform(run: StudyRun, data: StudyData, observer: RunObserver) -> RunMetrics:
    """Train, keeping some checkpoints; measure these, then the last one thoroughly."""
    steps = run.config.steps
    every = math.ceil(steps / NUM_EVALUATIONS)
    intervals = {"checkpoint_every": every, "keep_every": every}
    run = replace(run, config=run.config.model_copy(update=intervals))
    records = train_run(run, data, observer)
    kept = [c for c in checkpoints(run.folder) if step_of(c) % every == 0 or step_of(c) == steps]
    curves = kept_curves(records) | sigma_curves(run, data, kept)
    curves[DEFAULT_DISTANCE] = distance_curve(run, data, kept, observer)
    document, blocks = measure_final_quality(run, data, observer.progress)
    failed = failure_step(
        curves[DEFAULT_DISTANCE],
        curves.get("dropped", []),
        blank_distance(data),
        document["metrics"]["coverage"],
    )
    return RunMetrics(
        numbers=document["metrics"]
        | {"failed": float(failed is not None)}
        | ({"failure step": failed} if failed is not None else {})
        | last_values(curves, "dropped")
        | _stability_numbers(curves),
        curves=curves,
        parameters=parameters_of(run, data),
        protocol=document["protocol"],
        step_seconds=seconds_per_step(records),
        blocks=blocks,
    )


def distance_curve(
    run: StudyRun, data: StudyData, kept: Sequence[Path], observer: RunObserver
) -> Series:
    """Return the distance of samples to the training images, by step, from step 0 on."""
    models: list[tuple[int, Model | Path]] = [(0, untrained_model(run, data))]
    models += [(step_of(folder), folder) for folder in kept]
    found: Series = []
    for step, model in models:
        document = measure_quality(model, data, observer.progress, CURVE_SAMPLES, ["kid"])
        found.append((step, document["metrics"][DEFAULT_DISTANCE]))
    return found


def _stability_numbers(curves: dict[str, Series]) -> dict[str, float]:
    """Return the largest sigma at the end, and gradients and logits during training."""
    numbers = {
        title: max(c[-1][1] for name, c in curves.items() if name.startswith(f"sigma/{network}/"))
        for network, title in LARGEST_SIGMA.items()
    }
    # Curves have finite values only: a training that diverges at once may have none.
    for network in LARGEST_SIGMA:
        values = [value for _, value in curves.get(f"gradient/{network}", [])]
        if values:
            numbers[f"gradient of {network}, median"] = float(np.median(values))
            numbers[f"gradient of {network}, largest"] = max(values)
    if "logits/real" in curves and "logits/fake" in curves:
        real, fake = curves["logits/real"][-1][1], curves["logits/fake"][-1][1]
        numbers["logits, real minus fake"] = real - fake
    return numbers


def sigma_curves(run: StudyRun, data: StudyData, kept: Sequence[Path]) -> dict[str, Series]:
    """Return "sigma/NETWORK/LAYER": the largest singular value of each weight as it is used.

    Exact, for layers with and without spectral normalization. With normalization it shows how well
    the power iteration follows the weights: 1 is perfect.
    """
    curves: dict[str, Series] = {}
    for folder in kept:
        for name, value in exact_sigmas(run, data, folder):
            curves.setdefault(f"sigma/{name}", []).append((step_of(folder), value))
    return curves


def exact_sigmas(run: StudyRun, data: StudyData, checkpoint: Path) -> Iterator[tuple[str, float]]:
    """Yield "NETWORK/LAYER" and sigma of each convolution and linear layer of a checkpoint."""
    generator, discriminator = build_networks(run.config, data.train.num_classes)
    networks: dict[str, nn.Module] = {"generator": generator, "discriminator": discriminator}
    for name, network in networks.items():
        load_tensors(network, read_checkpoint(checkpoint, name), str(checkpoint))
        fold_spectral_norm(network)
        for layer_name, layer in network.named_modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                yield f"{name}/{layer_name}", float(sigma_of(layer))


def _normalized(generator: bool, discriminator: bool) -> Callable[[Config], ConfigOverrides]:
    return lambda _: {"spectral_norm_g": generator, "spectral_norm_d": discriminator}


def _equal_rates(generator: bool, discriminator: bool) -> Callable[[Config], ConfigOverrides]:
    normalized = _normalized(generator, discriminator)
    return lambda config: {**normalized(config), "lr_d": config.lr_g}


def _higher_rates(
    generator: bool, discriminator: bool, factor: float
) -> Callable[[Config], ConfigOverrides]:
    normalized = _normalized(generator, discriminator)
    return lambda config: {
        **normalized(config), "lr_g": factor * config.lr_g, "lr_d": factor * config.lr_d,
    }  # fmt: skip


_EQUAL = "D's learning rate equal to G's"
# Of both learning rates: at gentle ones nothing fails, with normalization or without.
FACTORS = (4, 16, 64)


def _at_higher_rates() -> Iterator[Variant]:
    for factor in FACTORS:
        for name, title, in_g, in_d in (
            ("none", "none", False, False),
            ("d", "in D only", False, True),
            ("both", "in G and D", True, True),
        ):
            change = _higher_rates(in_g, in_d, factor)
            yield Variant(
                f"{name}-{factor}x", f"{title}, learning rates {factor} times as high", change,
                default=False,
            )  # fmt: skip


def _claims_at_higher_rates() -> Iterator[Claim]:
    for factor in FACTORS:
        for better, worse, sentence in (
            ("both", "none", "in G and D ends with better images than none"),
            ("d", "none", "in D only ends with better images than none"),
            ("both", "d", "in G and D ends with better images than in D only"),
        ):
            yield Claim(
                f"At {factor} times the learning rates, spectral normalization {sentence}",
                DEFAULT_DISTANCE, "lower", f"{better}-{factor}x", f"{worse}-{factor}x",
            )  # fmt: skip


STUDY = Study(
    name="spectral-norm",
    question="Does spectral normalization in D and in G keep training stable?",
    settings=COMMON_SETTINGS,
    variants=(
        Variant("none", "no spectral normalization", _normalized(False, False)),
        Variant("d", "in D only", _normalized(False, True)),
        Variant("both", "in G and D", _normalized(True, True)),
        Variant("none-equal", f"none, {_EQUAL}", _equal_rates(False, False), default=False),
        Variant("d-equal", f"in D only, {_EQUAL}", _equal_rates(False, True), default=False),
        Variant("both-equal", f"in G and D, {_EQUAL}", _equal_rates(True, True), default=False),
        *_at_higher_rates(),
    ),
    prepare=prepare_reference,
    perform=perform,
    claims=(
        Claim(
            "Spectral normalization in G and D ends with better images than none",
            DEFAULT_DISTANCE, "lower", "both", "none",
        ),
        Claim(
            "Spectral normalization in D only ends with better images than none",
            DEFAULT_DISTANCE, "lower", "d", "none",
        ),
        Claim(
            "Spectral normalization in G and D ends with better images than in D only",
            DEFAULT_DISTANCE, "lower", "both", "d",
        ),
        Claim(
            "With spectral normalization in G and D, two learning rates end with better images "
            "than equal ones",
            DEFAULT_DISTANCE, "lower", "both", "both-equal",
        ),
        Claim(
            "With equal learning rates, spectral normalization in G and D ends with better images "
            "than none",
            DEFAULT_DISTANCE, "lower", "both-equal", "none-equal",
        ),
        Claim(
            "With equal learning rates, spectral normalization in G and D ends with better images "
            "than in D only",
            DEFAULT_DISTANCE, "lower", "both-equal", "d-equal",
        ),
        *_claims_at_higher_rates(),
    ),
    columns=(
        Column("failed", "failed runs", COUNT_SPEC),
        Column("failure step", "failure step", ".0f"),
        *QUALITY_COLUMNS,
        Column("gradient of discriminator, median", "gradient of D, median"),
        Column("gradient of discriminator, largest", "of D, largest recorded"),
        Column("gradient of generator, median", "gradient of G, median"),
        Column("gradient of generator, largest", "of G, largest recorded"),
        *(Column(title, title) for title in LARGEST_SIGMA.values()),
    ),
    smallest={DEFAULT_DISTANCE: SMALLEST_DISTANCE},
    charts=(
        Chart(f"{DEFAULT_DISTANCE} to the training images (lower is better)", DEFAULT_DISTANCE),
        Chart("Mean logit of real images", "logits/real"),
        Chart("Mean logit of samples", "logits/fake"),
        Chart("Norm of D's gradient", "gradient/discriminator", log=True),
        Chart("Norm of G's gradient", "gradient/generator", log=True),
        Chart("Largest sigma in D", "sigma/discriminator/*", largest=True, log=True),
        Chart("Largest sigma in G", "sigma/generator/*", largest=True, log=True),
    ),
    by_layer="sigma/",
    notes=(
        "Whether runs fail is in the column of failed runs; claims are about the images at the "
        "end. With three seeds, even 3 failures of 3 against 0 of 3 prove nothing: chance alone "
        "gives this in one of ten cases (Fisher's exact test, two-sided).",
        CRITERION,
        "sigma is the exact largest singular value of a weight as the network uses it. As in "
        "spectral normalization, the weight of a convolution is a matrix (out, in * height * "
        "width).",
    ),
)  # fmt: skip
