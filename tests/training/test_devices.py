"""A step does nothing that some device cannot do, or has to be waited for."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.workload import configuration, start_training

# Their results, or the sizes of their results, come from the device to the host.
WAITING = {
    *("_local_scalar_dense", "item", "nonzero", "masked_select", "is_nonzero", "equal"),
    *("_unique2", "unique_consecutive", "bincount", "repeat_interleave"),
}
SMALL = {"channels_g": 8, "channels_d": 8, "latent_size": 8, "batch_size": 4}


class Watched(TorchDispatchMode):
    """Counts operations that wait for the device, and those that make float64."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = Counter[str]()
        self.double = Counter[str]()

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        name = function.overloadpacket.__name__
        result = function(*args, **(kwargs or {}))
        if name in WAITING:
            self.waiting[name] += 1
        tensors = [x for x in _pytree.tree_leaves(result) if isinstance(x, torch.Tensor)]
        if any(x.dtype == torch.float64 for x in tensors):
            self.double[name] += 1
        return result


@pytest.mark.parametrize(
    ("preset", "settings"),
    [
        ("smoke", {"augment": 0.5}),
        ("cpu-32", {}),
        ("dcgan-64", {}),
        ("sagan-32", {"loss": "wasserstein-gp"}),
        ("smoke", {"on_nonfinite": "skip", "ema_half_life": 100.0, "accumulation": 2}),
    ],
)
def test_a_step_has_no_float64_which_apples_gpus_lack_and_never_waits_for_the_device(
    preset: str, settings: dict[str, Any]
) -> None:
    watched = watched_step(preset, **settings)
    assert watched.double == {}
    assert watched.waiting == {}


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("kernel_skips", [True, False])
def test_scaling_and_dropping_wait_for_no_device_even_if_its_optimizer_ignores_the_flag(
    precision: str, kernel_skips: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apple's optimizer does."""
    if not kernel_skips:
        monkeypatch.setattr("sagan.training.finite.SKIPS_ON", ())
    watched = watched_step("smoke", precision=precision, on_nonfinite="skip")
    assert watched.double == {}
    assert watched.waiting == {}


def watched_step(preset: str, **settings: Any) -> Watched:
    training = start_training(configuration(preset, **(SMALL | settings)))
    training.advance()
    with Watched() as watched:
        training.advance()
    return watched
