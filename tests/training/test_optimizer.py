"""An optimizer's state is restored bit for bit, or refused in one line."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from sagan.data import PackedDataset
from sagan.errors import SaganError
from sagan.training.optimizer import optimizer_tensors, restore_optimizer


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(SaganError) as caught:
        action()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.fixture
def optimizer_state(
    unlabeled: PackedDataset, start_training: Callable[..., Any]
) -> tuple[Any, Any, dict[str, Tensor]]:
    training = start_training(unlabeled)
    training.advance()
    adversaries = training.adversaries
    tensors = optimizer_tensors(adversaries.optimizer_g, adversaries.generator)
    return adversaries.optimizer_g, adversaries.generator, tensors


@pytest.mark.parametrize("shape", [(), (1,), (3,), (16, 1), None])
def test_an_optimizer_state_with_other_shapes_is_refused(
    optimizer_state: tuple[Any, Any, dict[str, Tensor]], shape: tuple[int, ...] | None
) -> None:
    """Even if it could be broadcast."""
    optimizer, generator, tensors = optimizer_state
    name = "norm.weight/exp_avg"
    assert tensors[name].shape == (32,)
    if shape is None:
        del tensors[name]
    else:
        tensors[name] = torch.zeros(shape)
    assert "norm.weight" in refusal(lambda: restore_optimizer(optimizer, generator, tensors))


def test_an_optimizer_state_is_restored_bit_for_bit_as_a_copy(
    optimizer_state: tuple[Any, Any, dict[str, Tensor]],
) -> None:
    optimizer, generator, tensors = optimizer_state
    saved = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    for state in optimizer.state.values():
        for tensor in state.values():
            tensor.zero_()
    restore_optimizer(optimizer, generator, saved)
    restored = optimizer_tensors(optimizer, generator)
    assert restored.keys() == saved.keys()
    for name, tensor in saved.items():
        assert torch.equal(restored[name], tensor)
        assert restored[name].data_ptr() != tensor.data_ptr()
    for parameter in generator.parameters():
        assert optimizer.state[parameter]["exp_avg"].stride() == parameter.stride()
