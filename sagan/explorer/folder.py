"""The static page: a folder that any web server serves as it is. Networks run in the browser.

index.html
static/    the served page's modules and style sheet
runtime/   onnxruntime-web
model/     both networks as ONNX, and the view that the page opens with, computed in advance

Networks and the runtime's program are compressed here, because many hosts do not do it: together,
they would otherwise be twice as large.
"""

import gzip
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from sagan.errors import SaganError, reason
from sagan.explorer.browser_runtime import BINARY, SCRIPT, browser_runtime
from sagan.explorer.page import STATIC, modules, static_page
from sagan.explorer.renderer import GalleryRequest, Renderer, start_request
from sagan.exporting.formats import differences
from sagan.exporting.program import trace_network
from sagan.model import Model, open_model
from sagan.runtime.extras import ONNX, report_missing_library
from sagan.runtime.shell import quoted
from sagan.storage.fsync import write
from sagan.storage.staging import replace, staged

PAGE = "index.html"
_CONTENTS = {PAGE, "static", "runtime", "model"}
_LICENSE = Path(__file__).parent / "onnxruntime_license.txt"
MAP_TOLERANCE = 1e-3  # by which a weight of attention may differ from the model's
_MARGIN = 5  # only two examples are checked, and other samples may differ several times as much
_NETWORKS = ("generator", "discriminator")
_FROZEN = "discriminator.backbone."  # in a projected one
_ENTRIES = ("live.js", "network_worker.js")


def write_folder(name: str, out: Path, say: Callable[[str], None]) -> None:
    """Write the static page of a model.

    Args:
        name: a run directory, a model file or a shipped model.
        out: the folder. If it already exists, it is empty or an older static page with nothing
            beside it, which is replaced.
        say: called with lines on what is fetched and written.

    Raises:
        SaganError: the model cannot be used, a library or the runtime is missing, or the folder
            cannot be written.
    """
    _check_replaceable(out)
    with report_missing_library(ONNX):  # before anything is fetched
        import sagan.exporting.onnx_file  # noqa: F401
    model = open_model(name)
    renderer = Renderer(model)
    if not renderer.gammas():
        raise SaganError(f"model '{name}' has no attention layer to show")
    runtime = browser_runtime(say)
    program = _compressed(runtime[BINARY])
    parts = {network: _compressed(_network_content(model, network)) for network in _NETWORKS}
    start = start_request(model)
    parts["gallery"] = renderer.gallery(GalleryRequest(seed=start.seed))
    parts["sample"] = renderer.sample(start).encode()
    named = {part: _file_name(part, content) for part, content in parts.items()}
    facts = {
        "fit": model.fit,
        "channels": model.config.shape.channels,
        "latentSize": model.config.latent_size,
        "directions": renderer.directions.tolist(),
        "files": {**named, "runtime": f"runtime/{BINARY}.gz"},
        "bytes": len(program) + sum(len(parts[network]) for network in _NETWORKS),
        "start": start.model_dump(),
    }
    files = {
        PAGE: static_page(model, renderer, facts).encode(),
        "static/page.css": (STATIC / "page.css").read_bytes(),
        **{f"static/{file}": source for file, source in modules(*_ENTRIES).items()},
        f"runtime/{SCRIPT}": runtime[SCRIPT],
        f"runtime/{BINARY}.gz": program,
        "runtime/LICENSE.txt": _LICENSE.read_bytes(),
        **{named[part]: content for part, content in parts.items()},
    }
    _write(out, files)
    total, own = (sum(map(len, contents.values())) / 1e6 for contents in (files, parts))
    say(f"wrote {out}: {total:.1f} MB for any web server, {own:.1f} MB of it the model")
    say(f"to look at it here: python -m http.server --directory {quoted(out)}")


def _check_replaceable(out: Path) -> None:
    found = {path.name for path in out.iterdir()} if out.is_dir() else set()
    known = (out / "static" / _ENTRIES[0]).is_file() and (out / PAGE).is_file()
    if out.is_dir() and not found:
        return
    if not known and (out.exists() or out.is_symlink()):
        raise SaganError(f"'{out}' exists and is not a static page: choose another place")
    if foreign := sorted(found - _CONTENTS):
        raise SaganError(
            f"'{out / foreign[0]}' is not of the static page, which would replace its folder: move "
            "it, or write the page to an empty folder and copy it from there"
        )


def _network_content(model: Model, network: str) -> bytes:
    """Return one network as an ONNX file, large weights in 16 bits unless its maps suffer.

    Those of the frozen network of a projected discriminator are stored in 8 bits.
    """
    from sagan.exporting.onnx_file import onnx_content, run_onnx
    from sagan.exporting.quantization import LARGE, quantize_weights

    content = b""
    for half_from in (LARGE, None):
        traced = trace_network(model, network == "discriminator", maps=True, half_from=half_from)
        content = quantize_weights(onnx_content(traced, model.metadata()), _FROZEN)
        found = differences(run_onnx, content, traced)
        if all(found[name] <= MAP_TOLERANCE / _MARGIN for name in found if ".attention_" in name):
            break
    return content


def _compressed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)  # the time would change the file's name


def _file_name(part: str, content: bytes) -> str:
    """Return a name that changes with the content: browsers and hosts keep files for a while."""
    ending = "onnx.gz" if part in _NETWORKS else "safetensors"
    return f"model/{part}-{hashlib.sha256(content).hexdigest()[:12]}.{ending}"


def _write(out: Path, files: Mapping[str, bytes]) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with staged(out) as folder:
            for name, content in files.items():
                path = folder / name
                path.parent.mkdir(exist_ok=True)
                write(path, content)
            replace(folder, out)
    except OSError as error:
        raise SaganError(f"cannot write '{out}': {reason(error)}") from None
