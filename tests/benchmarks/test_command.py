"""`python -m benchmarks` measures parts, and times a checkout with the popular interface."""

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import scaling, step, workload
from sagan.config import resolve
from sagan.errors import SaganError

CHECKOUT = """
import torch
from torch import nn

class Generator(nn.Module):
    def __init__(self, batch_size, image_size, z_dim, conv_dim):
        super().__init__()
        self.layer = nn.Linear(z_dim, 3 * image_size**2)

    def forward(self, z):
        return torch.tanh(self.layer(z)).view(len(z), 3, 64, 64), "a map"

class Discriminator(nn.Module):
    def __init__(self, batch_size, image_size, conv_dim):
        super().__init__()
        self.layer = nn.Linear(3 * image_size**2, 1)

    def forward(self, images):
        return self.layer(images.flatten(1)).squeeze(), "a map"
"""


@pytest.fixture
def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make dcgan-64 tiny, and the matrix product for the peak small."""

    def tiny(preset: str, overrides: dict[str, object]) -> object:
        small = {"channels_g": 8, "channels_d": 8, "batch_size": 2, "precision": "float32"}
        return resolve(preset, overrides | small)

    monkeypatch.setattr(workload, "resolve", tiny)
    monkeypatch.setattr("benchmarks.gemm.SIDES", (64,))


def test_a_part_writes_what_it_measured_with_its_machine(
    small_presets: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "sagan_models.py").write_text(CHECKOUT)
    options = {
        "presets": "dcgan-64",
        "repetitions": 2,
        "checkout": checkout,
        "out": tmp_path / "results",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    monkeypatch.setattr("sys.argv", ["benchmarks", "step", "scaling", *words])
    monkeypatch.setattr(command, "keep_freed_memory", lambda: None)  # not in the test process
    command.main()
    written = json.loads((tmp_path / "results" / "step.json").read_text())
    (result,) = written["results"]
    assert {name: len(times) for name, times in result["seconds"].items()} == {
        "ours": 2, "naive": 2, "checkout": 2,
    }  # fmt: skip
    assert {"torch", "commit", "processor", "threads"} <= written["machine"].keys()
    assert "`dcgan-64`" in (tmp_path / "results" / "scaling.md").read_text()


def test_a_folder_that_is_not_a_checkout_is_named_in_one_line(
    small_presets: None, tmp_path: Path
) -> None:
    with pytest.raises(SaganError, match=rf"'{tmp_path}' has no sagan_models\.py"):
        step.measure("dcgan-64", 1, tmp_path)


def test_two_processes_send_each_gradient_once_in_a_ring() -> None:
    # 125 MB are 1 Gbit; each of W = 2 processes sends and receives 2 * 1/2 of it.
    assert scaling.ring_seconds(125_000_000, 2, 1) == pytest.approx(1)
    assert scaling.efficiencies(1, 1) == pytest.approx((0.5, 1 / 1.5))
    sending, worst, best = scaling.modeled_seconds("dcgan-64", 3, 0.1, 2)
    num_bytes = scaling.communication("dcgan-64").bytes
    assert sending == pytest.approx(4 / 3 * num_bytes * 8 / 1e8)
    assert (worst, best) == pytest.approx((2 + sending, 2 + max(0, sending - 1)))
