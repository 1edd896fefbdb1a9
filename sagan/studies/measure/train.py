"""Training a run with the ordinary training code, into an ordinary run directory."""

import math
from fnmatch import fnmatchcase

from sagan.build import build_meta_networks, count_parameters
from sagan.run.stats import Record, read_records
from sagan.studies.run import Curve, Data, Network, Run, Watch
from sagan.training.loop import train
from sagan.training.session import prepare

# Of stats.jsonl; not kept are times, and sigma of each layer, of which there are dozens.
KEPT = ("loss/*", "logits/*", "gradient/*", "gamma/*", "attention/*", "augment/p", "dropped")


def train_run(run: Run, data: Data, watch: Watch) -> list[Record]:
    """Train to the last step, from wherever the run directory is; its statistics.

    Raises:
        SaganError: the run directory cannot be used.
        Interrupted: by a signal; the run is saved.
    """
    settings = run.config.model_dump()
    source = str(data.train.path)
    session = prepare(source, run.folder, run.preset, settings, notify=lambda _: None)
    train(session, watch.reporter)
    return read_records(run.folder)


def parameters_of(run: Run, data: Data) -> dict[Network, int]:
    """How many each network has."""
    generator, discriminator = build_meta_networks(run.config, data.train.num_classes)
    return {
        "generator": count_parameters(generator),
        "discriminator": count_parameters(discriminator),
    }


def kept_curves(records: list[Record]) -> dict[str, Curve]:
    """The curves of `KEPT`; of gamma its size, as its sign is a matter of chance."""
    curves: dict[str, Curve] = {}
    for record in records:
        for name, value in record.items():
            if any(fnmatchcase(name, pattern) for pattern in KEPT) and math.isfinite(value):
                kept = abs(value) if name.startswith("gamma/") else value
                curves.setdefault(name, []).append((record["step"], kept))
    return curves


def last_values(curves: dict[str, Curve], *prefixes: str) -> dict[str, float]:
    """Where the curves whose names begin so end."""
    return {name: curve[-1][1] for name, curve in curves.items() if name.startswith(prefixes)}


def seconds_per_step(records: list[Record]) -> float:
    """Time in updates over their number."""
    timed = [record for record in records if "seconds" in record]
    return timed[-1]["seconds"] / timed[-1]["step"] if timed else 0.0
