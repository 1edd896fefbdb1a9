"""A .pt2 file is a program of its own: torch runs it without this package."""

import json
import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

from sagan.exporting.program import NetworkProgram, trace_network
from sagan.exporting.pt2_file import pt2_content
from sagan.model import Model
from sagan.nn.inputs import seeded_latents

ALONE = """
import sys
sys.modules["sagan"] = None  # importing it fails
import numpy, torch

draw = torch.export.load("generator.pt2").module()
latents = torch.from_numpy(numpy.load("latents.npy"))
outputs = draw(latents, torch.zeros(len(latents), dtype=torch.int64), torch.tensor(1.0))
numpy.save("images.npy", outputs["images"].numpy())
"""


@pytest.fixture(scope="module")
def traced(labeled_model: Model) -> NetworkProgram:
    return trace_network(labeled_model)


@pytest.fixture(scope="module")
def content(traced: NetworkProgram) -> bytes:
    return pt2_content(traced, {"card": "# A card"})


def test_torch_draws_the_same_from_the_file_alone(
    labeled_model: Model, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "generator.pt2").write_bytes(content)
    latents = seeded_latents(7, 8, seed=0)
    np.save(tmp_path / "latents.npy", latents.numpy())
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", ALONE], cwd=tmp_path, env=environment, check=True)
    expected = labeled_model.generator()(latents, torch.zeros(7, dtype=torch.int64))
    np.testing.assert_allclose(np.load(tmp_path / "images.npy"), expected, atol=1e-5)


def test_the_file_says_what_it_is(content: bytes) -> None:
    extra = {"about.json": ""}
    torch.export.load(BytesIO(content), extra_files=extra)
    assert json.loads(extra["about.json"]) == {
        "card": "# A card",
        "inputs": ["latents", "labels", "gamma_scale"],
        "outputs": ["images"],
    }


def test_a_file_has_the_same_bytes_each_time_and_no_path_of_this_machine(
    labeled_model: Model, content: bytes
) -> None:
    assert pt2_content(trace_network(labeled_model), {"card": "# A card"}) == content
    assert str(Path(__file__).parents[2]).encode() not in content
    assert b"site-packages" not in content
