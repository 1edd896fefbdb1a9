"""The measurements of `benchmarks.gpu`: `python -m benchmarks.gpu.tasks` is a process for each."""

import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu.measuring import (
    SLOW,
    TURNS,
    passes_without_graphs,
    peak_since,
    restart_peak,
    seconds_of,
    timed,
    wait_for,
    waits_of,
    warm,
)
from benchmarks.gpu.same_numbers import numbers_of_the_cpu
from benchmarks.naive import Batch, Naive
from benchmarks.workload import NUM_CLASSES, configuration, ready_batches, start_training
from sagan.config import Config, resolve
from sagan.errors import SaganError, is_out_of_memory
from sagan.nn.attention import FORMS, SelfAttention2d
from sagan.nn.attention_kernels import BACKENDS
from sagan.nn.precision import autocast, exact_float32
from sagan.runtime.determinism import deterministic_kernels
from sagan.runtime.device import multiplies_bfloat16
from sagan.runtime.processes import join_processes
from sagan.training.memory_estimate import least_step_bytes

TINY = {"channels_g": 8, "channels_d": 8, "latent_size": 8}
PARITY_STEPS = 50
SMALL_LOSS_SCALE = 2.0**6
TOP = 15  # kernels that are listed
# Of a contender; the compiler's own checks are assertions.
FAILURES = (SaganError, RuntimeError, ValueError, AssertionError)


def main() -> None:
    """Run the task of the command line, and print its result as a line of JSON."""
    task, request = sys.argv[1], json.loads(sys.argv[2])
    device, tiny = join_processes(request.pop("device")).device, request.pop("tiny")
    result = TASKS[task](device, tiny, **request)
    print(json.dumps(result), flush=True)


def configured(preset: str, tiny: bool, **settings: Any) -> Config:
    """Return a preset as it is measured: at its own batch, unless it is tiny."""
    own = resolve(preset)
    small: dict[str, Any] = {"batch_size": own.batch_size}
    if tiny:
        small = {**TINY, "batch_size": 2 * own.accumulation}
    return configuration(preset, **{**small, **settings})


# ---------------------------------------------------------------------------------------------


def describe(device: torch.device, tiny: bool) -> dict[str, Any]:
    """Return what computes here."""
    found: dict[str, Any] = {
        "type": device.type, "bfloat16": multiplies_bfloat16(device), "tiny": tiny
    }  # fmt: skip
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "name": properties.name,
            "capability": list(torch.cuda.get_device_capability(device)),
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "multiprocessors": properties.multi_processor_count,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found


def attention(device: torch.device, tiny: bool) -> list[dict[str, Any]]:
    """Compare every kernel with the map of float64 on the CPU: outputs and gradients, twice.

    Errors are norms of differences over norms of the reference.
    """
    channels, side, batch = (16, 8, 2) if tiny else (64, 32, 4)
    dtypes = [torch.float32, torch.float16]
    if multiplies_bfloat16(device):
        dtypes.append(torch.bfloat16)
    results = []
    for form, scores in itertools.product(FORMS, ("dot", "cosine")):
        torch.manual_seed(0)
        reference = SelfAttention2d(channels, form, backend="eager", scores=scores).double()  # type: ignore[arg-type]
        nn.init.ones_(reference.gamma)
        x = torch.randn(batch, channels, side, side, dtype=torch.float64)
        gradient = torch.randn_like(x)
        right = _derivatives(reference, x, gradient)
        for backend, dtype in itertools.product((*BACKENDS, "auto"), dtypes):
            layer = SelfAttention2d(channels, form, backend=backend, scores=scores)  # type: ignore[arg-type]
            layer.load_state_dict(reference.state_dict())
            layer = layer.to(device)
            single = dtype == torch.float32
            with exact_float32(enabled=single), autocast(device, dtype):
                found = _derivatives(layer, x.float().to(device), gradient.float().to(device))
            errors = {name: _error(found[name], right[name]) for name in right}
            results.append(
                {
                    "form": form, "scores": scores, "backend": backend,
                    "dtype": str(dtype).removeprefix("torch."), **errors,
                }
            )  # fmt: skip
    return results


def _derivatives(layer: nn.Module, x: Tensor, gradient: Tensor) -> dict[str, Tensor]:
    """Return output, gradient of the input and of a weight, and the input's second derivative."""
    x = x.clone().requires_grad_()
    y = layer(x)
    inputs, gradient = (x, layer.query.weight), gradient.to(y.dtype)
    # As in training: with `create_graph`, `flash` takes another way back than the fused kernel's.
    first, of_weight = torch.autograd.grad(y, inputs, gradient, retain_graph=True)
    (differentiable,) = torch.autograd.grad(y, x, gradient, create_graph=True)
    (second,) = torch.autograd.grad(differentiable.square().sum(), x)
    return {"output": y, "gradient": first, "weight": of_weight, "second": second}


