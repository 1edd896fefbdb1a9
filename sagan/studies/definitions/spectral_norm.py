"""Does spectral normalization stabilize training? Zhang et al. 2018, section 5.1, figures 3, 4."""

import math
from collections.abc import Callable, Iterator
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
    measure,
    prepare_reference,
    untrained,
)
from sagan.studies.measure.train import (
    kept_curves,
    last_values,
    parameters_of,
    seconds_per_step,
    train_run,
)
from sagan.studies.run import Curve, Data, Findings, Run, Watch
from sagan.studies.study import ALIKE, COUNTED, Chart, Claim, Column, Settings, Study, Variant

POINTS = 8  # checkpoints that are kept and measured, the last one among them
LARGEST = {"generator": "largest sigma in G", "discriminator": "largest sigma in D"}


def perform(run: Run, data: Data, watch: Watch) -> Findings:
    """Train with checkpoints kept on the way, measure these, then the last one thoroughly."""
    steps = run.config.steps
    every = math.ceil(steps / POINTS)
    kept = {"checkpoint_every": every, "keep_every": every}
    run = replace(run, config=run.config.model_copy(update=kept))
    records = train_run(run, data, watch)
    kept_there = [
        c for c in checkpoints(run.folder) if step_of(c) % every == 0 or step_of(c) == steps
    ]
    curves = kept_curves(records) | sigma_curves(run, data, kept_there)
    curves[DEFAULT_DISTANCE] = distances(run, data, kept_there, watch)
    document = measure(run.folder, data, watch.progress)
    failed = failure_step(
        curves[DEFAULT_DISTANCE],
        curves.get("dropped", []),
        blank_distance(data),
        document["metrics"]["coverage"],
    )
    return Findings(
        numbers=document["metrics"]
        | {"failed": float(failed is not None)}
        | ({} if failed is None else {"failure step": failed})
        | last_values(curves, "dropped")
        | _summary(curves),
        curves=curves,
        parameters=parameters_of(run, data),
        protocol=document["protocol"],
        step_seconds=seconds_per_step(records),
    )


def distances(run: Run, data: Data, kept: list[Path], watch: Watch) -> Curve:
    """How far samples are from the training pictures, from before the first step on."""
    models: list[tuple[int, Model | Path]] = [(0, untrained(run, data))]
    models += [(step_of(folder), folder) for folder in kept]
    found: Curve = []
    for step, model in models:
        document = measure(model, data, watch.progress, CURVE_SAMPLES, ["kid"])
        found.append((step, document["metrics"][DEFAULT_DISTANCE]))
    return found


def _summary(curves: dict[str, Curve]) -> dict[str, float]:
    """The largest of each layer's sigmas in the end; gradients and logits over the training."""
    numbers = {
        title: max(c[-1][1] for name, c in curves.items() if name.startswith(f"sigma/{network}/"))
        for network, title in LARGEST.items()
    }
    # Curves hold finite values: where a training went wrong at once there may be none.
    for network in LARGEST:
        values = [value for _, value in curves.get(f"gradient/{network}", [])]
        if values:
            numbers[f"gradient of {network}, median"] = float(np.median(values))
            numbers[f"gradient of {network}, largest"] = max(values)
    if "logits/real" in curves and "logits/fake" in curves:
        real, fake = curves["logits/real"][-1][1], curves["logits/fake"][-1][1]
        numbers["logits, real minus fake"] = real - fake
    return numbers


def sigma_curves(run: Run, data: Data, kept: list[Path]) -> dict[str, Curve]:
    """The largest singular value of each weight as the networks use it, "sigma/NETWORK/LAYER".

    Exact, for layers with and without spectral normalization: for the former it says how well the
    power iteration follows, and is 1 where it does so perfectly.
    """
    curves: dict[str, Curve] = {}
    for folder in kept:
        for name, value in exact_sigmas(run, data, folder):
            curves.setdefault(f"sigma/{name}", []).append((step_of(folder), value))
    return curves


