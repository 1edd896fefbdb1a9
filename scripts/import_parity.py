"""Compare imported networks with the code of the project that they come from.

Run it as `python scripts/import_parity.py CHECKOUT`, for a checkout of PyTorch-StudioGAN,
mmgeneration, BigGAN-PyTorch or heykeetae/Self-Attention-GAN. It builds their networks with
random weights, saves them as their training does, imports the file, and compares images and logits.
With `--golden FILE.safetensors` it writes the smallest pair with its outputs: the data of
tests/imports, which need no checkout. Nothing is downloaded.
"""

import argparse
import copy
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from parity.case import Case
from safetensors.torch import save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from sagan.imports.convert import import_model

PROJECTS = ("studiogan", "mmgeneration", "biggan_pytorch", "heykeetae")
TOLERANCE = 1e-5  # for images in [-1, 1], and for logits relative to the largest


@torch.no_grad()
def compare(case: Case, source: str) -> tuple[float, float]:
    """Return the largest difference of images, and of logits relative to the largest logit."""
    states = [
        copy.deepcopy(network.state_dict()) if network is not None else {}
        for network in (case.generator, case.discriminator)
    ]
    latents, labels, images = case.inputs(4)
    drawn, logits = case.generate(latents, labels), case.judge(images, labels).flatten()
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("G.pth", "D.pth")]
        contents = case.saved(states[0], states[1])
        for file, content in zip(files, contents, strict=True):
            torch.save(content, file)
        apart = case.discriminator is not None and contents[1] is not None
        model = import_model(files[0], source, files[1] if apart else None, assume=case.assume)
        assert import_model(files[0], assume=case.assume).config.family == model.config.family
    difference = (model.generator()(latents, labels) - drawn).abs().max().item()
    if case.discriminator is None:
        return difference, 0.0
    judged = model.discriminator()(images, labels)
    return difference, ((judged - logits).abs().max() / logits.abs().max().clamp(min=1)).item()


@torch.no_grad()
def golden(case: Case) -> dict[str, Tensor]:
    """Return the weights of a pair of networks, inputs and outputs; D judges G's images."""
    tensors = {
        f"{name}.{key}": tensor.clone().contiguous()
        for name, network in (("generator", case.generator), ("discriminator", case.discriminator))
        if network is not None
        for key, tensor in network.state_dict().items()
    }
    latents, labels, _ = case.inputs(64 // case.resolution)  # small files
    tensors |= {"latents": latents} | ({"labels": labels} if labels is not None else {})
    tensors["images"] = case.generate(latents, labels)
    if case.discriminator is not None:
        tensors["logits"] = case.judge(tensors["images"], labels).flatten()
    return tensors


def main() -> None:
    """Compare all pairs of a project's networks, or write the golden file of the smallest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--golden", type=Path, metavar="FILE.safetensors")
    arguments = parser.parse_args()
    checkout = arguments.checkout.resolve()
    projects: dict[str, Any] = {n: importlib.import_module(f"parity.{n}") for n in PROJECTS}
    found = [name for name, project in projects.items() if (checkout / project.MARK).is_file()]
    if not found:
        sys.exit(f"'{checkout}' is not a checkout of {', '.join(PROJECTS)}")
    cases = projects[found[0]].cases(checkout, small=arguments.golden is not None)
    failed = False
    for case in cases:
        case.disturb()
        if arguments.golden is not None:
            save_file(golden(case), arguments.golden)
            continue
        images, logits = compare(case, found[0].replace("_", "-"))
        failed |= not max(images, logits) <= TOLERANCE
        print(f"{found[0]:<16}{case.name:<46}images {images:.1e}   logits {logits:.1e}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
