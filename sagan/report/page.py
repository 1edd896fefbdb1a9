"""The page on a run: HTML with everything in it, which needs no network and no other file."""

import base64
import json
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from sagan.errors import SaganError
from sagan.report.curves import drawn_panels
from sagan.run.run import Run
from sagan.run.stats import Record
from sagan.storage.files import MAX_BYTES, check_page_name, write_bytes

MOST_FRAMES = 16  # pictures of a film: bounds the size of the page
PNG = b"\x89PNG\r\n\x1a\n"  # what such a file begins with
ATTENTION = {
    "distance": "distance, pixels",
    "entropy": "entropy, nats",
    "concentration": "share of the keys that holds half",
}

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 76rem; margin: 2rem auto;
  padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.lead { color: #555; margin-top: .2rem; }
dl.numbers { display: flex; flex-wrap: wrap; gap: .6rem 2.2rem; margin: 1rem 0; }
dl.numbers dt { color: #666; font-size: .8rem; } dl.numbers dd { margin: 0; font-size: 1.3rem; }
figure { margin: 0 0 1.2rem; } figcaption { color: #444; font-size: .9rem; }
figure img { max-width: 100%; } figure.samples img { image-rendering: pixelated; width: 36rem; }
figure.film input { width: 20rem; max-width: 100%; vertical-align: middle; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: .88rem; }
td, th { text-align: left; padding: .15rem 1.2rem .15rem 0; vertical-align: top; }
td + td { font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
.columns { display: grid; gap: 0 2rem;
  grid-template-columns: repeat(auto-fit, minmax(30rem, 1fr)); }
"""

_SCRIPT = """
for (const film of document.querySelectorAll("figure.film")) {
  const frames = film.querySelectorAll("img"), slider = film.querySelector("input");
  const show = () => frames.forEach((frame, i) => {
    frame.hidden = i !== Number(slider.value);
    if (!frame.hidden) film.querySelector("output").textContent = frame.alt;
  });
  slider.hidden = false;
  slider.addEventListener("input", show);
  show();
}
"""


def write_report(run: Path, out: Path) -> None:
    """Write one HTML file on a run: what it draws, how it went, what it was.

    Args:
        run: a run directory, finished or not.
        out: FILE.html.

    Raises:
        SaganError: it is no run, has recorded nothing yet, or the file cannot be written.
    """
    found = Run(run)
    found.require()
    check_page_name(out)
    if not found.records:
        raise SaganError(f"'{run}' has recorded nothing yet: train on, then try again")
    # A stranger's JSON may hold half a surrogate pair, which no file can.
    write_bytes(out, "".join(_page(found)).encode(errors="backslashreplace"))


def _page(run: Run) -> Iterator[str]:
    description, records = run.description, run.records
    title = escape(run.path.resolve().name)
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<style>{STYLE}</style></head><body>\n<h1>{title}</h1>"
    source, images = description.data.get("source"), description.data.get("images")
    lead = f"preset {description.preset}, trained on {images} pictures of {source}"
    yield f'<p class="lead">{escape(lead)}</p>\n'
    latest = _latest(records)
    yield from _numbers(latest)
    yield from _film("Samples", "the same latents at every step", run.path / "samples")
    yield from _film("Attention", "what single pixels draw on", run.path / "attention")
    yield '<h2>Curves</h2>\n<div class="columns">'
    for panel, svg in drawn_panels(records):
        yield f"<figure><figcaption>{escape(panel)}</figcaption>{svg}</figure>\n"
    yield "</div>\n"
    yield from _attention(_latest(records[::-1]), latest)
    yield '<div class="columns">'
    yield from _table("Configuration", description.config.model_dump(mode="json"))
    if run.environment:
        yield from _table("Environment", run.environment)
    yield f"</div>\n<script>{_SCRIPT}</script></body></html>\n"


def _latest(records: Sequence[Record]) -> Record:
    """The last value of everything that was recorded."""
    latest: Record = {}
    for record in records:
        latest |= record
    return latest


def _numbers(latest: Record) -> Iterator[str]:
    """The latest values that say at a glance how the run went."""
    shown = {"step": f"{latest['step']:,}"}
    if "seconds" in latest:
        shown["minutes of updates"] = f"{latest['seconds'] / 60:.1f}"
    if latest.get("dropped"):
        shown["updates dropped"] = f"{latest['dropped']:,.0f}"
    for name, value in latest.items():
        kind, _, rest = name.partition("/")
        if kind in ("metric", "gamma") and rest != "seconds" and isinstance(value, float):
            shown[rest if kind == "metric" else f"gamma of {rest}"] = f"{value:.4g}"
    yield '<dl class="numbers">'
    for name, text in shown.items():
        yield f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>"
    yield "</dl>\n"


def _attention(first: Record, last: Record) -> Iterator[str]:
    """How each layer attended before and after, by the first and the last of its numbers."""
    layers = [
        n.split("/")[1] for n in last if n.startswith("attention/") and n.endswith("/entropy")
    ]
    if not layers:
        return
    yield "<section><h2>Attention, first and last measured</h2><table><tr><th>layer</th>"
    yield "".join(f"<th>{escape(heading)}</th>" for heading in ATTENTION.values()) + "</tr>"
    for layer in layers:
        yield f"<tr><td>{escape(layer)}</td>"
        for number in ATTENTION:
            name = f"attention/{layer}/{number}"
            values = [f"{r[name]:.3g}" if name in r else "?" for r in (first, last)]
            yield f"<td>{' → '.join(values)}</td>"
        yield "</tr>"
    yield "</table></section>\n"


def _film(title: str, what: str, folder: Path) -> Iterator[str]:
    """Pictures over time, with a slider; none if the folder is a link to elsewhere."""
    if folder.is_symlink():
        return
    frames = _spread(
        sorted(
            (int(found[1]), path)
            for path in folder.glob("step-*.png")
            if (found := re.fullmatch(r"step-(\d+)\.png", path.name)) and _is_own_png(path)
        )
    )
    if not frames:
        return
    yield f"<h2>{title}</h2>\n"
    yield f'<figure class="film {title.lower()}"><figcaption>{what}: '
    yield f'<input type="range" hidden max="{len(frames) - 1}" value="{len(frames) - 1}" '
    yield f'aria-label="step"> <output>step {frames[-1][0]:,}</output></figcaption>'
    for step, path in frames:
        hidden = "" if path == frames[-1][1] else " hidden"
        yield f'<img{hidden} alt="step {step:,}" src="{_data_url(path)}">'
    yield "</figure>\n"


def _is_own_png(path: Path) -> bool:
    """Whether this is a picture, and in this folder: no link to what is not to be shared."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:
        return False
    with path.open("rb") as file:
        return file.read(len(PNG)) == PNG


def _spread(frames: Sequence[tuple[int, Path]]) -> list[tuple[int, Path]]:
    """At most MOST_FRAMES of them, evenly spread, the first and the last among them."""
    most = min(MOST_FRAMES, len(frames))
    return [frames[round(i * (len(frames) - 1) / max(most - 1, 1))] for i in range(most)]


def _data_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _table(title: str, content: Mapping[str, Any]) -> Iterator[str]:
    yield f"<section><h2>{title}</h2><table>"
    for key, value in content.items():
        text = value if isinstance(value, str) else json.dumps(value)
        yield f"<tr><td>{escape(str(key))}</td><td>{escape(text)}</td></tr>"
    yield "</table></section>\n"
