"""The Python examples of the README and of docs/python.md run as they are written."""

import re
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]


def examples(page: str) -> str:
    """All Python blocks of a page, which build on each other."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))


def run(page: str) -> dict[str, Any]:
    """Run a page's examples with the tensors that they leave to the reader."""
    code = examples(page).replace('.to("cuda")', "")
    names: dict[str, Any] = {
        "x": torch.randn(2, 64, 16, 16),
        "batches": [torch.randn(4, 3, 32, 32)],
    }
    exec(compile(code, page, "exec"), names)
    return names


def test_the_readme_names_the_shapes_that_its_example_gives() -> None:
    names = run("README.md")
    assert names["y"].shape == names["x"].shape
    assert torch.allclose(names["attention"].sum(-1), torch.ones(()))
    assert names["images"].shape == (16, 64, 64, 3)
    assert names["features"].shape[0] == 16


def test_the_networks_train_in_a_loop_of_the_readers_own() -> None:
    names = run("docs/python.md")
    assert names["logits"].shape == (16, 10)
    assert names["maps"]["discriminator.attention_16"].shape[:2] == (16, 256)
    assert torch.isfinite(names["loss_d"])
    assert torch.isfinite(names["loss_g"])
