"""Train a run with the ordinary training code, in an ordinary run directory."""

import math
from dataclasses import replace
from fnmatch import fnmatchcase

from sagan.build import build_meta_networks, count_parameters
from sagan.run.stats import Record, read_records
from sagan.studies.run import NetworkName, RunObserver, Series, StudyData, StudyRun
from sagan.training.loop import train
from sagan.training.session import prepare_session

# Patterns of names in stats.jsonl. Times are left out, and sigma of the dozens of layers.
KEPT_CURVES = ("loss/*", "logits/*", "gradient/*", "gamma/*", "attention/*", "augment/p", "dropped")


def train_run(run: StudyRun, data: StudyData, observer: RunObserver) -> list[Record]:
    """Train to the last step, from wherever the run directory stands, and return its statistics.

    Raises:
        SaganError: the run directory cannot be used.
        Interrupted: by a signal; the run is saved.
    """
    settings = run.config.model_dump()
    source = str(data.train.path)
    session = prepare_session(source, run.folder, run.preset, settings, notify=lambda _: None)
    # An attention figure takes as long as dozens of small steps; `sagan explain RUN` draws one.
    train(replace(session, attention_figures=False), observer.reporter)
    return read_records(run.folder)


def parameters_of(run: StudyRun, data: StudyData) -> dict[NetworkName, int]:
    """Return the number of parameters of each network."""
    generator, discriminator = build_meta_networks(run.config, data.train.num_classes)
    return {
        "generator": count_parameters(generator),
        "discriminator": count_parameters(discriminator),
    }


def kept_curves(records: list[Record]) -> dict[str, Series]:
    """Return the finite values of `KEPT_CURVES`; of gamma the absolute value."""
    curves: dict[str, Series] = {}
    for record in records:
        for name, value in record.items():
            if any(fnmatchcase(name, pattern) for pattern in KEPT_CURVES) and math.isfinite(value):
                kept = abs(value) if name.startswith("gamma/") else value
                curves.setdefault(name, []).append((record["step"], kept))
    return curves


def last_values(curves: dict[str, Series], *prefixes: str) -> dict[str, float]:
    """Return the last value of each curve that starts with one of the prefixes."""
    return {name: curve[-1][1] for name, curve in curves.items() if name.startswith(prefixes)}


def seconds_per_step(records: list[Record]) -> float:
    """Return the mean time of a step; 0 without records."""
    timed = [record for record in records if "seconds" in record]
    return timed[-1]["seconds"] / timed[-1]["step"] if timed else 0.0
