"""A network with D's architecture trained on labels: a ceiling for what D learns without them."""

import torch
import torch.nn.functional as F
from torch import nn

from sagan.build import build_networks
from sagan.config import Config
from sagan.data import BatchOrder, PackedDataset
from sagan.errors import SaganError
from sagan.images.pixels import to_device, to_float
from sagan.nn.augment import mirrored
from sagan.nn.base import DiscriminatorBase
from sagan.nn.precision import autocast, exact_float32, resolve_precision
from sagan.nn.spectral_norm import advance_spectral_norm
from sagan.runtime.processes import join_processes
from sagan.training.finite import ADVICE, FiniteGuard
from sagan.training.loss_scaling import loss_scale_for
from sagan.training.optimizer import adam, decay_factor, set_learning_rate
from sagan.training.randomness import KeyedRng
from sagan.types import NamedProgress

BETAS = (0.9, 0.999)  # Adam's defaults; a configuration's are for adversarial training


def train_supervised(
    config: Config, dataset: PackedDataset, progress: NamedProgress
) -> DiscriminatorBase:
    """Train D and a linear layer on its features by cross-entropy.

    The number of updates, the batches, their order and the learning rate are D's in the adversarial
    run; images are mirrored as often, and augmentation is off.

    Args:
        config: configuration of the adversarial run.
        dataset: images with labels.
        progress: called after each update.

    Returns:
        The network in evaluation mode, without the linear layer.
    """
    assert dataset.labels is not None
    device = join_processes().device
    network, classifier = _initial_networks(config, dataset, device)
    both = nn.ModuleList([network, classifier])
    optimizer = adam(both, config.lr_d, BETAS)
    precision = resolve_precision(config.precision, device)
    guard = FiniteGuard("the classifier", both, optimizer, loss_scale_for(precision, device))
    order = BatchOrder(len(dataset), config.batch_size, config.seed)
    updates = config.steps * config.d_steps
    rng = KeyedRng(device)
    with exact_float32(enabled=precision == torch.float32):  # as in the adversarial run
        for update in range(updates):
            rows = order.indices(update)
            images = to_float(to_device(dataset.images[rows], device))
            if config.flip:
                mirror = rng.at(config.seed, update)
                images = mirrored(images, torch.rand(len(rows), device=device, generator=mirror))
            factor = decay_factor(update // config.d_steps, config.steps, config.lr_decay)
            set_learning_rate(optimizer, factor * config.lr_d)
            advance_spectral_norm(network)
            optimizer.zero_grad()
            with autocast(device, precision):
                features = network.embed(images)
            labels = to_device(dataset.labels[rows], device)
            loss = F.cross_entropy(classifier(features.float()), labels)
            guard.scaled(loss).backward()
            guard.check(loss.detach(), update + 1)
            guard.step()
            progress("training with labels", update + 1, updates)
    faults, why = guard.report()
    if faults:
        raise SaganError(f"training with labels: {why}: {ADVICE}")
    return network.eval()


def _initial_networks(
    config: Config, dataset: PackedDataset, device: torch.device
) -> tuple[DiscriminatorBase, nn.Linear]:
    """Return D with the initial weights of the adversarial run, and a linear layer for it."""
    _, network = build_networks(config, 0)
    width = network.features(dataset.images[:1]).shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        classifier = nn.Linear(width, dataset.num_classes)
    return network.to(device).train(), classifier.to(device)
