"""Random numbers of the CPU on any device, so that trainings on both can be compared."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree

_Generator = torch.Generator


@contextmanager
def numbers_of_the_cpu() -> Iterator[None]:
    """Draw what a generator draws on the CPU within the context, and copy it to its device.

    Generators that are made within it are those of the CPU, whatever device they are made for.
    """

    def generator_of_the_cpu(device: object = "cpu") -> torch.Generator:
        return _Generator("cpu")

    with mock.patch.object(torch, "Generator", generator_of_the_cpu), _DrawOnCpu():
        yield


class _DrawOnCpu(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        leaves = _pytree.tree_leaves((args, kwargs))
        if not any(isinstance(leaf, _Generator) for leaf in leaves):
            return func(*args, **kwargs)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        device = kwargs.get("device") or (tensors[0].device if tensors else "cpu")
        if "device" in kwargs:
            kwargs["device"] = "cpu"
        on_cpu = _pytree.tree_map(_to_cpu, (args, kwargs))
        drawn = func(*on_cpu[0], **on_cpu[1])
        if getattr(func, "__name__", "").endswith("_"):  # in place
            return tensors[0].copy_(drawn)
        return _pytree.tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, drawn)


def _to_cpu(x: Any) -> Any:
    return x.cpu() if isinstance(x, Tensor) else x
