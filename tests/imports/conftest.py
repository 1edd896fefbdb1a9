"""Networks of other projects with random weights: what scripts/import_parity.py wrote.

Batch-norm statistics, class gains, u and v are away from their initial values, and gamma is 0.7.
The outputs are those of the projects' own code in evaluation mode.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
State = dict[str, Tensor]


@dataclass(frozen=True)
class Golden:
    """A pair of networks of one project, and what they compute.

    `images` are what G draws from `latents` and `labels`; `logits` are what D says of them.
    """

    project: str
    generator: State
    discriminator: State
    latents: Tensor
    labels: Tensor | None
    images: Tensor
    logits: Tensor


def _read(project: str) -> Golden:
    tensors = load_file(GOLDEN / f"{project}.safetensors")

    def network(name: str) -> State:
        prefix = f"{name}."
        return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}

    return Golden(
        project,
        network("generator"),
        network("discriminator"),
        tensors["latents"],
        tensors.get("labels"),
        tensors["images"],
        tensors["logits"],
    )


def _saved_by(golden: Golden) -> tuple[Any, Any]:
    """What the training of the project saves as G's file and D's; None if G's file has both."""
    generator, discriminator = golden.generator, golden.discriminator
    match golden.project:
        case "studiogan":
            progress = {"step": 7, "best_fid": np.float64(12.5), "topk": "initialize"}
            return {"state_dict": generator}, {"state_dict": discriminator, **progress}
        case "mmgeneration":
            tensors = {f"generator.{name}": torch.zeros_like(t) for name, t in generator.items()}
            tensors |= {f"generator_ema.{name}": t for name, t in generator.items()}
            tensors |= {f"discriminator.{name}": t for name, t in discriminator.items()}
            return {"meta": {"iter": 35, "config": ""}, "state_dict": tensors}, None
        case "heykeetae":  # trained with --parallel
            return {f"module.{name}": t for name, t in generator.items()}, discriminator
        case _:
            return generator, discriminator


@pytest.fixture
def golden() -> Callable[[str], Golden]:
    """Reads the networks of a project."""
    return _read


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str], tuple[Path, Path | None]]:
    """Writes the files of a project."""

    def write(project: str) -> tuple[Path, Path | None]:
        contents = _saved_by(_read(project))
        paths = [tmp_path / f"{project}-{name}.pth" for name in ("G", "D")]
        for path, content in zip(paths, contents, strict=True):
            if content is not None:
                torch.save(content, path)
        return paths[0], paths[1] if contents[1] is not None else None

    return write