def _error(found: Tensor, right: Tensor) -> float:
    difference = found.detach().cpu().double() - right.detach().double()
    return float(difference.norm() / right.detach().norm())


# ---------------------------------------------------------------------------------------------


def losses(
    device: torch.device, tiny: bool, preset: str, precision: str = "float32"
) -> list[list[float]]:
    """Return the losses of D and G at each of 50 steps, with the CPU's numbers.

    In float16 they begin with a loss scale that needs not be lowered: no update is dropped.
    """
    steps = 3 if tiny else PARITY_STEPS
    small = {} if tiny else {"batch_size": 8}  # for the CPU's sake
    config = configured(preset, tiny, precision=precision, **small)
    found = []
    with numbers_of_the_cpu(), exact_float32(enabled=precision == "float32"):
        training = start_training(config)
        for guard in (training.adversaries.guard_g, training.adversaries.guard_d):
            if guard.loss_scale is not None:
                guard.loss_scale.factor.fill_(SMALL_LOSS_SCALE)
        for _ in range(steps):
            result, loss_g = training.advance()
            found.append([float(result.loss), float(loss_g)])
    return found


def determinism(device: torch.device, tiny: bool) -> dict[str, Any]:
    """Train a few steps twice with deterministic kernels; return whether the bits are equal."""
    steps = 1 if tiny else 5
    found = {}
    for preset in ("smoke",) if tiny else ("cpu-32", "sagan-32"):
        config = configured(preset, tiny, deterministic=True, precision="auto")
        weights = []
        with deterministic_kernels():
            for _ in range(2):
                training = start_training(config)
                for _ in range(steps):
                    training.advance()
                state = training.adversaries.generator.state_dict()
                weights.append({name: tensor.cpu() for name, tensor in state.items()})
        found[preset] = all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    return found


# ---------------------------------------------------------------------------------------------


