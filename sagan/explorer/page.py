"""The page as HTML: served, static and exported, from templates that extend each other."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sagan.errors import printable
from sagan.explain.front_views import front_facts, front_view
from sagan.explorer.renderer import (
    GALLERY_SIZE,
    INTERPOLATION_STEPS,
    MAX_MOVE,
    MAX_SEED,
    Renderer,
)
from sagan.model import Model, shipped_models
from sagan.report.html import render, script_json
from sagan.report.tracks import run_names, tracks
from sagan.run.run import Run

STATIC = Path(__file__).parent / "static"
PAGE_TEMPLATES = Path(__file__).parent / "templates"

_IMPORT_MAP = script_json({"imports": {"sagan/": "./static/"}})
# A policy names the inline script that it allows by its hash, so no other can run.
_IMPORT_MAP_HASH = (
    f"'sha256-{base64.b64encode(hashlib.sha256(_IMPORT_MAP.encode()).digest()).decode()}'"
)

# Of the sliders of an exported page, which has nothing between them.
GAMMA_STEP, MAX_GAMMA = 0.5, 3
BLEND_STEP = 8

# The values of templates with controls: of the served and the static page.
_CONTROL_VALUES = {
    "max_move": MAX_MOVE,
    "import_map": _IMPORT_MAP,
    "interpolation_steps": INTERPOLATION_STEPS,
    "max_seed": MAX_SEED,
}

# What a logit means depends on the loss that the discriminator was trained with.
_SCORE_MEANING = {
    "hinge": "Trained to score real pictures +1 or higher and generated ones \N{MINUS SIGN}1 or "
    "lower.",
    "non-saturating": "Above 0, it takes the picture for real.",
    "wasserstein-gp": "Higher means more real; only differences between scores mean anything.",
}


def model_name(model: Model) -> str:
    """Return what a model is called: the name of its folder or file."""
    return printable(Path(model.origin).resolve().name).removesuffix(".safetensors")


def modules(*entries: str) -> dict[str, bytes]:
    """Return modules and everything they import, as {file name: source}."""
    sources: dict[str, bytes] = {}
    queue = list(entries)
    while queue:
        name = queue.pop()
        if name not in sources:
            sources[name] = (STATIC / name).read_bytes()
            # "sagan/NAME.js" on pages, "./NAME.js" in workers, where import maps do not apply.
            found = re.findall(rb'from "(?:sagan|\.)/(\w+\.js)"', sources[name])
            queue += [module.decode() for module in found]
    return sources


def served_page(model: Model, renderer: Renderer, runs: Sequence[Run]) -> tuple[str, str]:
    """Return the served page and its Content-Security-Policy.

    Args:
        model: the model that the page is about.
        renderer: the model's networks.
        runs: for the training tab: none, the model's own, or that and one beside it.

    Raises:
        SaganError: the description of a run is damaged.
    """
    policy = (
        f"default-src 'none'; script-src 'self' {_IMPORT_MAP_HASH}; style-src 'self'; "
        "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    page = render(
        PAGE_TEMPLATES / "served.html",
        **_model_values(model, _facts(model, renderer)),
        **_CONTROL_VALUES,
        num_directions=len(renderer.directions),
        tracks=tracks(runs),
        run_names=run_names([run.path for run in runs]),
    )
    return page, policy


def static_page(model: Model, renderer: Renderer, facts: Mapping[str, Any]) -> str:
    """Return the page of a static folder, with its Content-Security-Policy.

    Args:
        model: the model that the page is about.
        renderer: the model's networks.
        facts: what the page must know beyond what the served one does.
    """
    policy = (
        f"default-src 'none'; script-src 'self' 'wasm-unsafe-eval' {_IMPORT_MAP_HASH}; "
        "worker-src 'self' blob:; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'"
    )
    return render(
        PAGE_TEMPLATES / "static.html",
        **_model_values(model, {**_facts(model, renderer), **facts}),
        **_CONTROL_VALUES,
        num_directions=len(renderer.directions),
        policy=policy,
    )


@dataclass(frozen=True)
class Variant:
    """A sample of an exported page with other settings.

    Attributes:
        of: which sample.
        gamma: multiplies gamma of all its layers, as JavaScript writes it: "0.5", "2".
        blend: how far it is on the way to another sample, out of `INTERPOLATION_STEPS`.
        content: the encoded payload, compressed (zlib), in base64.
    """

    of: int
    gamma: str
    blend: int
    content: str


def exported_page(
    model: Model,
    renderer: Renderer,
    policy: str,
    imports: Mapping[str, str],
    payloads: Sequence[str],
    variants: Sequence[Variant],
    facts: Mapping[str, Any],
) -> str:
    """Return the page as one file that loads nothing.

    Args:
        model: the model that the page is about.
        renderer: the model's networks.
        policy: the Content-Security-Policy.
        imports: {module name: data: URL}.
        payloads: encoded images with their maps, in base64.
        variants: the same with other settings.
        facts: what the page must know beyond what the served one does, and the steps of its
            sliders.
    """
    return render(
        PAGE_TEMPLATES / "exported.html",
        **_model_values(model, {**_facts(model, renderer), **facts}),
        policy=policy,
        interpolation_steps=INTERPOLATION_STEPS,
        gamma_step=GAMMA_STEP,
        blend_step=BLEND_STEP,
        variants=variants,
        live_name=model.origin if model.origin in shipped_models() else "RUN_OR_MODEL_FILE",
        style=Markup((STATIC / "page.css").read_text(encoding="utf-8")),  # our own: not escaped
        import_map=script_json({"imports": imports}),
        payloads=payloads,
    )


def _facts(model: Model, renderer: Renderer) -> dict[str, Any]:
    """The data that the scripts of all pages start from."""
    return {
        "name": model_name(model),
        "classes": list(model.classes),
        "size": _size(model),
        "gallery": GALLERY_SIZE,
        "gammas": renderer.gammas(),
        "front": front_view(model),
        "tour": front_facts(model),
        "credits": model.credits,
    }


def _size(model: Model) -> dict[str, int]:
    """Width and height of the model's images in pixels."""
    return {"width": model.config.shape.width, "height": model.config.shape.height}


def _model_values(model: Model, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The values of all templates."""
    return {
        "name": model_name(model),
        "size": _size(model),
        "step": model.step,
        "credits": model.credits.splitlines(),
        "score_meaning": _SCORE_MEANING[model.config.loss],
        "facts": script_json(facts),
    }
