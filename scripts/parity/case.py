"""Networks of another project with random weights, and what they compute."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

GAMMA = 0.7  # of every attention layer, so that attention counts


@dataclass
class Case:
    """A pair of networks, built from a project's own code.

    Attributes:
        name: for the table.
        generator: the project's G.
        discriminator: the project's D; None where it cannot be imported.
        generate: latents (B, latent_size) and labels (B,) or None -> RGB images (B, 3, S, S).
        judge: RGB images and labels -> logits (B,) or (B, 1).
        resolution: S.
        latent_size: length of a latent vector.
        num_classes: number of labels; 0 without.
        saved: what the project's training writes, made from both state dicts: what goes into G's
            file, and what into D's; None if G's has both.
        assume: facts that the importer must be given.
    """

    name: str
    generator: nn.Module
    discriminator: nn.Module | None
    generate: Callable[[Tensor, Tensor | None], Tensor]
    judge: Callable[[Tensor, Tensor | None], Tensor]
    resolution: int
    latent_size: int
    num_classes: int
    saved: Callable[[dict[str, Tensor], dict[str, Tensor]], tuple[Any, Any]]
    assume: tuple[str, ...] = field(default=())

    @torch.no_grad()
    def disturb(self, seed: int = 0) -> None:
        """Move everything away from its initial value: biases, gains, statistics, gamma, u and v.

        Forward passes in training mode do the last three, as a training would.
        """
        torch.manual_seed(seed)
        for network in filter(None, (self.generator, self.discriminator)):
            for name, parameter in network.named_parameters():
                if name.endswith(("gamma", "attn1.sigma", ".sigma")):
                    parameter.fill_(GAMMA)
                elif parameter.dim() == 1 and parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn_like(parameter))
            network.train()
        for _ in range(5):
            latents, labels, images = self.inputs(4)
            self.generate(latents, labels)
            if self.discriminator is not None:
                self.judge(images, labels)
        for network in filter(None, (self.generator, self.discriminator)):
            network.eval()

    def inputs(self, num: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return latents, labels and images, drawn from torch's global random state."""
        labels = torch.randint(self.num_classes, (num,)) if self.num_classes else None
        images = torch.rand(num, 3, self.resolution, self.resolution) * 2 - 1
        return torch.randn(num, self.latent_size), labels, images


def stand_in(name: str, **members: Any) -> ModuleType:
    """Make an importable module with these members, in place of one that a project imports."""
    module = ModuleType(name)
    module.__path__ = []  # a package: others may be in it
    for member, value in members.items():
        setattr(module, member, value)
    sys.modules[name] = module
    return module


def import_from(folder: Path, *names: str) -> list[ModuleType]:
    """Import a project's modules from a folder of its checkout."""
    sys.path.insert(0, str(folder))
    return [__import__(name, fromlist=["_"]) for name in names]
