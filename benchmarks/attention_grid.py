"""`backend="auto"` against the fastest eager way: `python -m benchmarks.attention_grid`.

Forward and backward for every form, N, batch, C and precision. The eager ways keep the whole map
and leave the backward pass to autograd: `plain` (two products around a softmax), `einsum`, `left`
(the transposed map, values to its left), `images` (`plain` in groups of images that fit the cache).
All run in one process, in a new random order each time, each warmed up by an untimed run of its own
just before; medians. Prints a markdown table; a ratio above 1 says that auto is slower.
"""

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from sagan.attention import FORMS, Attend, select_backend

CACHE_BYTES = 2**22
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


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


EAGER: dict[str, Attend] = {"plain": plain, "einsum": einsum, "left": left, "images": images}


def inputs(form: str, n: int, batch: int, channels: int, dtype: torch.dtype) -> list[Tensor]:
    """Queries, keys and values as the layer has them at ``channels``, then a cotangent."""
    m = n // 4 if FORMS[form].pool else n
    c = channels // FORMS[form].value_divisor
    generator = torch.Generator().manual_seed(0)
    shapes = [(n, channels // 8), (m, channels // 8), (m, c), (n, c)]
    tensors = [torch.randn(batch, *shape, generator=generator).to(dtype) for shape in shapes]
    return [*(x.requires_grad_() for x in tensors[:3]), tensors[3]]


def seconds(attend: Attend, tensors: list[Tensor]) -> float:
    """One forward and backward."""
    start = time.perf_counter()
    torch.autograd.grad(attend(*tensors[:3]), tensors[:3], tensors[3])
    return time.perf_counter() - start


def medians(ways: dict[str, Attend], tensors: list[Tensor], budget: float) -> dict[str, float]:
    """At least one, and otherwise as many repetitions as fit into ``budget`` seconds."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    order: list[tuple[str, Callable[..., Tensor]]] = list(ways.items())
    end = time.perf_counter() + budget
    while not times["auto"] or time.perf_counter() < end:
        random.shuffle(order)
        for name, attend in order:
            seconds(attend, tensors)
            times[name].append(seconds(attend, tensors))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Print the table, a line as soon as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 32])
    parser.add_argument("--channels", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--form", nargs="+", default=list(FORMS), choices=FORMS)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each line")
    arguments = parser.parse_args()
    print("| N | batch | C | form | precision | auto, ms | fastest eager, ms | which | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for n, batch, channels, form, precision in itertools.product(
        arguments.n, arguments.batch, arguments.channels, arguments.form, PRECISIONS
    ):
        tensors = inputs(form, n, batch, channels, PRECISIONS[precision])
        times = medians({"auto": auto, **EAGER}, tensors, arguments.seconds)
        fastest = min(EAGER, key=times.__getitem__)
        print(
            f"| {n} | {batch} | {channels} | {form} | {precision} | {1e3 * times['auto']:.2f} |"
            f" {1e3 * times[fastest]:.2f} | {fastest} | {times['auto'] / times[fastest]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
