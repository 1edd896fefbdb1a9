"""A run's report as one HTML page that needs no network and no other file."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from sagan.errors import SaganError
from sagan.report.curves import drawn_panels
from sagan.report.html import REPORT_TEMPLATES, render
from sagan.report.tracks import FILM_STATIC, embedded_tracks
from sagan.run.run import Run
from sagan.run.stats import Record
from sagan.storage.files import check_page_name, write_bytes

ATTENTION = {
    "distance": "distance, pixels",
    "entropy": "entropy, nats",
    "concentration": "share of keys with half of the attention",
}


def write_report(run: Path, out: Path, beside: Path | None = None) -> None:
    """Write one HTML file on a run: its samples, its curves, its configuration and environment.

    Args:
        run: a run directory, finished or not.
        out: FILE.html.
        beside: another run, shown beside this one in the film of samples and attention.

    Raises:
        SaganError: `run` or `beside` is not a run directory, nothing has been recorded yet, or the
            file cannot be written.
    """
    found = Run(run)
    others = [Run(beside)] if beside is not None else []
    for one in (found, *others):
        one.require()
    check_page_name(out)
    if not found.records:
        raise SaganError(f"'{run}' has recorded nothing yet: train longer, then try again")
    # JSON from elsewhere may contain half a surrogate pair, which UTF-8 cannot encode.
    write_bytes(out, _page(found, others).encode(errors="backslashreplace"))


def _page(run: Run, others: Sequence[Run]) -> str:
    description = run.description
    first, latest = _merged(run.records[::-1]), _merged(run.records)
    runs = (run, *others)
    credits = [line for one in runs for line in one.description.credits.splitlines()]
    return render(
        REPORT_TEMPLATES / "run.html",
        title=run.path.resolve().name,
        preset=description.preset,
        num_images=description.data.get("images"),
        source=description.data.get("source"),
        numbers=_key_numbers(latest),
        tracks=[track for track in embedded_tracks(runs) if others or track.frames],
        film_style=Markup((FILM_STATIC / "film.css").read_text(encoding="utf-8")),
        film_module=Markup((FILM_STATIC / "film.js").read_text(encoding="utf-8")),
        panels=drawn_panels(run.records),
        attention_headings=ATTENTION.values(),
        attention=_attention_over_time(first, latest),
        configuration=_as_text(description.config.model_dump(mode="json")),
        environment=_as_text(run.environment),
        credits=list(dict.fromkeys(credits)),
    )


def _merged(records: Sequence[Record]) -> Record:
    """The last value of everything that was recorded."""
    merged: Record = {}
    for record in records:
        merged |= record
    return merged


def _key_numbers(latest: Record) -> dict[str, str]:
    """The latest values that show at a glance how the run went."""
    shown = {"step": f"{latest['step']:,}"}
    if "seconds" in latest:
        shown["minutes of updates"] = f"{latest['seconds'] / 60:.1f}"
    if latest.get("dropped"):
        shown["updates dropped"] = f"{latest['dropped']:,.0f}"
    for name, value in latest.items():
        kind, _, rest = name.partition("/")
        if kind in ("metric", "gamma") and rest != "seconds" and isinstance(value, float):
            shown[rest if kind == "metric" else f"gamma of {rest}"] = f"{value:.4g}"
    return shown


def _attention_over_time(first: Record, latest: Record) -> dict[str, list[str]]:
    """{layer: its first and its latest value of each of ATTENTION}."""
    layers = [
        name.split("/")[1]
        for name in latest
        if name.startswith("attention/") and name.endswith("/entropy")
    ]
    return {
        layer: [_change(f"attention/{layer}/{measure}", first, latest) for measure in ATTENTION]
        for layer in layers
    }


def _change(name: str, first: Record, latest: Record) -> str:
    return " → ".join(
        f"{record[name]:.3g}" if name in record else "?" for record in (first, latest)
    )


def _as_text(content: Mapping[str, Any]) -> dict[str, str]:
    return {
        str(key): value if isinstance(value, str) else json.dumps(value)
        for key, value in content.items()
    }
