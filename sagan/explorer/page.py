"""The page as HTML. The served page and the exported one extend the same template."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sagan.explorer.renderer import GALLERY_SIZE, INTERPOLATION_STEPS, MAX_SEED, Renderer
from sagan.model import Model
from sagan.report.html import render, script_json

STATIC = Path(__file__).parent / "static"
PAGE_TEMPLATES = Path(__file__).parent / "templates"

# What a logit means depends on the loss that the discriminator was trained with.
_SCORE_MEANING = {
    "hinge": "Trained to score real pictures +1 or higher and generated ones \N{MINUS SIGN}1 or "
    "lower.",
    "non-saturating": "Above 0, it takes the picture for real.",
    "wasserstein-gp": "Higher means more real; only differences between scores mean anything.",
}


def model_name(model: Model) -> str:
    """Return what a model is called: the name of its folder or file."""
    return Path(model.origin).resolve().name.removesuffix(".safetensors")


def served_page(model: Model, renderer: Renderer, with_training: bool) -> tuple[str, str]:
    """Return the served page and its Content-Security-Policy.

    Args:
        model: the model that the page is about.
        renderer: the model's networks.
        with_training: whether the page has a training tab.
    """
    # A policy names the inline script that it allows by its hash, so no other can run.
    import_map = script_json({"imports": {"sagan/": "./static/"}})
    digest = base64.b64encode(hashlib.sha256(import_map.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; "
        "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    page = render(
        PAGE_TEMPLATES / "served.html",
        **_model_values(model, renderer),
        import_map=import_map,
        score_meaning=_SCORE_MEANING[model.config.loss],
        with_training=with_training,
        interpolation_steps=INTERPOLATION_STEPS,
        max_seed=MAX_SEED,
    )
    return page, policy


def exported_page(
    model: Model, renderer: Renderer, policy: str, imports: Mapping[str, str], payloads: list[str]
) -> str:
    """Return the page as one file that loads nothing.

    Args:
        model: the model that the page is about.
        renderer: the model's networks.
        policy: the Content-Security-Policy.
        imports: {module name: data: URL}.
        payloads: encoded images with their maps, in base64.
    """
    return render(
        PAGE_TEMPLATES / "exported.html",
        **_model_values(model, renderer),
        policy=policy,
        style=Markup((STATIC / "page.css").read_text(encoding="utf-8")),  # our own: not escaped
        import_map=script_json({"imports": imports}),
        payloads=payloads,
    )


def _model_values(model: Model, renderer: Renderer) -> dict[str, Any]:
    """The values of both templates. `facts` is the data that their scripts start from."""
    name, size = model_name(model), model.config.shape.side
    facts = {
        "name": name,
        "classes": list(model.classes),
        "size": size,
        "gallery": GALLERY_SIZE,
        "gammas": renderer.gammas(),
    }
    return {
        "name": name,
        "size": size,
        "step": model.step,
        "credits": model.credits.splitlines(),
        "facts": script_json(facts),
    }
