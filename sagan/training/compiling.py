"""Compiled forward passes of a step, with their backward passes.

torch imports its compiler only if this is asked for: that takes two seconds of a start.
"""

import warnings
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sagan.errors import SaganError

Forward = TypeVar("Forward", bound=Callable[..., Any])

# Of torch.compile, by the setting.
BACKENDS = {"inductor": "inductor", "graphs": "cudagraphs"}


def uncompiled(forward: Forward) -> Forward:
    """Return a function as it is."""
    return forward


def make_compiler(
    setting: str, device: torch.device, processes: int, networks: tuple[nn.Module, ...]
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return what makes compiled functions of those in `sagan.training.passes`.

    Args:
        setting: "none", "inductor", "graphs" or "auto": none, until a GPU has been measured.
        device: where the networks train.
        processes: how many train together.
        networks: what is trained.

    Raises:
        SaganError: this machine or these processes cannot do it.
    """
    if setting not in BACKENDS:
        return uncompiled
    if processes > 1:
        raise SaganError(
            f"compile={setting} is for a training in one process, and here are {processes}: leave "
            "compile out"
        )
    if setting == "graphs":
        if device.type != "cuda":
            raise SaganError(
                f"compile=graphs needs a GPU with CUDA, and this is {device.type}: give "
                "compile=inductor, or leave compile out"
            )
        own_gradients(networks)
    torch.compiler.reset()  # torch compiles a function only a few times, also for new networks

    @cache
    def compiled(forward: Callable[..., Any]) -> Callable[..., Any]:
        run = torch.compile(forward, backend=BACKENDS[setting], fullgraph=True)
        return _reporting(owning(run) if setting == "graphs" else run, setting)

    return compiled


def make_marker(setting: str) -> Callable[[], None]:
    """Return what is called before the first pass of an update, or of one of its shards.

    It tells CUDA graphs that no earlier pass has a backward pass left. Otherwise they would guess:
    after any backward pass, the next forward pass would take over the memory of all earlier ones,
    also of G's, while D and G are updated with the same fakes.
    """
    if setting == "graphs":
        return torch.compiler.cudagraph_mark_step_begin
    return _mark_nothing


def _mark_nothing() -> None:
    pass


def owning(run: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with copies of the results: the next replay of a graph overwrites them."""

    @wraps(run)
    def owner(*arguments: object) -> Any:
        return _copied(run(*arguments))

    return owner


def own_gradients(networks: tuple[nn.Module, ...]) -> None:
    """Keep copies of gradients, which are read until the next update, for the same reason."""

    def copy(parameter: Tensor) -> None:
        assert parameter.grad is not None
        parameter.grad = parameter.grad.clone()

    for network in networks:
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(copy)


def _copied(results: Any) -> Any:
    if isinstance(results, tuple):
        return tuple(map(_copied, results))
    return results.clone()


def _reporting(run: Callable[..., Any], setting: str) -> Callable[..., Any]:
    """Return a function that says in one line if torch cannot compile it, as without g++."""

    @wraps(run)
    def reporter(*arguments: object) -> Any:
        try:
            with warnings.catch_warnings():
                # The compiler looks at normalized weights' `grad`, which nobody reads.
                warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a")
                return run(*arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            cause = getattr(error, "inner_exception", error)
            reported = str(cause).strip().partition("\n")[0][:200]
            raise SaganError(
                f"torch cannot compile the step ({reported}): leave compile={setting} out"
            ) from error

    return reporter
