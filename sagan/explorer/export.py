"""The exported page: one HTML file with samples and their maps inside, which makes no request.

It contains the modules of the served page, each as a data: URL in the import map.
"""

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from sagan.build import check_map_memory
from sagan.errors import SaganError
from sagan.explorer.page import exported_page, modules
from sagan.explorer.renderer import GALLERY_SIZE, MAX_SEED, Renderer, SampleRequest
from sagan.images.decode import read_photo
from sagan.model import open_model
from sagan.runtime.device import CPU
from sagan.storage.files import write_bytes

# The browser itself makes sure that the file contacts nobody.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


def export_page(
    name: str,
    out: Path,
    photos: Sequence[Path] = (),
    num: int = 12,
    classes: str | None = None,
    seed: int = 0,
    device: torch.device = CPU,
) -> None:
    """Write one HTML file in which the reader points at samples or at photos.

    Args:
        name: a run directory, a model file or a shipped model.
        out: the file.
        photos: image files to show D's attention on, instead of samples.
        num: how many samples.
        classes: comma-separated class names or numbers, used in turn; None for all.
        seed: decides the latents.
        device: where the networks compute.

    Raises:
        SaganError: the model, a class, the seed or a photo cannot be used, there are too many
            samples, or the file cannot be written.
    """
    if seed > MAX_SEED:
        raise SaganError(f"seed {seed} is too large for the page: the largest is {MAX_SEED}")
    if num > GALLERY_SIZE:
        raise SaganError(
            f"a page shows at most {GALLERY_SIZE} samples, not {num}: name fewer --classes"
        )
    model = open_model(name)
    renderer = Renderer(model, device)
    # A page keeps a byte for each entry, and base64 makes 4 of 3.
    for network in (renderer.generator, renderer.discriminator):
        check_map_memory(network, len(photos) or num, name, each_entry=2)
    if photos:
        shape, fit = model.config.shape, model.fit
        payloads = [renderer.judge(read_photo(photo, shape, fit)) for photo in photos]
    else:
        labels = model.labels(classes) if classes is not None else [None]
        payloads = [
            renderer.sample(SampleRequest(seed=seed, index=i, label=labels[i % len(labels)]))
            for i in _with_progress(range(num))
        ]
    if not payloads[0].maps:
        raise SaganError(f"model '{name}' has no attention layer to show")
    encoded = [_base64(payload.encode()) for payload in payloads]
    page = exported_page(model, renderer, _POLICY, _modules("exported.js"), encoded)
    write_bytes(out, page.encode())


def _with_progress(indices: range) -> Iterable[int]:
    """The same indices, with a progress bar on a terminal: large models take seconds a sample."""
    console = Console(stderr=True)
    return track(
        indices, "generating", console=console, transient=True, disable=not console.is_terminal
    )


def _modules(entry: str) -> dict[str, str]:
    """A module and everything it imports, as {"sagan/NAME": data URL}."""
    return {
        f"sagan/{name}": f"data:text/javascript;base64,{_base64(source)}"
        for name, source in modules(entry).items()
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
