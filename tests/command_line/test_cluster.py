"""The options for clusters, from the command that a user types."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sagan.run import checkpoint
from sagan.run.directory import read_description
from sagan.training.state import Training
from tests.command_line.conftest import Sagan

SMALL = ["--set=channels_g=8", "--set=channels_d=8", "--set=latent_size=8", "--set=batch_size=4"]


@pytest.mark.filterwarnings("ignore:the run resumes")
def test_a_scaled_batch_is_divided_and_resumed_by_another_number_of_processes(
    sagan: Sagan,
    pictures: Path,
    tmp_path: Path,
    start_processes: Callable[..., list[Any]],
    end_of: Callable[..., Any],
) -> None:
    out = tmp_path / "run"
    command = ["train", "--data", pictures, "--out", out, "--preset", "smoke", *SMALL,
               "--set=lr_g=1e-4", "--scale-batch"]  # fmt: skip
    ends = [
        end_of(process)
        for process in start_processes([["-m", "sagan", *command, "--steps", 2]] * 2)
    ]
    assert [end.status for end in ends] == [0, 0], ends
    assert "--scale-batch: batch_size=8, lr_g=0.0001414, " in ends[0].out
    config = read_description(out).config
    assert (config.batch_size, round(config.lr_g, 7)) == (8, 0.0001414)
    again = sagan(*command, "--steps", 3)
    assert again.status == 0, again.err
    assert "the run began with batch_size=8, which stays" in again.out
    assert "step 2 of 3: resuming" in again.out
    assert read_description(out).config.batch_size == 8


@pytest.mark.usefixtures("no_images")
def test_deterministic_kernels_are_used_while_training_and_change_no_bit_on_a_cpu(
    sagan: Sagan, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors, used, advance = [], [], Training.advance

    def observed(training: Training) -> Any:
        used.append(torch.are_deterministic_algorithms_enabled())
        return advance(training)

    monkeypatch.setattr(Training, "advance", observed)
    for value in ("false", "true"):
        out = tmp_path / value
        result = sagan("train", "--data", pictures, "--out", out, "--preset", "smoke", *SMALL,
                       "--steps", 2, "--set", f"deterministic={value}")  # fmt: skip
        assert result.status == 0, result.err
        tensors.append(checkpoint.read_checkpoint(checkpoint.folder_of(out, 2), "generator"))
    assert all(torch.equal(tensor, tensors[1][name]) for name, tensor in tensors[0].items())
    assert used == [False] * (len(used) // 2) + [True] * (len(used) // 2)
    assert not torch.are_deterministic_algorithms_enabled()
    assert read_description(tmp_path / "true").config.deterministic
