"""`backend="auto"` against eager implementations: `python -m benchmarks.attention_grid`.

Forward and backward for every form, N, batch, C and precision. The eager implementations keep the
whole map and leave the backward pass to autograd: `plain` (two products around a softmax),
`einsum`, `left` (the transposed map, values to its left), `images` (`plain` in groups of images
that fit in cache). All run in one process that keeps freed memory, as the command line does, in a
new random order each time, each right after an untimed run of its own. The speed of a product
depends on the addresses of its matrices, so each line is measured in several processes. Ratios are
formed from medians within a process; the line shows the median ratio over processes, for the
implementation with the highest one. A ratio above 1 means that auto is slower. Prints a Markdown
table.
"""

import argparse
import itertools
import multiprocessing
import random
import statistics
import time
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from sagan.nn.attention import FORMS, FormName
from sagan.nn.attention_kernels import AttentionKernel, select_backend
from sagan.runtime.malloc import keep_freed_memory

CACHE_BYTES = 2**22
PRECISIONS = (torch.float32, torch.bfloat16)

# Form, N, batch, channels, dtype.
Cell: TypeAlias = tuple[FormName, int, int, int, torch.dtype]


def auto(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return select_backend(query, key, value)(query, key, value)


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return torch.bmm(torch.softmax(torch.bmm(query, key.transpose(1, 2)), dim=-1), value)


def einsum(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    query, key = (x.transpose(1, 2).contiguous() for x in (query, key))
    return torch.softmax(torch.einsum("bdn,bdm->bnm", query, key), dim=-1) @ value


def left(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    transposed_map = torch.softmax(torch.bmm(key, query.transpose(1, 2)), dim=1)
    return torch.bmm(value.transpose(1, 2), transposed_map).transpose(1, 2)


def images(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    size = max(1, CACHE_BYTES // (query.shape[1] * key.shape[1] * query.element_size()))
    parts = zip(query.split(size), key.split(size), value.split(size), strict=True)
    return torch.cat([plain(*part) for part in parts])


EAGER: dict[str, AttentionKernel] = {
    "plain": plain,
    "einsum": einsum,
    "left": left,
    "images": images,
}


def inputs(form: FormName, n: int, batch: int, channels: int, dtype: torch.dtype) -> list[Tensor]:
    """Return queries, keys and values of a layer with `channels`, and a cotangent."""
    m = n // 4 if FORMS[form].pool else n
    c = channels // FORMS[form].value_divisor
    rng = torch.Generator().manual_seed(0)
    shapes = [(n, channels // 8), (m, channels // 8), (m, c), (n, c)]
    tensors = [torch.randn(batch, *shape, generator=rng).to(dtype) for shape in shapes]
    return [*(x.requires_grad_() for x in tensors[:3]), tensors[3]]


def seconds(attend: AttentionKernel, tensors: list[Tensor]) -> float:
    """Return the time of one forward and backward pass."""
    start = time.perf_counter()
    torch.autograd.grad(attend(*tensors[:3]), tensors[:3], tensors[3])
    return time.perf_counter() - start


def medians(
    kernels: dict[str, AttentionKernel], tensors: list[Tensor], budget: float
) -> dict[str, float]:
    """Return medians over as many repetitions as fit into `budget` seconds, at least one."""
    times: dict[str, list[float]] = {name: [] for name in kernels}
    order: list[tuple[str, Callable[..., Tensor]]] = list(kernels.items())
    end = time.perf_counter() + budget
    while not times["auto"] or time.perf_counter() < end:
        random.shuffle(order)
        for name, attend in order:
            seconds(attend, tensors)
            times[name].append(seconds(attend, tensors))
    return {name: statistics.median(values) for name, values in times.items()}


def measure(cell: Cell, budget: float) -> dict[str, float]:
    """Return seconds by implementation, in this process."""
    keep_freed_memory()
    return medians({"auto": auto, **EAGER}, inputs(*cell), budget)


def line(cell: Cell, turns: list[dict[str, float]]) -> str:
    """Return a table line: auto and the eager implementation with the highest ratio."""
    form, n, batch, channels, dtype = cell
    ratios = {eager: statistics.median(t["auto"] / t[eager] for t in turns) for eager in EAGER}
    best = max(ratios, key=ratios.__getitem__)
    ours, theirs = (1e3 * statistics.median(t[name] for t in turns) for name in ("auto", best))
    precision = str(dtype).removeprefix("torch.")
    shape = f"| {n} | {batch} | {channels} | {form} | {precision} "
    return f"{shape}| {ours:.2f} | {theirs:.2f} | {best} | {ratios[best]:.2f} |"


def main() -> None:
    """Measure and print the table line by line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--form", nargs="+", default=list(FORMS), choices=FORMS)
    parser.add_argument("--processes", type=int, default=3, help="per line, one at a time")
    parser.add_argument("--seconds", type=float, default=1.0, help="per process")
    arguments = parser.parse_args()
    print("| N | batch | C | form | precision | auto, ms | eager, ms | which | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for n, batch, channels, form, dtype in itertools.product(
        arguments.n, arguments.batch, arguments.channels, arguments.form, PRECISIONS
    ):
        cell = (form, n, batch, channels, dtype)
        with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            call = (cell, arguments.seconds)
            turns = [pool.apply(measure, call) for _ in range(arguments.processes)]
        print(line(cell, turns), flush=True)


if __name__ == "__main__":
    main()
