"""D trained on labels, in the precision of the adversarial run."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from sagan.config import Config
from sagan.data import PackedDataset
from sagan.studies.measure.supervised import train_supervised


def test_labels_are_learned_in_float16_as_in_float32(
    labeled: PackedDataset, tiny_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that no update is dropped: the first scale is often too large for one.
    monkeypatch.setattr("sagan.training.loss_scaling.INITIAL", 2.0**6)

    def weights(precision: str, steps: int) -> Tensor:
        config = tiny_config(precision=precision, steps=steps, batch_size=4, augment=0)
        network = train_supervised(config, labeled, lambda *_: None)
        return network.get_parameter("blocks.1.conv1.bias").detach()

    start = torch.zeros(16)
    exact, half = weights("float32", 3), weights("float16", 3)
    assert not torch.equal(exact, half)
    assert (half - exact).norm() < 0.2 * (exact - start).norm()