def step(
    device: torch.device, tiny: bool, preset: str, modes: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Time a preset's step in several modes and as naive code writes it, in turn.

    Args:
        device: where.
        tiny: whether to make everything small.
        preset: which.
        modes: the settings of each mode of ours, by its name.

    Returns:
        For each contender, seconds of a step at each turn, on CUDA also the peak of allocated
        memory and how often a step waits for the device; and why others failed.
    """
    config = configured(preset, tiny)
    found: dict[str, Any] = {
        "batch_size": config.batch_size, "d_steps": config.d_steps, "seconds": {}, "peak_bytes": {},
        "waits": {}, "failed": {}, "precision": {}, "computed_bytes": {},
    }  # fmt: skip
    works: dict[str, Callable[[], object]] = {}
    times: dict[str, float] = {}

    def begin(name: str, make: Callable[[], Callable[[], object]]) -> None:
        before = restart_peak(device)
        try:
            work = make()
            times[name] = warm(device, work)
            if name == "naive" and times[name] > SLOW:
                found["failed"][name] = f"a step takes {times[name]:.1f} s"
                return
            found["peak_bytes"][name] = peak_since(device, before)
            found["waits"][name] = waits_of(device, work)
            works[name] = work
        except FAILURES as error:
            found["failed"][name] = _reason(error)

    for mode, settings in modes.items():
        begin(mode, lambda m=mode, s=settings: _our_step(configured(preset, tiny, **s), found, m))  # type: ignore[misc]
    if "graphs" in works and (skipped := passes_without_graphs()):
        found["failed"]["graphs in part"] = f"{skipped} passes run without them"
    begin("naive", lambda: _naive_step(device, config))
    seconds = 0.05 if tiny else 1.0  # of each turn
    for _ in range(TURNS):
        for name, work in [*works.items()]:
            number = max(1, math.ceil(seconds / times[name]))
            try:
                work()  # gets back the memory that the others took, if all do not fit together
                found["seconds"].setdefault(name, []).append(seconds_of(device, work, number))
            except FAILURES as error:
                found["failed"][name] = _reason(error)
                found["seconds"].pop(name, None)
                del works[name]
    return found


def _reason(error: Exception) -> str:
    return "out of memory" if is_out_of_memory(error) else str(error).strip()[:300]


def _our_step(config: Config, found: dict[str, Any], mode: str) -> Callable[[], object]:
    training = start_training(config)
    precision = training.adversaries.precision
    found["precision"][mode] = str(precision).removeprefix("torch.")
    fused = not training.on_cpu
    found["computed_bytes"][mode] = least_step_bytes(config, NUM_CLASSES, 1, precision, fused)
    return training.advance


def _naive_step(device: torch.device, config: Config) -> Callable[[], object]:
    if config.family == "projected":
        raise NotImplementedError(f"there is none for family {config.family}")
    return Naive(config, NUM_CLASSES, _on(device, ready_batches(config)), device).step


def _on(device: torch.device, batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the same few batches again and again, on the device."""
    few = [next(batches) for _ in range(4)]
    return itertools.cycle(
        [Batch(b.images.to(device), b.labels.to(device) if b.labels is not None else None)
         for b in few]
    )  # fmt: skip


# ---------------------------------------------------------------------------------------------


def kernels(device: torch.device, tiny: bool, preset: str) -> dict[str, Any]:
    """Return the kernels of a step that take the longest, and how many there are."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    training = start_training(configured(preset, tiny))
    for _ in range(2):
        training.advance()
    wait_for(device)
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CUDA] if on_gpu else [ProfilerActivity.CPU]
    with profile(activities=activities) as profiled:
        training.advance()
        wait_for(device)
    computes = DeviceType.CUDA if on_gpu else DeviceType.CPU  # not the CPU's calls of CUDA
    events = [(e.key, e.count, e.self_device_time_total if on_gpu else e.self_cpu_time_total)
              for e in profiled.key_averages() if e.device_type == computes]  # fmt: skip
    events.sort(key=lambda event: -event[2])
    return {
        "launches": sum(count for _, count, _ in events),
        "milliseconds": sum(taken for _, _, taken in events) / 1000,
        "top": [[name[:120], count, taken / 1000] for name, count, taken in events[:TOP]],
    }


def padding(device: torch.device, tiny: bool) -> list[dict[str, Any]]:
    """Time fused attention as it is called, padded to one width, beside the width it would need.

    The fused kernels take queries, keys and values of one width. Ours pads queries and keys of C/8
    channels to the values' width. "narrow" has all three C/8 wide: no kernel could take less.
    """
    batch, sides = (1, (4,)) if tiny else (32, (32, 64))
    channels = 16 if tiny else 64
    dtype = torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    results = []
    for side, form in itertools.product(sides, ("full", "pooled")):
        keys = side**2 // (4 if FORMS[form].pool else 1)  # type: ignore[index]
        wide = channels // FORMS[form].value_divisor  # type: ignore[index]
        result: dict[str, Any] = {"form": form, "positions": side**2, "keys": keys, "width": wide}
        for name, width in (("padded", wide), ("narrow", channels // 8)):
            shapes = ((side**2, width), (keys, width), (keys, width))
            query, key, value = (
                torch.randn(batch, 1, *shape, device=device, dtype=dtype, requires_grad=True)
                for shape in shapes
            )
            for kernel in (None, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION):
                label = name if kernel is None else f"{name}, {kernel.name.lower()}"
                result[label] = _attend(device, query, key, value, kernel)
        for backend in BACKENDS:
            layer = SelfAttention2d(channels, form, backend=backend).to(device)  # type: ignore[arg-type]
            x = torch.randn(batch, channels, side, side, device=device, requires_grad=True)
            result[f"layer, {backend}"] = timed(device, lambda: _layer_pass(layer, x, dtype))  # noqa: B023
        results.append(result)
    return results


def _attend(
    device: torch.device, query: Tensor, key: Tensor, value: Tensor, kernel: SDPBackend | None
) -> float | str:
    def work() -> None:
        y = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        torch.autograd.grad(y.sum(), (query, key, value))

    try:
        if kernel is None:
            return timed(device, work)
        with sdpa_kernel(kernel):
            return timed(device, work)
    except RuntimeError as error:
        return f"not run: {str(error).splitlines()[0].partition('. ')[0][:80]}"


def _layer_pass(layer: nn.Module, x: Tensor, dtype: torch.dtype) -> None:
    with autocast(x.device, dtype):
        y = layer(x)
    torch.autograd.grad(y.sum(), x)


TASKS: dict[str, Callable[..., Any]] = {
    "describe": describe,
    "attention": attention,
    "losses": losses,
    "determinism": determinism,
    "step": step,
    "kernels": kernels,
    "padding": padding,
}

if __name__ == "__main__":
    main()
