"""`sagan import` writes a model file that other commands take."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from sagan.model import open_model

GOLDEN = Path(__file__).parents[1] / "imports" / "golden" / "studiogan.safetensors"


def test_an_imported_model_is_described_and_can_be_sampled(sagan: Any, tmp_path: Path) -> None:
    tensors = load_file(GOLDEN)
    for name in ("generator", "discriminator"):
        own = {k.removeprefix(f"{name}."): t for k, t in tensors.items() if k.startswith(name)}
        torch.save({"state_dict": own}, tmp_path / f"{name}.pth")
    generator, discriminator = tmp_path / "generator.pth", tmp_path / "discriminator.pth"
    model = tmp_path / "model.safetensors"
    done = sagan(
        "import", generator, model, "--from", "studiogan", "--discriminator", discriminator,
        "--assume", "norm_eps=1e-3",
    )  # fmt: skip
    assert (done.status, done.err) == (0, "")
    assert "Classes have no names" in done.out
    assert "Assumed: norm_eps=0.001, rectified_skip=true." in done.out
    assert done.out.endswith(f"wrote {model}\n")
    assert sagan("sample", model, "--classes", "2", "--out", tmp_path / "grid.png").status == 0
    assert "PyTorch-StudioGAN" in sagan("inspect", model).out
    number = len(open_model(model).classes)
    names = tmp_path / "names.txt"
    names.write_text("".join(f"bird {i}, small\n" for i in range(number)))
    named = sagan("import", generator, model, "--classes", names)
    assert named.status == 0
    assert "Classes have no names" not in named.out
    assert open_model(model).classes[:2] == ("bird 0, small", "bird 1, small")
    names.write_text("cat\n")
    refused = sagan("import", generator, model, "--classes", names)
    assert refused.status == 2
    assert f"has {number} classes, and 1 names are given" in refused.err


def test_a_file_that_cannot_be_imported_is_one_line_and_nothing_is_written(
    sagan: Any, tmp_path: Path
) -> None:
    (tmp_path / "x.pth").write_text("text")
    refused = sagan("import", tmp_path / "x.pth", tmp_path / "model.safetensors")
    assert refused.status == 2
    assert refused.err.count("\n") == 1
    assert not (tmp_path / "model.safetensors").exists()
