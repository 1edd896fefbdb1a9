"""The results of `benchmarks.gpu` as Markdown."""

import math
import statistics
from collections.abc import Iterable, Iterator
from typing import Any

from benchmarks.timing import ratios, spread

# Relative errors above which a kernel is called wrong; float32 has 24 bits, float16 11, bfloat16 8.
TOLERANCE = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
# The same for losses, in the first steps.
FIRST_STEPS, FIRST_TOLERANCE = 5, {"float32": 1e-3, "float16": 0.15}


def report(results: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of gpu.md."""
    device, machine = results["device"], results["machine"]
    yield f"# {device.get('name', device['type'])}, {machine['time']}"
    yield ""
    yield f"commit {machine['commit']}, torch {machine['torch']}, {device}"
    if device["tiny"]:
        yield ""
        yield "**Tiny networks, to try the script: the figures mean nothing.**"
    for title, lines in (
        ("Attention kernels against float64 on the CPU", attention(results["attention"])),
        ("Training beside the CPU", training(results["training"])),
        ("The same bits twice, deterministic=true", bits(results["determinism"])),
        ("Steps", steps(results["steps"])),
        ("Kernels of a step", kernels(results["kernels"])),
        ("Fused attention and its padding, ms, forward and backward", padding(results["padding"])),
    ):
        yield f"\n## {title}\n"
        yield from lines
    yield "\n## Not run\n"
    for item in results["not_run"]:
        yield f"* {item['what']}: {item['why']}"


def attention(results: list[dict[str, Any]] | None) -> Iterator[str]:
    """Yield a line for each backend and precision, with the largest errors of all forms."""
    yield "| backend | precision | output | gradient | of a weight | second | |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    found = results or []
    for backend, dtype in dict.fromkeys((r["backend"], r["dtype"]) for r in found):
        rows = [r for r in found if (r["backend"], r["dtype"]) == (backend, dtype)]
        names = ("output", "gradient", "weight", "second")
        worst = [_largest(row[name] for row in rows) for name in names]
        verdict = "ok" if _largest(worst[:3]) <= TOLERANCE[dtype] else "**WRONG**"
        yield f"| {backend} | {dtype} | {' | '.join(f'{w:.1e}' for w in worst)} | {verdict} |"


def training(results: list[dict[str, Any]]) -> Iterator[str]:
    """Yield how far losses are from the CPU's, at first and in the mean."""
    yield (
        f"| preset | precision here | steps | largest difference of a loss in {FIRST_STEPS} steps "
        "| in all | mean of D's loss, here and on the CPU in float32 | |"
    )
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for result in results:
        cpu = result["cpu"]
        for precision, place in (("float32", "here"), ("float16", "here, float16")):
            here = result.get(place)
            if here is None or cpu is None:
                continue
            differences = [_largest(map(_difference, a, b)) for a, b in zip(here, cpu, strict=True)]
            first = _largest(differences[:FIRST_STEPS])
            means = " and ".join(
                f"{statistics.mean(d for d, _ in each):.4f}" for each in (here, cpu)
            )
            verdict = "ok" if first <= FIRST_TOLERANCE[precision] else "**WRONG**"
            yield (
                f"| `{result['preset']}` | {precision} | {len(here)} | {first:.1e} "
                f"| {_largest(differences):.1e} | {means} | {verdict} |"
            )


def _largest(values: Iterable[float]) -> float:
    """Return the largest value, NaN if there is one: `max` may pass over it."""
    found = [*values]
    return math.nan if any(map(math.isnan, found)) else max(found)


def _difference(a: float, b: float) -> float:
    return abs(a - b) / max(1.0, abs(b))


def bits(result: dict[str, bool] | None) -> Iterator[str]:
    """Yield whether two trainings had the same bits."""
    for preset, same in (result or {}).items():
        yield f"* `{preset}`: {'the same bits' if same else '**OTHER BITS**'}"


def steps(results: list[dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each preset and contender."""
    yield (
        "| preset | batch | D updates | code | precision | ms a step | images/s | naive / this "
        "| peak, GiB | computed | waits for the device |"
    )
    yield f"|{' --- |' * 11}"
    for result in results:
        naive = result.get("seconds", {}).get("naive")
        for name, seconds in result.get("seconds", {}).items():
            beside = spread(ratios(naive, seconds), 2) if naive and name != "naive" else ""
            waits = result["waits"][name]
            yield (
                f"| `{result['preset']}` | {result['batch_size']} | {result['d_steps']} | {name} "
                f"| {result['precision'].get(name, 'float32')} "
                f"| {spread([1000 * t for t in seconds], 1)} "
                f"| {result['batch_size'] / statistics.median(seconds):,.0f} | {beside} "
                f"| {_gib(result['peak_bytes'][name])} "
                f"| {_gib(result['computed_bytes'].get(name))} "
                f"| {waits if waits is not None else ''} |"
            )
    yield ""
    yield "Naive code has torch's defaults: on GPUs, convolutions in float32 use TensorFloat-32."


def _gib(num_bytes: int | None) -> str:
    return f"{num_bytes / 2**30:.2f}" if num_bytes is not None else ""


def kernels(results: dict[str, dict[str, Any] | None]) -> Iterator[str]:
    """Yield the longest kernels of each preset."""
    for preset, result in results.items():
        if result is None:
            continue
        yield f"`{preset}`: {result['launches']:,} kernels, {result['milliseconds']:.1f} ms\n"
        yield "| kernel | times | ms |"
        yield "| --- | --- | --- |"
        for name, count, milliseconds in result["top"]:
            yield f"| `{name.replace('|', ' ')}` | {count} | {milliseconds:.2f} |"
        yield ""


def padding(results: list[dict[str, Any]] | None) -> Iterator[str]:
    """Yield the time of each way to attend."""
    if not results:
        return
    yield f"| {' | '.join(results[0])} |"
    yield f"|{' --- |' * len(results[0])}"
    for result in results:
        cells = [f"{1000 * v:.3f}" if isinstance(v, float) else str(v) for v in result.values()]
        yield f"| {' | '.join(cells)} |"
