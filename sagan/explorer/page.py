"""The page as HTML: one template for the served page and for the exported file."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from sagan.explorer.renderer import GALLERY, Studio
from sagan.model import Model

STATIC = Path(__file__).parent / "static"

_INTRO = (
    "While it makes a picture, a self-attention GAN lets every pixel draw on every other one. "
    "What glows is what the pixel under the dot draws on."
)
_FOOTER = (
    "Self-attention GANs (Zhang, Goodfellow, Metaxas, Odena 2019). The heat is how many times "
    "uniform attention a place gets, on a log scale up to the pixel&rsquo;s own maximum, at least "
    "4 times; the outline is the smallest set of places that holds half of the attention."
)
# What a logit means depends on the loss that the discriminator was trained with.
_SCORE_MEANING = {
    "hinge": "It was trained to give real pictures +1 or more and drawn ones &minus;1 or less.",
    "non-saturating": "Above 0 it takes the picture for a real one.",
    "wasserstein-gp": "Higher is more real to it; only differences mean anything.",
}
_PLACES = ("tabs", "explore_role", "actions", "way", "choose", "draw", "more", "training")


def name_of(model: Model) -> str:
    """What a model is called: its folder, or its file."""
    return Path(model.origin).resolve().name.removesuffix(".safetensors")


def facts_of(model: Model, studio: Studio) -> dict[str, Any]:
    """What the page knows about a model before it asks for anything."""
    return {
        "name": name_of(model),
        "classes": list(model.classes),
        "size": model.config.resolution,
        "gallery": GALLERY,
        "gammas": studio.gammas(),
    }


def describe(model: Model) -> str:
    """A model in one line."""
    size = model.config.resolution
    pixels = f"{size} \N{MULTIPLICATION SIGN} {size} pixels"
    return f"{name_of(model)} · {pixels} · step {model.step:,}"


def live_page(model: Model, studio: Studio, with_training: bool) -> tuple[str, str]:
    """The served page and its Content-Security-Policy."""
    import_map = json.dumps({"imports": {"sagan/": "./static/"}})
    head = (
        '<link rel="stylesheet" href="static/page.css">'
        f'<script type="importmap">{import_map}</script>'
        f"{data_block('facts', facts_of(model, studio))}"
        '<script type="module" src="static/live.js"></script>'
    )
    parts = _parts("live.html", score_meaning=_SCORE_MEANING[model.config.loss])
    if with_training:
        parts |= _parts("training.html", step=f"{model.step:,}")
        parts["explore_role"] = 'role="tabpanel" aria-labelledby="tab-explore"'
    digest = base64.b64encode(hashlib.sha256(import_map.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; "
        "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return render(model, head, parts), policy


def render(model: Model, head: str, parts: Mapping[str, str]) -> str:
    """The template with its places filled; those without a part stay empty."""
    title = f"{name_of(model)}: where it looks"
    template = Template((STATIC / "page.html").read_text(encoding="utf-8"))
    return template.substitute(
        dict.fromkeys(_PLACES, ""),
        title=html.escape(title),
        model=html.escape(describe(model)),
        head=head,
        intro=_INTRO,
        footer=_FOOTER,
        **parts,
    )


def data_block(name: str, value: Any) -> str:
    """JSON that a page's script reads; no text in it can end the element."""
    content = json.dumps(value).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{content}</script>'


def _parts(file: str, **values: str) -> dict[str, str]:
    """The parts of a file, each under a comment with its name, with these values filled in."""
    text = Template((STATIC / file).read_text(encoding="utf-8")).substitute(values)
    pieces = re.split(r"<!-- (\w+) -->\n", text)
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))
