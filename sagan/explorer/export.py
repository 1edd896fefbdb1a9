"""The page as one HTML file: samples and their maps inside, nothing asked of anybody.

The file holds the modules of the served page, each as a data: URL in the import map.
"""

import base64
import html
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from sagan.errors import SaganError
from sagan.explorer.page import STATIC, data_block, facts_of, render
from sagan.explorer.payload import Scene
from sagan.explorer.renderer import GALLERY, MAX_SEED, SampleRequest, Studio
from sagan.images.decode import read_photo
from sagan.model import open_model
from sagan.storage.files import write_bytes

# The browser itself sees to it that the file talks to nobody.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


def write_page(
    name: str,
    out: Path,
    photos: Sequence[Path] = (),
    num: int = 12,
    classes: str | None = None,
    seed: int = 0,
) -> None:
    """Write one HTML file in which one points at samples, or at photographs.

    Args:
        name: a run directory, a model file or a shipped model.
        out: the file.
        photos: picture files to show D's attention on, instead of samples.
        num: how many samples.
        classes: comma-separated class names or numbers, used in turn; None for all.
        seed: decides the latents.

    Raises:
        SaganError: the model, a class, the seed or a photograph cannot be used, there are too many
            samples, or the file cannot be written.
    """
    if seed > MAX_SEED:
        raise SaganError(f"seed {seed} is too large for the page: the largest is {MAX_SEED}")
    if num > GALLERY:
        raise SaganError(f"a page shows {GALLERY} samples at most, not {num}: name fewer --classes")
    model = open_model(name)
    studio = Studio(model)
    if photos:
        size, fit = model.config.resolution, model.fit
        scenes = [studio.look(read_photo(photo, size, fit)) for photo in photos]
    else:
        labels = [None] if classes is None else model.labels(classes)
        scenes = [
            studio.sample(SampleRequest(seed=seed, index=i, label=labels[i % len(labels)]))
            for i in _shown(range(num))
        ]
    if not scenes[0].maps:
        raise SaganError("this model has no attention layer to show")
    head = "".join(
        (
            f'<meta http-equiv="Content-Security-Policy" content="{html.escape(_POLICY)}">',
            f"<style>{_text('page.css')}</style>",
            f'<script type="importmap">{json.dumps({"imports": _modules("exported.js")})}</script>',
            data_block("facts", facts_of(model, studio)),
            *map(_scene_block, scenes),
            '<script type="module">import "sagan/exported.js";</script>',
        )
    )
    write_bytes(out, render(model, head, {}).encode())


def _shown(indices: range) -> Iterable[int]:
    """The same, with progress on a terminal: large models take seconds for each sample."""
    console = Console(stderr=True)
    return track(
        indices, "drawing", console=console, transient=True, disable=not console.is_terminal
    )


def _scene_block(scene: Scene) -> str:
    content = base64.b64encode(scene.encode()).decode()
    return f'<script type="application/octet-stream" class="scene">{content}</script>'


def _modules(entry: str) -> dict[str, str]:
    """A module and all that it imports, as {"sagan/NAME": data URL}."""
    found: dict[str, str] = {}
    wanted = [entry]
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = _text(name)
            wanted += re.findall(r'from "sagan/(\w+\.js)"', found[name])
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in found.items()}
    return {f"sagan/{name}": f"data:text/javascript;base64,{c}" for name, c in encoded.items()}


def _text(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
