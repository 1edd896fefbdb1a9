"""What a run records as numbers: stats.jsonl, and the same as TensorBoard scalars."""

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from sagan.explain import attention_distance, attention_entropy, concentration
from sagan.nn.attention import SelfAttention2d
from sagan.nn.base import DiscriminatorBase, GeneratorBase, Maps
from sagan.nn.spectral_norm import sigmas_of
from sagan.run.stats import Record, read_statistics
from sagan.sampling import grid_labels
from sagan.storage.files import write_bytes
from sagan.storage.fsync import append, flush
from sagan.types import UInt8Array

MEASURED = 16  # pictures whose attention is measured
# Weights of attention maps at a time, 256 MiB: training does without whole maps, this does not.
ENTRIES = 2**26


class StatisticsWriter:
    """Appends records to RUN/stats.jsonl and RUN/tb, from a given step on.

    What an earlier process recorded after that step, or before a first checkpoint, is dropped: it
    will be recorded again.
    """

    def __init__(self, run: Path, step: int) -> None:
        self.path = run / "stats.jsonl"
        records = [record for record in read_statistics(run) if step > 0 and record["step"] <= step]
        lines = [json.dumps(record) + "\n" for record in records]
        write_bytes(self.path, "".join(lines).encode())
        self._tensorboard = SummaryWriter(run / "tb", purge_step=step + 1)

    def write(self, record: Record) -> None:
        """Add one record; it has a "step"."""
        # JSON has no infinities and no NaN.
        finite = {name: v if math.isfinite(v) else None for name, v in record.items()}
        append(self.path, (json.dumps(finite) + "\n").encode())
        step = int(record["step"])
        for name, value in record.items():
            if name != "step":
                self._tensorboard.add_scalar(name, value, step)

    def write_image(self, name: str, image: UInt8Array, step: int) -> None:
        """Add a picture, uint8 (H, W, 3), to TensorBoard."""
        self._tensorboard.add_image(name, image, step, dataformats="HWC")

    def flush(self) -> None:
        """Wait until the records so far are on the disk."""
        flush(self.path)

    def close(self) -> None:
        """Write what TensorBoard has not seen yet."""
        self._tensorboard.close()


@torch.no_grad()
def layer_statistics(generator: GeneratorBase, discriminator: DiscriminatorBase) -> Record:
    """gamma of each attention layer, or of the control in its place, and sigma of each normalized
    layer, in one transfer, and the Euclidean norm of each network's latest gradients, which stay
    where they are until its next update."""
    values: dict[str, Tensor] = {}
    for net, module in (("generator", generator), ("discriminator", discriminator)):
        for size, layer in module.self_attention.items():
            values[f"gamma/{net}.attention_{size}"] = layer.get_parameter("gamma")
        for name, sigma in sigmas_of(module).items():
            values[f"sigma/{net}/{name}"] = sigma
        gradients = [p.grad.float() for p in module.parameters() if p.grad is not None]
        if gradients:
            values[f"gradient/{net}"] = torch.stack(torch._foreach_norm(gradients)).norm()
    if not values:
        return {}
    numbers = torch.stack([value.detach().float() for value in values.values()]).tolist()
    return dict(zip(values, numbers, strict=True))


def pictures_with_maps(network: GeneratorBase | DiscriminatorBase, wanted: int) -> int:
    """How many pictures' attention is recorded: as many as `ENTRIES` allows, `wanted` at most."""
    layers = network.self_attention.items()
    each = sum(x.map_size(int(side)) for side, x in layers if isinstance(x, SelfAttention2d))
    return min(wanted, ENTRIES // max(each, 1))


def attention_statistics(
    generator: GeneratorBase, discriminator: DiscriminatorBase, real: UInt8Array
) -> Record:
    """How far and how sharply each attention layer looks: means over pictures and queries.

    The generator is measured on samples of fixed latents, the discriminator on real pictures
    spread over the data set, uint8 (num, S, S, 3): the same ones at every step. Distance is in
    pixels, entropy in nats, concentration the share of keys that holds half of the attention.
    Nothing of a network of whose maps not one would fit into `ENTRIES`.
    """
    maps: Maps = {}
    if num := pictures_with_maps(generator, MEASURED):
        labels = grid_labels(num, generator.num_classes)
        maps |= generator.sample(num, labels, return_attention=True)[1]
    if num := pictures_with_maps(discriminator, min(MEASURED, len(real))):
        chosen = np.linspace(0, len(real) - 1, num).astype(int)
        maps |= discriminator.attention(real[chosen])
    record: Record = {}
    for layer, attention in maps.items():
        distance = attention_distance(attention, generator.resolution)
        record[f"attention/{layer}/distance"] = float(distance.mean())
        record[f"attention/{layer}/entropy"] = float(attention_entropy(attention).mean())
        record[f"attention/{layer}/concentration"] = float(concentration(attention).mean())
    return record
