"""`--scale-batch`: a recipe for more processes, in which each keeps its batch."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sagan.config import Config, parse_config
from sagan.run.directory import RunDescription
from sagan.run.run import Run
from sagan.training.config_file import ConfigFile
from sagan.training.session import Session
from sagan.types import Notify

SCALED = ("batch_size", "lr_g", "lr_d")


def scale_config(config: Config, processes: int) -> Config:
    """Return a recipe for one process as one for several.

    The batch grows with their number n, and both learning rates with its square root, as Adam needs
    it (Malladi et al. 2022, arXiv 2205.10287); the linear rule is SGD's (Goyal et al. 2017, arXiv
    1706.02677). Adam's betas stay: their rule, 1 - n (1 - beta), would make a beta1 of 0 negative.
    The number of steps stays, too, so a training sees n times as many images.

    Raises:
        SaganError: a value gets too large.
    """
    root = math.sqrt(processes)
    scaled = {
        "batch_size": config.batch_size * processes,
        "lr_g": config.lr_g * root,
        "lr_d": config.lr_d * root,
    }
    return parse_config(config.model_dump() | scaled)


def scale_session(session: Session, processes: int, notify: Notify) -> Session:
    """Scale the recipe of a new run, and those that a time plan may choose from.

    A run that has begun keeps its batch and rates, with however many processes it resumes.

    Args:
        session: as prepared.
        processes: how many train together.
        notify: called with one line that says which batch and rates are used.
    """
    config = session.description.config
    if session.run.exists:
        notify(f"--scale-batch: the run began with batch_size={config.batch_size}, which stays")
        return session

    def scaled(description: RunDescription) -> RunDescription:
        return replace(description, config=scale_config(description.config, processes))

    plan = session.plan
    if plan is not None:
        candidates = [replace(c, description=scaled(c.description)) for c in plan.candidates]
        plan = replace(plan, candidates=tuple(candidates))
    description = scaled(session.description)
    values = (f"{key}={getattr(description.config, key):.4g}" for key in SCALED)
    number = f"{processes} processes" if processes > 1 else "one process"
    notify(f"--scale-batch: {', '.join(values)} for {number}")
    return replace(session, description=description, plan=plan)


def unscaled_request(
    run: Run, overrides: Mapping[str, Any], recipe: ConfigFile | None
) -> tuple[dict[str, Any], ConfigFile | None]:
    """Return settings and configuration file without what a run that has begun has scaled.

    The command that began it gives these for one process, and would be refused.
    """
    if not run.exists:
        return dict(overrides), recipe
    kept = {key: value for key, value in overrides.items() if key not in SCALED}
    if recipe is not None and recipe.settings:
        settings = {key: v for key, v in recipe.settings.items() if key not in SCALED}
        recipe = replace(recipe, settings=settings)
    return kept, recipe
