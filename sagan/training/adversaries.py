"""The two networks with whatever their updates need, built from a configuration."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sagan.build import build_networks
from sagan.config import Config
from sagan.data import PackedDataset
from sagan.nn.augment import ADAPTIVE_IMAGES, AdaptiveAugment
from sagan.nn.base import DiscriminatorBase, GeneratorBase, View
from sagan.nn.losses import OBJECTIVES, Objective
from sagan.nn.norms import share_batch_norm
from sagan.nn.precision import autocast, resolve_precision
from sagan.training.compiling import make_compiler, make_marker
from sagan.training.finite import FiniteGuard
from sagan.training.loss_scaling import loss_scale_for
from sagan.training.optimizer import adam
from sagan.training.randomness import KeyedRng

Result = TypeVar("Result")


class DiscriminatorPass(nn.Module):
    """One pass for all outputs of D: DistributedDataParallel must see every use of a parameter."""

    def __init__(self, discriminator: DiscriminatorBase) -> None:
        super().__init__()
        self.discriminator = discriminator

    def forward(self, view: View, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """A view and labels -> logits (B,) or (B, P), and `classify`'s logits of labels (B, K)."""
        return self.discriminator(view, labels), self.discriminator.classify(view)


@dataclass(frozen=True)
class Adversaries:
    """The two networks and what their updates need.

    Attributes:
        accelerator: knows devices and processes.
        generator: the bare network.
        discriminator: the bare network.
        parallel_generator: the same, averaging gradients over processes; for its own update only.
        parallel_discriminator: likewise, with the outputs of a `DiscriminatorPass`.
        optimizer_g: the generator's optimizer.
        optimizer_d: the discriminator's optimizer.
        objective: the adversarial loss.
        class_loss: weight of the class loss in the generator's loss.
        strength: how often images are augmented.
        transformations: how they are, by name.
        guard_g: keeps values that are not finite out of the generator's weights, and scales its
            loss in float16.
        guard_d: likewise for the discriminator.
        precision: what convolutions and matrix products compute in; weights stay float32.
        flip: whether to mirror real images at random.
        label_weights: float (num_classes,), how often to draw each label for a fake image; None
            for an unconditional model.
        rng: draws all random numbers.
        compiled: makes compiled functions of those in `sagan.training.passes`.
        begin_passes: is called when all earlier passes have had their backward passes.
    """

    accelerator: Accelerator
    generator: GeneratorBase
    discriminator: DiscriminatorBase
    parallel_generator: nn.Module
    parallel_discriminator: nn.Module
    optimizer_g: torch.optim.Optimizer
    optimizer_d: torch.optim.Optimizer
    objective: Objective
    class_loss: float
    strength: AdaptiveAugment
    transformations: tuple[str, ...]
    guard_g: FiniteGuard
    guard_d: FiniteGuard
    precision: torch.dtype
    flip: bool
    label_weights: Tensor | None
    rng: KeyedRng
    compiled: Callable[[Callable[..., Any]], Callable[..., Any]]
    begin_passes: Callable[[], None]

    @property
    def device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device

    def autocast(self) -> AbstractContextManager[None]:
        return autocast(self.device, self.precision)

    def run(self, forward: Callable[..., Result], *arguments: object) -> Result:
        """Return what a function of `sagan.training.passes` does, compiled if so configured."""
        result: Result = self.compiled(forward)(self, *arguments)
        return result

    def mean(self, tensor: Tensor) -> Tensor:
        """Return the average of a tensor over the processes."""
        if self.accelerator.num_processes == 1:
            return tensor
        averaged: Tensor = self.accelerator.reduce(tensor.to(self.device), "mean")
        return averaged

    def spreading(self, loss: Tensor) -> Tensor:
        """Return a loss that makes all gradients NaN, on all processes, if it is not finite.

        A loss can be infinite with finite gradients, and only these are averaged: all processes
        must drop an update, or none.
        """
        return loss * (1 + 0 * loss.detach()) if self.accelerator.num_processes > 1 else loss

    def averaging(self, parallel: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Average gradients over processes in the last micro-batch's backward pass only."""
        return nullcontext() if last else self.accelerator.no_sync(parallel)


def build_adversaries(
    config: Config, dataset: PackedDataset, accelerator: Accelerator
) -> Adversaries:
    """Build networks, optimizers and guards on this process's device, as at step 0.

    Raises:
        SaganError: the passes cannot be compiled here as configured.
    """
    device = accelerator.device
    generator, discriminator = build_networks(config, dataset.num_classes)
    if shares_batch_norm(config, accelerator):
        share_batch_norm(generator)
    generator, discriminator = generator.to(device).train(), discriminator.to(device).train()
    # FreezeD (Mo et al. 2020, arXiv 2002.10964), once and for all updates.
    for block in discriminator.first_blocks(config.freeze_d):
        block.requires_grad_(False)
    label_weights = None
    if config.conditional and dataset.labels is not None:
        counts = np.bincount(dataset.labels, minlength=dataset.num_classes)
        label_weights = torch.from_numpy(counts).to(device, torch.float32)
    betas = (config.beta1, config.beta2)
    optimizer_g = adam(generator, config.lr_g, betas)
    optimizer_d = adam(discriminator, config.lr_d, betas)
    precision = resolve_precision(config.precision, device)
    scale_g, scale_d = (loss_scale_for(precision, device) for _ in range(2))
    return Adversaries(
        accelerator=accelerator,
        generator=generator,
        discriminator=discriminator,
        parallel_generator=_parallel(generator, accelerator),
        parallel_discriminator=_parallel(DiscriminatorPass(discriminator), accelerator),
        optimizer_g=optimizer_g,
        optimizer_d=optimizer_d,
        objective=OBJECTIVES[config.loss],
        class_loss=config.class_loss,
        strength=AdaptiveAugment(
            p=0.0 if config.augment == "adaptive" else config.augment,
            images_to_full=ADAPTIVE_IMAGES if config.augment == "adaptive" else float("inf"),
        ),
        transformations=config.augment_with,
        guard_g=FiniteGuard("generator", generator, optimizer_g, scale_g),
        guard_d=FiniteGuard("discriminator", discriminator, optimizer_d, scale_d),
        precision=precision,
        flip=config.flip,
        label_weights=label_weights,
        rng=KeyedRng(device),
        compiled=make_compiler(
            config.compile, device, accelerator.num_processes, (generator, discriminator)
        ),
        begin_passes=make_marker(config.compile),
    )


def shares_batch_norm(config: Config, accelerator: Accelerator) -> bool:
    """Return whether G's batch norm takes its statistics over several processes."""
    shared = config.batch_norm == "shared"
    if config.batch_norm == "auto":
        shared = accelerator.device.type == "cuda"
    return bool(shared and accelerator.num_processes > 1)


def _parallel(network: nn.Module, accelerator: Accelerator) -> nn.Module:
    """Wrap a network to average its gradients, if there are several processes."""
    if accelerator.num_processes == 1:  # which spares the second that preparing a model imports for
        return network
    with warnings.catch_warnings():
        # torch 2.13 renamed the argument; the old name works with earlier versions as well.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        parallel: nn.Module = accelerator.prepare_model(network)
    return parallel
