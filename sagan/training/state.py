"""A training in progress: what is updated, saved and restored."""

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sagan.build import build_networks
from sagan.config import Config
from sagan.data import BatchOrder, PackedDataset
from sagan.errors import SaganError
from sagan.images.pixels import to_device
from sagan.nn.augment import ADAPTIVE_IMAGES, Strength
from sagan.nn.losses import OBJECTIVES
from sagan.nn.precision import resolve_precision
from sagan.run import checkpoint
from sagan.run.directory import RunDescription
from sagan.run.stats import Record
from sagan.runtime.processes import Consensus
from sagan.storage.files import read_json
from sagan.training.ema import GeneratorAverage
from sagan.training.finite import ADVICE, FiniteGuard
from sagan.training.optimizer import adam, optimizer_tensors, restore_optimizer
from sagan.training.statistics import layer_statistics
from sagan.training.steps import (
    Adversaries,
    DiscriminatorResult,
    Key,
    RealShard,
    discriminator_step,
    generator_step,
)


@dataclass(frozen=True)
class Shards:
    """How a global batch is divided: shard i is rows i*size to (i+1)*size - 1 of it.

    Attributes:
        indices: of this process's shards.
        size: images in each.
    """

    indices: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, accelerator: Accelerator, config: Config) -> "Shards":
        """This process's share of a batch.

        Raises:
            SaganError: the batch cannot be divided evenly.
        """
        processes, rank = accelerator.num_processes, accelerator.process_index
        number = processes * config.accumulation
        if config.batch_size % number:
            raise SaganError(
                f"batch_size {config.batch_size} cannot be divided among {processes} processes "
                f"with accumulation {config.accumulation}: make it a multiple of {number}"
            )
        first = rank * config.accumulation
        indices = tuple(range(first, first + config.accumulation))
        return cls(indices, config.batch_size // number)


class Training:
    """A run in progress: its networks and how far they are.

    Args:
        description: configuration and data of the run.
        dataset: the images, of the configuration's resolution.
        accelerator: devices and processes.

    Raises:
        SaganError: the data or the machine do not fit the configuration.
    """

    def __init__(
        self, description: RunDescription, dataset: PackedDataset, accelerator: Accelerator
    ) -> None:
        config = description.config
        self.config = config
        self.dataset = dataset
        self.accelerator = accelerator
        self.consensus = Consensus(accelerator.num_processes)
        _check_alike(self.consensus, description)
        self.shards = Shards.of(accelerator, config)
        self.order = BatchOrder(len(dataset), config.batch_size, config.seed)
        self.adversaries = _adversaries(config, dataset, accelerator)
        self.average = GeneratorAverage(self.adversaries.generator, config.ema_half_life)
        self.step = 0
        self.seconds = 0.0
        self.dropped = 0

    @property
    def is_looked_at(self) -> bool:
        """Whether the latest step's values are read: on a CPU always, which costs nothing."""
        every = (self.config.log_every, self.config.sample_every, self.config.evaluate_every)
        return self.on_cpu or any(n > 0 and self.step % n == 0 for n in every)

    @property
    def on_cpu(self) -> bool:
        """Whether reading a value costs nothing."""
        return bool(self.accelerator.device.type == "cpu")

    def advance(self) -> tuple[DiscriminatorResult, Tensor]:
        """One step: `d_steps` discriminator updates, one generator update, the average."""
        config, adversaries = self.config, self.adversaries
        dropped, sound = self._dropped(), self._sound_statistics()
        for update in range(config.d_steps):
            key = Key(config.seed, self.step, update)
            real = self._real_shards(self.step * config.d_steps + update)
            result = discriminator_step(adversaries, key, real)
            adversaries.strength.adjust(config.batch_size, adversaries.mean)
        key = Key(config.seed, self.step, config.d_steps)
        loss_g = generator_step(adversaries, key, self.shards.indices, self.shards.size)
        self._share_running_statistics()
        self.step += 1
        # Numbers gone wrong reach batch norm's running statistics in the forward pass already.
        went_wrong = self._dropped() > dropped
        for statistic, before in sound:
            statistic.copy_(torch.where(went_wrong, before, statistic))
        self.average.update(config.batch_size, self.step)
        return result, loss_g

    def _share_running_statistics(self) -> None:
        """Average them over the processes, at each step, so that saving one changes no bit."""
        if self.accelerator.num_processes == 1 or _has_synchronized_norms(self.accelerator):
            return
        statistics = _running_statistics(self.adversaries.generator)
        shared = self.adversaries.mean(torch.cat(statistics))
        sizes = [len(statistic) for statistic in statistics]
        for statistic, mean in zip(statistics, shared.split(sizes), strict=True):
            statistic.copy_(mean)

    def check_finite(self) -> None:
        """Count the updates that were dropped because numbers went wrong; waits for the device.

        Raises:
            SaganError: there were some, and the configuration says to stop.
        """
        for guard in (self.adversaries.guard_d, self.adversaries.guard_g):
            dropped, told = guard.report()
            self.dropped += dropped
            if dropped and self.config.on_nonfinite == "stop":
                raise SaganError(f"{told}. Its update was not made, nothing was saved: {ADVICE}")

    def _sound_statistics(self) -> list[tuple[Tensor, Tensor]]:
        """Running statistics and copies of them, where a run may go on after a dropped step."""
        if self.config.on_nonfinite == "stop":
            return []
        statistics = _running_statistics(self.adversaries.generator)
        return [(statistic, statistic.clone()) for statistic in statistics]

    def _dropped(self) -> Tensor:
        return self.adversaries.guard_d.dropped + self.adversaries.guard_g.dropped

    def _real_shards(self, batch: int) -> list[RealShard]:
        rows, size = self.order.indices(batch), self.shards.size
        return [self._real_shard(i, rows[i * size : (i + 1) * size]) for i in self.shards.indices]

    def _real_shard(self, index: int, rows: npt.NDArray[np.int64]) -> RealShard:
        images = to_device(self.dataset.images[rows], self.accelerator.device)
        labels = None
        if self.config.conditional and self.dataset.labels is not None:
            labels = to_device(self.dataset.labels[rows], self.accelerator.device)
        return RealShard(index, images, labels)

    def record(self, result: DiscriminatorResult, loss_g: Tensor) -> Record:
        """The latest step's statistics; waits for the device."""
        adversaries = self.adversaries
        return {
            "step": self.step,
            "loss/d": float(result.loss),
            "loss/g": float(loss_g),
            "logits/real": float(result.real_logits),
            "logits/fake": float(result.fake_logits),
            "augment/p": adversaries.strength.p,
            **({"dropped": self.dropped} if self.dropped else {}),
            **layer_statistics(adversaries.generator, adversaries.discriminator),
        }

    def save(self, run: Path, best_step: int | None = None) -> None:
        """Write a checkpoint. Processes agree first on what each of them has observed by itself.

        Args:
            run: the run directory.
            best_step: the step whose checkpoint is to stay, if there is one.
        """
        adversaries = self.adversaries
        if self.accelerator.num_processes > 1:
            adversaries.strength.synchronize(adversaries.mean)
        if self.accelerator.is_main_process:
            every = self.config.keep_every
            checkpoint.save_checkpoint(
                run,
                self.step,
                self._tensors(),
                self._state(),
                keep=lambda step: step == best_step or (every > 0 and step % every == 0),
            )
        self.consensus.agree(0)  # that it is there; a slow disk may take its time

    def _tensors(self) -> dict[str, checkpoint.Tensors]:
        adversaries = self.adversaries
        optimizers = {
            "generator": optimizer_tensors(adversaries.optimizer_g, adversaries.generator),
            "discriminator": optimizer_tensors(adversaries.optimizer_d, adversaries.discriminator),
        }
        return {
            "generator": adversaries.generator.state_dict(),
            "discriminator": adversaries.discriminator.state_dict(),
            "ema": self.average.generator.state_dict(),
            "optimizer": {
                f"{network}/{name}": tensor
                for network, tensors in optimizers.items()
                for name, tensor in tensors.items()
            },
        }

    def _state(self) -> dict[str, object]:
        return {
            "seconds": self.seconds,
            "dropped": self.dropped,
            "augment": self.adversaries.strength.state_dict(),
        }

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            SaganError: it is damaged, or that of another configuration.
        """
        adversaries, origin = self.adversaries, str(folder)
        networks = {
            "generator": adversaries.generator,
            "discriminator": adversaries.discriminator,
            "ema": self.average.generator,
        }
        for name, network in networks.items():
            checkpoint.load_tensors(network, checkpoint.read_tensors(folder, name), origin)
        tensors = checkpoint.read_tensors(folder, "optimizer")
        for prefix, optimizer in (
            ("generator/", adversaries.optimizer_g),
            ("discriminator/", adversaries.optimizer_d),
        ):
            own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
            restore_optimizer(optimizer, networks[prefix[:-1]], own)
        try:
            state = read_json(folder / "state.json")
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.dropped = int(state["dropped"])
            adversaries.strength.load_state_dict(state["augment"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise SaganError(f"{folder / 'state.json'} is damaged") from None


def _check_alike(consensus: Consensus, description: RunDescription) -> None:
    """Insist that all processes train the same on the same pictures.

    Raises:
        SaganError: they do not; every process says so.
    """
    content = description.config.to_json() + str(description.data["fingerprint"])
    number = int(hashlib.sha256(content.encode()).hexdigest()[:15], 16)
    largest, negative_smallest = consensus.agree(number, -number)
    if largest != -negative_smallest:
        raise SaganError(
            "the processes of this command have other settings or other pictures than each other: "
            "start all with the same command, on the same pictures (sagan data pack them once)"
        )


def _running_statistics(network: nn.Module) -> list[Tensor]:
    """Batch norm's running means and variances."""
    return [
        buffer
        for name, buffer in network.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    ]


def _has_synchronized_norms(accelerator: Accelerator) -> bool:
    """Whether batch norm sees the whole batch: torch has no such layer for CPUs."""
    return bool(accelerator.num_processes > 1 and accelerator.device.type == "cuda")


def _adversaries(config: Config, dataset: PackedDataset, accelerator: Accelerator) -> Adversaries:
    device = accelerator.device
    generator, discriminator = build_networks(config, dataset.num_classes)
    if _has_synchronized_norms(accelerator):
        generator = nn.SyncBatchNorm.convert_sync_batchnorm(generator)
    generator, discriminator = generator.to(device).train(), discriminator.to(device).train()
    label_weights = None
    if config.conditional and dataset.labels is not None:
        counts = np.bincount(dataset.labels, minlength=dataset.num_classes)
        label_weights = torch.from_numpy(counts).to(device, torch.float32)
    betas = (config.beta1, config.beta2)
    optimizer_g = adam(generator, config.lr_g, betas)
    optimizer_d = adam(discriminator, config.lr_d, betas)
    return Adversaries(
        accelerator=accelerator,
        generator=generator,
        discriminator=discriminator,
        parallel_generator=_parallel(generator, accelerator),
        parallel_discriminator=_parallel(discriminator, accelerator),
        optimizer_g=optimizer_g,
        optimizer_d=optimizer_d,
        objective=OBJECTIVES[config.loss],
        strength=Strength(
            p=0.0 if config.augment == "adaptive" else config.augment,
            images_to_full=ADAPTIVE_IMAGES if config.augment == "adaptive" else float("inf"),
        ),
        guard_g=FiniteGuard("generator", generator, optimizer_g),
        guard_d=FiniteGuard("discriminator", discriminator, optimizer_d),
        precision=resolve_precision(config.precision, device),
        flip=config.flip,
        label_weights=label_weights,
    )


def _parallel(network: nn.Module, accelerator: Accelerator) -> nn.Module:
    """The network wrapped to average gradients, if there are several processes."""
    with warnings.catch_warnings():
        # torch 2.13 renamed the argument; the old name serves older versions as well.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        parallel: nn.Module = accelerator.prepare_model(network)
    return parallel
