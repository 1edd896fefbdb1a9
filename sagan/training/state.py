"""A training in progress: what a step updates, and what a checkpoint saves and restores."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sagan.data import PackedDataset
from sagan.data.windows import order_of
from sagan.errors import SaganError
from sagan.images.pixels import to_device
from sagan.nn.precision import resolve_precision
from sagan.nn.spectral_norm import normalized_once
from sagan.run import checkpoint
from sagan.run.directory import RunDescription
from sagan.run.stats import Record
from sagan.runtime.processes import Processes
from sagan.storage.files import read_json
from sagan.training.adversaries import build_adversaries, shares_batch_norm
from sagan.training.agreement import check_alike
from sagan.training.draws import RandomKey
from sagan.training.ema import GeneratorAverage
from sagan.training.finite import ADVICE
from sagan.training.loss_scaling import LossScale
from sagan.training.measurements import measure_networks
from sagan.training.optimizer import (
    decay_factor,
    optimizer_tensors,
    restore_optimizer,
    set_learning_rate,
)
from sagan.training.shards import RealShard, Shards
from sagan.training.steps import (
    DiscriminatorResult,
    discriminator_step,
    generator_step,
    joint_step,
)
from sagan.training.transfer import Start


class Training:
    """A run in progress: its networks, and how far they are trained.

    Args:
        description: configuration and data of the run.
        dataset: the images, at the configuration's resolution.
        accelerator: devices and processes.

    Attributes:
        step: steps done.
        steps: steps in all; a time limit changes it when the speed is known.
        seconds: time spent in steps, over the whole run.
        elapsed: time spent in everything, over the whole run.
        dropped: updates dropped because a loss or gradient was not finite.

    Raises:
        SaganError: data or machine do not fit the configuration, or processes differ in it.
    """

    def __init__(
        self, description: RunDescription, dataset: PackedDataset, accelerator: Accelerator
    ) -> None:
        config = description.config
        self.config = config
        self.dataset = dataset
        self.accelerator = accelerator
        self.processes = Processes(accelerator.num_processes)
        check_alike(description, resolve_precision(config.precision, accelerator.device))
        self.shards = Shards.of(accelerator, config)
        lanes = accelerator.num_processes * config.accumulation
        self.order = order_of(dataset, config.batch_size, config.seed, config.shuffle_window, lanes)
        self.adversaries = build_adversaries(config, dataset, accelerator)
        self.average = GeneratorAverage(self.adversaries.generator, config.ema_half_life)
        self.step = 0
        self.steps = config.steps
        self.seconds = 0.0
        self.elapsed = 0.0
        self.dropped = 0

    # -- One step -----------------------------------------------------------------------------

    def advance(self) -> tuple[DiscriminatorResult, Tensor]:
        """Do one step: `d_steps` discriminator updates, one generator update, the average.

        Returns:
            The result of the last discriminator update, and the generator's loss.
        """
        config, adversaries = self.config, self.adversaries
        self._set_learning_rates()
        dropped_before, statistics_before = self._num_dropped(), self._copy_running_statistics()
        alone = config.d_steps - config.reuse_fakes  # updates of D with fakes of their own
        with normalized_once(adversaries.generator, advance=False) if alone else nullcontext():
            for update in range(alone):
                real = self._real_shards(self.step * config.d_steps + update)
                result = discriminator_step(adversaries, self._key(update), real)
                adversaries.strength.adjust(config.batch_size, adversaries.mean)
        if config.reuse_fakes:
            real = self._real_shards(self.step * config.d_steps + alone)
            result, loss_g = joint_step(adversaries, self._key(alone), real[0])
            adversaries.strength.adjust(config.batch_size, adversaries.mean)
        else:
            key = self._key(alone)
            loss_g = generator_step(adversaries, key, self.shards.indices, self.shards.size)
        self._share_running_statistics()
        self.step += 1
        # Values that are not finite reach batch norm's running statistics in the forward pass
        # already, before the update is dropped.
        dropped = self._num_dropped() > dropped_before
        for statistic, before in statistics_before:
            statistic.copy_(torch.where(dropped, before, statistic))
        skipped = adversaries.guard_g.found if self._drops_updates else None
        self.average.update(config.batch_size, self.step, skipped)
        return result, loss_g

    def _key(self, update: int) -> RandomKey:
        return RandomKey(self.config.seed, self.step, update)

    def _set_learning_rates(self) -> None:
        config, adversaries = self.config, self.adversaries
        factor = decay_factor(self.step, self.steps, config.lr_decay)
        set_learning_rate(adversaries.optimizer_g, factor * config.lr_g)
        set_learning_rate(adversaries.optimizer_d, factor * config.lr_d)

    def _real_shards(self, batch: int) -> list[RealShard]:
        """Load this process's shards of a batch, by the batch's number."""
        self.dataset.read_ahead(self.order.ahead(batch, self.shards.indices))
        return [self._real_shard(i, self.order.part(batch, i)) for i in self.shards.indices]

    def _real_shard(self, index: int, rows: npt.NDArray[np.int64]) -> RealShard:
        images = to_device(self.dataset.images[rows], self.accelerator.device)
        labels = None
        if self.config.conditional and self.dataset.labels is not None:
            labels = to_device(self.dataset.labels[rows], self.accelerator.device)
        return RealShard(index, images, labels)

    def _share_running_statistics(self) -> None:
        """Average running statistics over processes; at each step, so saving changes no bit."""
        alone = self.accelerator.num_processes == 1
        if alone or shares_batch_norm(self.config, self.accelerator):
            return
        statistics = _running_statistics(self.adversaries.generator)
        shared = self.adversaries.mean(torch.cat(statistics))
        sizes = [len(statistic) for statistic in statistics]
        for statistic, mean in zip(statistics, shared.split(sizes), strict=True):
            statistic.copy_(mean)

    def _copy_running_statistics(self) -> list[tuple[Tensor, Tensor]]:
        """Return running statistics with copies, if training may drop updates."""
        if not self._drops_updates:
            return []
        statistics = _running_statistics(self.adversaries.generator)
        return [(statistic, statistic.clone()) for statistic in statistics]

    @property
    def _drops_updates(self) -> bool:
        """Whether training continues after an update was dropped."""
        scaled = self.adversaries.guard_g.loss_scale is not None
        return scaled or self.config.on_nonfinite == "skip"

    def _num_dropped(self) -> Tensor:
        """Return the updates dropped since the last fault was reported, a scalar on the device."""
        return self.adversaries.guard_d.dropped + self.adversaries.guard_g.dropped

    # -- Reading values -----------------------------------------------------------------------

    @property
    def on_cpu(self) -> bool:
        """Whether reading a value costs nothing."""
        return bool(self.accelerator.device.type == "cpu")

    @property
    def reads_values(self) -> bool:
        """Whether the latest step's values are read: when an interval ends, on a CPU always."""
        every = (self.config.log_every, self.config.sample_every, self.config.evaluate_every)
        return self.on_cpu or any(n > 0 and self.step % n == 0 for n in every)

    def check_finite(self) -> None:
        """Count the updates that were dropped as not finite; waits for the device.

        In float16, overflow of scaled gradients is not counted: see `FiniteGuard`.

        Raises:
            SaganError: there were some, and `on_nonfinite` is "stop".
        """
        for guard in (self.adversaries.guard_d, self.adversaries.guard_g):
            dropped, reason = guard.report()
            self.dropped += dropped
            if dropped and self.config.on_nonfinite == "stop":
                raise SaganError(f"{reason}. The update was dropped, nothing was saved: {ADVICE}")

    def record_due(self, *, last: bool) -> bool:
        """Return whether a record follows the latest step, which may be the last one."""
        return last or self.step % self.config.log_every == 0

    def over_processes(
        self, result: DiscriminatorResult, loss_g: Tensor
    ) -> tuple[DiscriminatorResult, Tensor]:
        """Return the results of a step with the losses' means over all processes, for a record."""
        loss_d, loss_g = self.adversaries.mean(torch.stack([result.loss, loss_g])).unbind()
        return replace(result, loss=loss_d), loss_g

    def record(self, result: DiscriminatorResult, loss_g: Tensor) -> Record:
        """Return the latest step's record; waits for the device.

        Args:
            result: of the step's last discriminator update.
            loss_g: the generator's loss.
        """
        adversaries = self.adversaries
        real_logits, fake_logits = result.mean_logits().tolist()
        return {
            "step": self.step,
            "loss/d": float(result.loss),
            "loss/g": float(loss_g),
            "logits/real": real_logits,
            "logits/fake": fake_logits,
            "augment/p": adversaries.strength.p,
            **{f"loss_scale/{name[0]}": float(s.factor) for name, s in self._loss_scales().items()},
            **({"dropped": self.dropped} if self.dropped else {}),
            **measure_networks(adversaries.generator, adversaries.discriminator),
        }

    # -- Checkpoints --------------------------------------------------------------------------

    def save(self, run: Path, best_step: int | None = None) -> None:
        """Write a checkpoint, and wait until it is there; every process calls this.

        Args:
            run: the run directory.
            best_step: a step whose checkpoint is to stay, if there is one.

        Raises:
            SaganError: the disk is full or cannot be written to.
        """
        adversaries = self.adversaries
        if self.accelerator.num_processes > 1:
            # Each process has observed its own part since the last adjustment.
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
        self.processes.all_reduce_max(0, what="the main process to save")

    def _networks(self) -> dict[str, nn.Module]:
        """Return the networks by the names of their files in a checkpoint."""
        return {
            "generator": self.adversaries.generator,
            "discriminator": self.adversaries.discriminator,
            "ema": self.average.generator,
        }

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimizers by the name of the network that each updates."""
        return {
            "generator": self.adversaries.optimizer_g,
            "discriminator": self.adversaries.optimizer_d,
        }

    def _loss_scales(self) -> dict[str, LossScale]:
        """Return the loss scales, which only float16 has, by the name of their network."""
        guards = (self.adversaries.guard_g, self.adversaries.guard_d)
        return {guard.name: guard.loss_scale for guard in guards if guard.loss_scale is not None}

    def _tensors(self) -> dict[str, checkpoint.StateTensors]:
        """Return the content of a checkpoint's safetensors files."""
        networks = self._networks()
        optimizer = {
            f"{name}/{key}": tensor
            for name, optimizer in self._optimizers().items()
            for key, tensor in optimizer_tensors(optimizer, networks[name]).items()
        }
        states = {name: network.state_dict() for name, network in networks.items()}
        return states | {"optimizer": optimizer}

    def checkpoint_bytes(self) -> int:
        """Return the size of a checkpoint's tensors, with the moments of all parameters."""
        networks = self._networks().values()
        states = sum(t.nbytes for network in networks for t in network.state_dict().values())
        optimized = (self.adversaries.generator, self.adversaries.discriminator)
        return states + 2 * sum(p.nbytes for network in optimized for p in network.parameters())

    def _state(self) -> dict[str, object]:
        """Return the content of a checkpoint's state.json, except the step."""
        return {
            "seconds": self.seconds,
            "elapsed": self.elapsed,
            "dropped": self.dropped,
            "augment": self.adversaries.strength.state_dict(),
            "loss_scale": {name: s.state_dict() for name, s in self._loss_scales().items()},
        }

    def start_from(self, start: Start) -> None:
        """Take a model's tensors in place of initial ones, before the first step."""
        for name, network in self._networks().items():
            network.load_state_dict(network.state_dict() | start.tensors[name])

    def restore(self, folder: Path) -> None:
        """Resume from a checkpoint.

        Raises:
            SaganError: it is damaged, or from another configuration.
        """
        networks = self._networks()
        for name, network in networks.items():
            tensors = checkpoint.read_checkpoint(folder, name)
            checkpoint.load_tensors(network, tensors, str(folder))
        tensors = checkpoint.read_checkpoint(folder, "optimizer")
        for name, optimizer in self._optimizers().items():
            prefix = f"{name}/"
            own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
            restore_optimizer(optimizer, networks[name], own)
        try:
            state = read_json(folder / "state.json", follow_links=False)
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.elapsed = float(state.get("elapsed", self.seconds))  # missing from older runs
            self.dropped = int(state["dropped"])
            self.adversaries.strength.load_state_dict(state["augment"])
            # Missing from older runs, and from those that a machine with bfloat16 began.
            saved = dict(state.get("loss_scale", {}))
            for name, scale in self._loss_scales().items():
                if name in saved:
                    scale.load_state_dict(saved[name])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise SaganError(f"'{folder / 'state.json'}' is damaged") from None


def _running_statistics(network: nn.Module) -> list[Tensor]:
    """Return batch norm's running means and variances."""
    return [
        buffer
        for name, buffer in network.named_buffers()
        if name.endswith(("running_mean", "running_var"))
    ]
