"""How many operations a training step dispatches: on a GPU, what the host has to launch.

The numbers do not depend on the machine, and not on the batch. They are for float32: autocast adds
casts.
"""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.workload import configuration, start_training

# These compute nothing: views, memory without content, and marks for torch's profiler.
UNCOUNTED = {
    *("_reshape_alias", "_unsafe_view", "alias", "as_strided", "chunk", "detach", "diagonal"),
    *("expand", "flatten", "lift_fresh", "narrow", "permute", "reshape", "select", "slice"),
    *("split", "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unfold", "unsqueeze"),
    *("view", "empty", "empty_like", "empty_permuted", "empty_strided", "new_empty"),
    *("new_empty_strided", "_record_function_enter_new", "_record_function_exit"),
}
NORMALIZATION = ("nn/spectral_norm.py", "nn/stacked_norms.py")
PRESETS = ("sagan-32", "sagan-128", "classic-32", "cpu-32", "dcgan-64")


@dataclass(frozen=True)
class OpsResult:
    """Operations of one preset's step, its D updates and its G update.

    Attributes:
        preset: its name.
        total: all of them.
        normalization: those of spectral normalization, both ways.
        backward: those of the backward passes, without spectral normalization.
    """

    preset: str
    total: int
    normalization: int
    backward: int


class _Count(TorchDispatchMode):
    """Counts operations by where they come from."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counter[str]()

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if function.overloadpacket.__name__ not in UNCOUNTED:
            self.counts[_origin()] += 1
        return function(*args, **(kwargs or {}))


def _origin() -> str:
    """Return what the running operation belongs to."""
    frame = sys._getframe(1)
    found = "forward"
    while frame := frame.f_back:  # type: ignore[assignment]
        file = frame.f_code.co_filename.replace("\\", "/")
        if file.endswith(NORMALIZATION):
            return "normalization"
        if file.endswith("torch/autograd/graph.py"):
            found = "backward"
    return found


def measure(preset: str, **settings: object) -> OpsResult:
    """Count one step's operations, after a first step that sets up the optimizers.

    Args:
        preset: its name.
        settings: settings to change, such as widths: sizes change the counts by little.
    """
    accumulation = configuration(preset).accumulation
    small = {"batch_size": 4 * accumulation, "precision": "float32"}
    training = start_training(configuration(preset, **(small | settings)))
    training.advance()
    with _Count() as count:
        training.advance()
    counts = count.counts
    return OpsResult(preset, counts.total(), counts["normalization"], counts["backward"])


def table(results: list[OpsResult]) -> list[str]:
    """Return the figures as lines of Markdown."""
    columns: dict[str, Callable[[OpsResult], object]] = {
        "preset": lambda result: f"`{result.preset}`",
        "operations": lambda result: f"{result.total:,}",
        "spectral normalization": lambda result: result.normalization,
        "backward passes": lambda result: result.backward,
    }
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for result in results:
        lines.append(f"| {' | '.join(str(cell(result)) for cell in columns.values())} |")
    return lines
