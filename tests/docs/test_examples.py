"""The Python examples of the README and of docs/python.md run as they are written."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sagan.data import PackedDataset

ROOT = Path(__file__).parents[2]


def blocks(page: str) -> list[str]:
    """All Python blocks of a page."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run(page: str) -> dict[str, Any]:
    """Run a page's examples, which build on each other, with tensors from the reader."""
    code = "\n".join(blocks(page)).replace('.to("cuda")', "")
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
    assert names["images"].shape == (4, 64, 64, 3)
    assert names["features"].shape[0] == 4


def test_the_networks_train_in_a_loop_of_the_readers_own() -> None:
    names = run("docs/python.md")
    assert names["logits"].shape == (16, 10)
    assert names["maps"]["discriminator.attention_8"].shape[:2] == (16, 64)
    assert torch.isfinite(names["loss_d"])
    assert torch.isfinite(names["loss_g"])


def test_the_recipe_for_a_sweep_trains_and_ranks_its_runs(
    labeled: PackedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    start_python: Callable[..., Any],
    end_of: Callable[..., Any],
) -> None:
    def run_warm(command: list[object], check: bool) -> None:
        ended = end_of(start_python(command[1:]))
        assert ended.status == 0, ended.err

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sagan.metrics.samples.DEFAULT_NUM", 50)
    Path("recipe.yaml").write_text("preset: smoke\nchannels_g: 8\nchannels_d: 8\nbatch_size: 8\n")
    smaller = {
        '"photos/"': repr(str(labeled.path)), "5000": "1",
        "[1e-4, 2e-4]": "[1e-4]", "[2e-4, 4e-4]": "[2e-4, 4e-4]", "subprocess.run": "run_warm",
    }  # fmt: skip
    (code,) = (block for block in blocks("docs/training.md") if "sweep" in block)
    for text, replacement in smaller.items():
        assert text in code
        code = code.replace(text, replacement)
    exec(compile(code, "docs/training.md", "exec"), {"run_warm": run_warm})
    ranked = re.findall(r"^(-?[\d.]+)  (lr_\S+)$", capsys.readouterr().out, re.MULTILINE)
    assert len(ranked) == 2
    assert float(ranked[0][0]) <= float(ranked[1][0])
    assert {name for _, name in ranked} == {"lr_g=0.0001-lr_d=0.0002", "lr_g=0.0001-lr_d=0.0004"}