def exact_sigmas(run: Run, data: Data, checkpoint: Path) -> Iterator[tuple[str, float]]:
    """ "NETWORK/LAYER" and sigma of each convolution and linear layer of a checkpoint."""
    generator, discriminator = build_networks(run.config, data.train.num_classes)
    networks: dict[str, nn.Module] = {"generator": generator, "discriminator": discriminator}
    for name, network in networks.items():
        load_tensors(network, read_checkpoint(checkpoint, name), str(checkpoint))
        fold_spectral_norm(network)
        for layer_name, layer in network.named_modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                yield f"{name}/{layer_name}", float(sigma_of(layer))


def _normalized(generator: bool, discriminator: bool) -> Callable[[Config], Settings]:
    return lambda _: {"spectral_norm_g": generator, "spectral_norm_d": discriminator}


def _equal_rates(generator: bool, discriminator: bool) -> Callable[[Config], Settings]:
    normalized = _normalized(generator, discriminator)
    return lambda config: {**normalized(config), "lr_d": config.lr_g}


_EQUAL = "D's learning rate as low as G's"

STUDY = Study(
    name="spectral-norm",
    question="Does spectral normalization keep training stable, in D and in G?",
    settings=ALIKE,
    variants=(
        Variant("none", "no spectral normalization", _normalized(False, False)),
        Variant("d", "in D only", _normalized(False, True)),
        Variant("both", "in G and D", _normalized(True, True)),
        Variant("none-equal", f"none, {_EQUAL}", _equal_rates(False, False), default=False),
        Variant("d-equal", f"in D only, {_EQUAL}", _equal_rates(False, True), default=False),
        Variant("both-equal", f"in G and D, {_EQUAL}", _equal_rates(True, True), default=False),
    ),
    prepare=prepare_reference,
    perform=perform,
    claims=(
        Claim(
            "Spectral normalization in G and D draws better in the end than none",
            DEFAULT_DISTANCE, "lower", "both", "none",
        ),
        Claim(
            "Spectral normalization in D only draws better in the end than none",
            DEFAULT_DISTANCE, "lower", "d", "none",
        ),
        Claim(
            "Spectral normalization in G and D draws better in the end than in D only",
            DEFAULT_DISTANCE, "lower", "both", "d",
        ),
        Claim(
            "With spectral normalization in both, two learning rates draw better than equal ones",
            DEFAULT_DISTANCE, "lower", "both", "both-equal",
        ),
        Claim(
            "At equal learning rates spectral normalization in G and D draws better than none",
            DEFAULT_DISTANCE, "lower", "both-equal", "none-equal",
        ),
        Claim(
            "At equal learning rates spectral normalization in G and D draws better than in D only",
            DEFAULT_DISTANCE, "lower", "both-equal", "d-equal",
        ),
    ),
    columns=(
        Column("failed", "trainings that failed", COUNTED),
        Column("failure step", "step of failure", ".0f"),
        *QUALITY_COLUMNS,
        Column("gradient of discriminator, median", "gradient of D, median"),
        Column("gradient of discriminator, largest", "largest recorded of D"),
        Column("gradient of generator, median", "gradient of G, median"),
        Column("gradient of generator, largest", "largest recorded of G"),
        *(Column(title, title) for title in LARGEST.values()),
    ),
    charts=(
        Chart(f"{DEFAULT_DISTANCE} to the training pictures, lower is better", DEFAULT_DISTANCE),
        Chart("Mean logit of real pictures", "logits/real"),
        Chart("Mean logit of samples", "logits/fake"),
        Chart("Norm of D's gradient", "gradient/discriminator", log=True),
        Chart("Norm of G's gradient", "gradient/generator", log=True),
        Chart("Largest sigma in D", "sigma/discriminator/*", largest=True, log=True),
        Chart("Largest sigma in G", "sigma/generator/*", largest=True, log=True),
    ),
    by_layer="sigma/",
    notes=(
        "Whether trainings fail is in the table's column of failures; claims are about how good "
        "samples are in the end. With three seeds even 3 of 3 against 0 of 3 is no proof: by "
        "chance it comes in one of ten (Fisher's exact test, two sides).",
        CRITERION,
        "sigma is the largest singular value of a weight as the network uses it, exact; a "
        "convolution's weight is taken as a matrix (out, in * height * width), as by the "
        "normalization.",
    ),
)  # fmt: skip
