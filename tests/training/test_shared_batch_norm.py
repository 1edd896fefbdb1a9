"""With `batch_norm=shared`, two and three processes train as one does on the whole batch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sagan.config import resolve
from sagan.data import PackedDataset, open_dataset
from sagan.nn.shared_norm import shared_batch_norm
from sagan.run.directory import RunDescription
from sagan.runtime.processes import make_accelerator
from sagan.training.state import Training

# Run by each process, with the packed set and a file for results.
SCRIPT = """
import sys

sys.path.insert(0, sys.argv[3])
from test_shared_batch_norm import find_all

find_all(sys.argv[1], sys.argv[2])
"""

# At these rates 8 steps do not amplify rounding errors. At those of the preset, a relative
# change of 1e-7 of the initial weights changes the losses of step 20 by 0.1.
SETTINGS: dict[str, Any] = {
    "channels_g": 8, "channels_d": 8, "latent_size": 8, "batch_size": 12, "precision": "float32",
    "conditional": True, "batch_norm": "shared", "augment": 0.5, "lr_g": 1e-6, "lr_d": 2e-6,
}  # fmt: skip
VARIANTS: dict[str, tuple[int, dict[str, Any]]] = {
    "alternating": (8, {}),
    "micro-batches": (2, {"accumulation": 2, "d_steps": 2}),
    "reused fakes": (2, {"reuse_fakes": True}),
    "each for itself": (1, {"batch_norm": "local"}),
}

# G's biases right before a batch norm have a gradient of 0: Adam moves them by rounding errors.
WITHOUT_GRADIENT = ("conv1.bias", "conv2.bias", "skip.bias")

Found = dict[str, dict[str, Tensor]]


def apart(found: Tensor, expected: Tensor) -> float:
    """The largest distance, as a share of the largest value, or of 1e-3 if all are smaller."""
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-3))


def find_all(source: str, file: str) -> None:
    """Save what a process finds."""
    accelerator = make_accelerator()
    rank, number = accelerator.process_index, accelerator.num_processes
    dataset = open_dataset(source, 32, notify=lambda _: None)
    data = {"fingerprint": dataset.fingerprint, "classes": list(dataset.classes)}
    found = {"layer": normalized(rank, number)}
    for name, (steps, settings) in VARIANTS.items():
        config = resolve("smoke", SETTINGS | settings)
        training = Training(RunDescription(config, "smoke", data), dataset, accelerator)
        found[name] = trained(training, steps)
    torch.save(found, f"{file}-{rank}")


def trained(training: Training, steps: int) -> dict[str, Tensor]:
    """Return the losses of all steps, the last gradients, and the final state."""
    losses, mean = [], training.adversaries.mean
    for _ in range(steps):
        result, loss_g = training.advance()
        losses.append(torch.stack([mean(result.loss), mean(loss_g)]))
    found = {"losses": torch.stack(losses)}
    for name in ("generator", "discriminator"):
        network = getattr(training.adversaries, name)
        found |= {f"{name}.{key}": tensor.clone() for key, tensor in network.state_dict().items()}
        gradients = {key: p.grad for key, p in network.named_parameters() if p.grad is not None}
        found |= {f"gradient of {name}.{key}": grad for key, grad in gradients.items()}
    return found


def normalized(rank: int = 0, number: int = 1) -> dict[str, Tensor]:
    """Return a rank's part of a normalized batch, and of its gradients; sums for the parameters."""
    rng = torch.Generator().manual_seed(0)
    scale, shift = torch.tensor([1, 0.1, 3]), torch.tensor([0.0, 5, -2])
    x, gradient = torch.randn(2, 12, 3, 4, 6, generator=rng)
    x = x * scale[:, None, None] + shift[:, None, None]
    x, gradient = x.chunk(number)[rank].requires_grad_(), gradient.chunk(number)[rank]
    weight, bias = torch.randn(2, 3, generator=rng).requires_grad_().unbind()
    mean, variance = torch.zeros(3), torch.ones(3)
    if number == 1:
        y = F.batch_norm(x, mean, variance, weight, bias, True, 0.1, 1e-5)
    else:
        y = shared_batch_norm(x, mean, variance, weight, bias, 0.1, 1e-5)
    to_x, *to_parameters = torch.autograd.grad(y, (x, weight, bias), gradient)
    for share in to_parameters if number > 1 else ():
        torch.distributed.all_reduce(share)
    statistics = torch.stack([mean, variance, *to_parameters])
    return {"y": y.detach(), "to x": to_x, "statistics": statistics}


@pytest.fixture(scope="module")
def alone(labeled: PackedDataset, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What one process finds."""
    file = tmp_path_factory.mktemp("alone") / "found"
    find_all(str(labeled.path), str(file))
    found: Found = torch.load(f"{file}-0", weights_only=True)
    return found


@pytest.mark.parametrize("number", [2, 3])
def test_processes_with_shared_batch_norm_train_as_one_on_the_whole_batch(
    number: int,
    alone: Found,
    labeled: PackedDataset,
    tmp_path: Path,
    start_processes: Callable[..., Any],
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [str(script), str(labeled.path), str(tmp_path / "found"), str(Path(__file__).parent)]
    for child in start_processes([command] * number, CUDA_VISIBLE_DEVICES=""):
        _, err = child.communicate(timeout=300)
        assert child.returncode == 0, err
    ranks = [torch.load(tmp_path / f"found-{r}", weights_only=True) for r in range(number)]

    for key, whole in alone["layer"].items():
        parts = [found["layer"][key] for found in ranks]
        joined = torch.cat(parts) if key != "statistics" else parts[-1]
        # A channel has a mean of 50 standard deviations, beside which rounding shows.
        assert apart(joined, whole) < 3e-4
    for name in VARIANTS:
        first, expected = ranks[0][name], alone[name]
        assert first.keys() == expected.keys()
        for key, tensor in first.items():
            assert all(torch.equal(found[name][key], tensor) for found in ranks), key
        losses = apart(first["losses"], expected["losses"])
        if name == "each for itself":
            assert losses > 1e-3
            continue
        assert losses < 1e-5
        for key, tensor in expected.items():
            if key.startswith("gradient"):
                assert apart(first[key], tensor) < 0.02, key
            elif not key.endswith(WITHOUT_GRADIENT):
                most = 1e-5 if not key.endswith("running_mean") else 1e-4  # these see the biases
                torch.testing.assert_close(first[key], tensor, rtol=1e-5, atol=most, msg=key)
