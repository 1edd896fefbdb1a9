"""A feature network that takes almost no time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from sagan.metrics.features.network import FeatureNetwork

TINY_WIDTH, TINY_CLASSES = 48, 7


class Tiny(nn.Module):
    """Means over a 4 x 4 grid, and fixed random logits of them; counts the images it sees."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(TINY_CLASSES, TINY_WIDTH, generator=torch.Generator().manual_seed(0))
        self.register_buffer("weight", weight)
        self.seen = 0

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        self.seen += len(images)
        features = adaptive_avg_pool2d(images.permute(0, 3, 1, 2).float() / 64, 4).flatten(1)
        return features, features @ self.weight.T


def make_tiny_network() -> FeatureNetwork:
    return FeatureNetwork(
        name="tiny",
        title="Tiny",
        width=TINY_WIDTH,
        num_logits=TINY_CLASSES,
        weights_sha256="0" * 64,
        preprocessing="none",
        module=Tiny(),
    )


@pytest.fixture
def tiny_network() -> FeatureNetwork:
    return make_tiny_network()


@pytest.fixture(autouse=True)
def metrics_cache(tmp_path: Path) -> Iterator[Path]:
    """Features and weights are cached in a folder of the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))
        yield tmp_path / "cache" / "metrics"
