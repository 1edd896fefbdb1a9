"""Files that cannot be imported are refused in one line that says why, and run no code."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sagan.errors import SaganError
from sagan.imports.convert import import_model
from sagan.model import export_model, load_discriminator, load_generator, open_model
from sagan.summary import model_lines

State = dict[str, Tensor]
Golden = Callable[[str], Any]
Saved = Callable[[str], tuple[Path, Path | None]]


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch harmed",)


def refusal(path: Path, *arguments: Any, **options: Any) -> str:
    with pytest.raises(SaganError) as caught:
        import_model(path, *arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (Harmful(), "could run code"),
        ({"state_dict": {"linear0.weight": Harmful()}}, "could run code"),
        ([torch.zeros(1)], "not a dictionary"),
        ({"state_dict": {"a": 1}}, "not a dictionary of tensors"),
        ({1: torch.zeros(1)}, "not a dictionary of tensors"),
        ({"a": torch.zeros(1)}, "of no network that we know"),
        ({}, "of no network that we know"),
        ({"a": torch.zeros(1).expand(10**12)}, "GiB of memory"),
        ({"a": torch.zeros(3).to_sparse()}, "not a plain tensor"),
        ({"a": torch.zeros(3, device="meta")}, "not a plain tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
def test_a_hostile_or_foreign_file_is_refused(
    content: object, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(content, "x.pth")
    assert reason in refusal(Path("x.pth"))
    assert not Path("harmed").exists()


def test_what_is_no_file_of_torch_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pth").write_text("text")
    assert "does not contain weights" in refusal(tmp_path / "x.pth")
    assert "No such file" in refusal(tmp_path / "missing.pth")
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda g: g.pop("bn4.weight"), "has no tensor 'bn4.weight'"),
        (lambda g: g.update(info_mix=torch.ones(2)), "has no place for 'info_mix'"),
        (lambda g: g["bn4.running_mean"].fill_(torch.nan), "not finite"),
        (lambda g: g.update({"bn4.bias": torch.ones(2, 2)}), "in 1 dimensions"),
        (lambda g: g.update({"bn4.bias": torch.ones(16, dtype=torch.int64)}), "floating-point"),
        (lambda g: g.update({"conv2d5.bias": torch.ones(4)}), "to_rgb.bias would be (4,)"),
        (lambda g: g.update({"linear0.weight_u": torch.ones(3)}), "has 3 values, not 256"),
        (lambda g: g.update({"blocks.2.0.sigma": torch.ones(2)}), "has 2 values, not one"),
        (
            lambda g: g.update({"blocks.0.0.bn1.bn.running_mean": torch.ones(8)}),
            "has 8 channels, but its variance, gains and biases have 16, 16, 16",
        ),
        (
            lambda g: [g.pop(name) for name in list(g) if name.startswith("blocks.3.")],
            "3 feature maps, which none of our layouts has",
        ),
    ],
)
def test_a_changed_generator_is_refused_with_the_place(
    change: Callable[[State], object], reason: str, golden: Golden, tmp_path: Path
) -> None:
    generator = golden("studiogan").generator
    change(generator)
    torch.save(generator, tmp_path / "G.pth")
    assert reason in refusal(tmp_path / "G.pth", "studiogan")


def test_a_layout_that_ours_does_not_have_is_refused(golden: Golden, tmp_path: Path) -> None:
    generator = golden("studiogan").generator
    norm = {f"bn4.{k}": torch.ones(4) for k in ("running_mean", "running_var", "weight", "bias")}
    torch.save(generator | norm, tmp_path / "G.pth")
    assert "16, 16, 16, 4 channels, where our layout at 32" in refusal(tmp_path / "G.pth")


def test_a_generator_of_mimicry_is_refused_with_the_reason(tmp_path: Path) -> None:
    torch.save({"l1.weight": torch.ones(2, 2), "block2.b1.bn": torch.ones(1)}, tmp_path / "G.pth")
    assert "bilinearly" in refusal(tmp_path / "G.pth")


def test_a_biggan_is_refused_with_the_reason(golden: Golden, tmp_path: Path) -> None:
    generator = golden("biggan-pytorch").generator
    torch.save(generator | {"shared.weight": torch.ones(2, 2)}, tmp_path / "G.pth")
    assert "is a BigGAN" in refusal(tmp_path / "G.pth")


def test_files_in_the_wrong_place_are_refused(golden: Golden, saved: Saved, tmp_path: Path) -> None:
    generator, discriminator = saved("studiogan")
    assert discriminator is not None
    assert "has no generator" in refusal(discriminator)
    assert "has no discriminator, but a generator" in refusal(generator, discriminator=generator)
    assert "not a SAGAN of MMGeneration" in refusal(generator, "mmgeneration")
    assert "unknown project 'x'" in refusal(generator, "x")
    other = saved("biggan-pytorch")[1]
    assert "is not of PyTorch-StudioGAN" in refusal(generator, discriminator=other)
    mixed = {"G": golden("studiogan").generator, "D": golden("biggan-pytorch").discriminator}
    torch.save(mixed, tmp_path / "mixed.pth")
    reason = f"'{tmp_path / 'mixed.pth'}': its discriminator is not of PyTorch-StudioGAN"
    assert reason in refusal(tmp_path / "mixed.pth")
    swapped = {"G": golden("studiogan").discriminator}
    torch.save(swapped, tmp_path / "swapped.pth")
    assert "under the name of another network" in refusal(tmp_path / "swapped.pth")


def test_networks_with_different_classes_are_refused(
    golden: Golden, saved: Saved, tmp_path: Path
) -> None:
    generator, _ = saved("studiogan")
    discriminator = golden("studiogan").discriminator
    discriminator = {k: t for k, t in discriminator.items() if not k.startswith("embedding.")}
    torch.save(discriminator, tmp_path / "D.pth")
    message = refusal(generator, discriminator=tmp_path / "D.pth")
    assert "the generator has classes 3, and the discriminator 0" in message


@pytest.mark.parametrize(
    ("assignment", "reason"),
    [
        ("channels=bgr", "choose from norm_eps, rectified_skip"),
        ("norm_eps=-1", "norm_eps is a number such as 1e-5"),
        ("norm_eps=x", "norm_eps is a number such as 1e-5"),
        ("rectified_skip=1", "rectified_skip is true or false"),
        ("x", "choose from"),
    ],
)
def test_an_unknown_fact_is_refused(assignment: str, reason: str, saved: Saved) -> None:
    assert reason in refusal(saved("studiogan")[0], assume=[assignment])


@pytest.mark.parametrize("eps", ["1.0.0", "9e999", "0", "1"])
def test_a_configuration_with_an_impossible_eps_is_refused(
    eps: str, golden: Golden, tmp_path: Path
) -> None:
    tensors = {f"generator.{name}": t for name, t in golden("mmgeneration").generator.items()}
    content = {"meta": {"config": f"dict(norm_eps={eps})"}, "state_dict": tensors}
    torch.save(content, tmp_path / "both.pth")
    assert f"has norm_eps={eps} in its configuration" in refusal(tmp_path / "both.pth")


def test_without_its_discriminator_a_model_samples_and_the_rest_says_what_is_missing(
    saved: Saved, tmp_path: Path
) -> None:
    file = tmp_path / "alone.safetensors"
    export_model(import_model(saved("studiogan")[0]), file)
    assert load_generator(file).sample(1, [0]).shape == (1, 32, 32, 3)
    lines = list(model_lines(open_model(file)))
    assert "discriminator: none, as this model was imported without it" in lines
    with pytest.raises(SaganError, match=r"has no discriminator: use a model with both"):
        load_discriminator(file)
