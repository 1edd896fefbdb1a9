"""The exported page: one HTML file with samples and their maps inside, which makes no request.

It contains the modules of the served page, each as a data: URL in the import map.
"""

import base64
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from sagan.build import map_entries, map_sizes
from sagan.errors import SaganError
from sagan.explain.front_views import front_view
from sagan.explorer.page import BLEND_STEP, GAMMA_STEP, MAX_GAMMA, Variant, exported_page, modules
from sagan.explorer.renderer import (
    GALLERY_SIZE,
    INTERPOLATION_STEPS,
    MAX_SEED,
    Renderer,
    SampleRequest,
    start_request,
)
from sagan.images.decode import read_photo
from sagan.model import Model, open_model
from sagan.runtime.device import CPU
from sagan.runtime.memory import check_memory
from sagan.storage.files import write_bytes

# Of the generator's maps: above 64 pixels, frames between samples would make the file too large.
MAX_FRAME_ENTRIES = 2**17

# By which gamma is multiplied, besides 1.
_STRENGTHS = [
    float(gamma) for gamma in np.arange(0, MAX_GAMMA + GAMMA_STEP, GAMMA_STEP) if gamma != 1
]

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
    entries = map_entries(renderer.discriminator) if photos else _entries_of_sample(renderer)
    if not entries:
        raise SaganError(f"model '{name}' has no attention layer to show")
    # Each entry is a byte, which base64 makes 4/3. When the page becomes UTF-8, it takes that six
    # times: once in parts, twice as text of two bytes a character, three times as what Python
    # reserves for the result.
    check_memory(8 * entries * (len(photos) or num), name, "attention maps")
    if photos:
        shape, fit = model.config.shape, model.fit
        payloads = (renderer.judge(read_photo(photo, shape, fit)) for photo in photos)
        requests: list[SampleRequest] = []
    else:
        requests = _requests(model, num, classes, seed)
        payloads = (renderer.sample(request) for request in _with_progress(requests))
    encoded = [_base64(payload.encode()) for payload in payloads]
    unchanged = _unchanged_maps(renderer)
    variants = [
        variant
        for index, request in enumerate(_with_progress(requests))
        for variant in _variants(renderer, index, request, unchanged)
    ]
    facts: dict[str, Any] = {"unchangedMaps": unchanged}
    if classes is not None or seed != 0:
        facts["tour"] = None
    imports = _modules("exported.js")
    page = exported_page(model, renderer, _POLICY, imports, encoded, variants, facts)
    write_bytes(out, page.encode())


def _requests(model: Model, num: int, classes: str | None, seed: int) -> list[SampleRequest]:
    """The samples to show; unless others are asked for, a shipped model's front view is first."""
    labels = model.labels(classes) if classes is not None else [None]
    requests = [
        SampleRequest(seed=seed, index=i, label=labels[i % len(labels)]) for i in range(num)
    ]
    if classes is None and seed == 0 and front_view(model):
        start = start_request(model)
        requests = [start, *(request for request in requests if request != start)][:num]
    return requests


def _entries_of_sample(renderer: Renderer) -> int:
    """Entries of the maps that the page has of a sample, without those of small maps' frames."""
    sizes = map_sizes(renderer.generator)
    changing = sizes[len(_unchanged_maps(renderer)) :]
    return sum(sizes) + len(_STRENGTHS) * sum(changing) + map_entries(renderer.discriminator)


def _unchanged_maps(renderer: Renderer) -> list[str]:
    """The generator's first attention layer: its map does not depend on the strength."""
    return list(renderer.generator.attention_layers())[:1]


def _variants(
    renderer: Renderer,
    index: int,
    request: SampleRequest,
    unchanged: Sequence[str],
) -> Iterator[Variant]:
    """One sample at other strengths, and on the way to that of the next seed.

    They come without the discriminator's maps, and with `unchanged` ones left out.
    """
    settings: list[dict[str, float]] = [{"gamma": gamma} for gamma in _STRENGTHS]
    if map_entries(renderer.generator) <= MAX_FRAME_ENTRIES:
        blends = range(BLEND_STEP, INTERPOLATION_STEPS + 1, BLEND_STEP)
        toward = (request.seed + 1) % (MAX_SEED + 1)
        settings += [{"toward": toward, "blend": blend} for blend in blends]
    for setting in settings:
        payload = renderer.sample(request.model_copy(update=setting))
        blend = int(setting.get("blend", 0))
        left_out = () if blend else unchanged
        kept = {
            name: attention
            for name, attention in payload.maps.items()
            if name in renderer.generator.attention_layers() and name not in left_out
        }
        without = payload.without_attention if blend else None
        content = replace(payload, maps=kept, without_attention=without).encode()
        gamma = f"{setting.get('gamma', 1):g}"
        yield Variant(index, gamma, blend, _base64(zlib.compress(content)))


def _with_progress(requests: Sequence[SampleRequest]) -> Iterable[SampleRequest]:
    """The same requests, with a progress bar on a terminal: large models take seconds a sample."""
    console = Console(stderr=True)
    return track(
        requests, "generating", console=console, transient=True, disable=not console.is_terminal
    )


def _modules(entry: str) -> dict[str, str]:
    """A module and everything it imports, as {"sagan/NAME": data URL}."""
    return {
        f"sagan/{name}": f"data:text/javascript;base64,{_base64(source)}"
        for name, source in modules(entry).items()
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
