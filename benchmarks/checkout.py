"""A checkout of another implementation, timed on our protocol.

The folder must contain a module `sagan_models` (it may import others beside it) with

* `Generator(batch_size, image_size, z_dim, conv_dim)`: latents (B, z_dim) -> images (B, 3, S, S),
* `Discriminator(batch_size, image_size, conv_dim)`: images -> logits,

either of which may return a tuple that starts with this. That is the interface of
heykeetae/Self-Attention-GAN and its many descendants. Their code runs as it is, in this process:
give only a checkout that you would run anyway. The step around it follows
that repository's training loop with the hinge loss: D on real images, on fakes with gradients
through G, both gradients set to zero, backward, Adam; then the same for G.
"""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.naive import Batch
from sagan.config import Config
from sagan.errors import SaganError


class Checkout:
    """Training of a checkout's networks, sized by a configuration of the dcgan family.

    Raises:
        SaganError: the folder has no such module, or it cannot be imported.
    """

    def __init__(self, path: Path, config: Config, batches: Iterator[Batch]) -> None:
        models = load_models(path)
        self.config = config
        self.batches = batches
        size, side = config.batch_size, config.resolution
        self.generator = models.Generator(size, side, config.latent_size, config.channels_g)
        self.discriminator = models.Discriminator(size, side, config.channels_d)
        self.optimizer_g = _adam(self.generator, config.lr_g, config)
        self.optimizer_d = _adam(self.discriminator, config.lr_d, config)

    def step(self) -> None:
        """Update D `d_steps` times and G once."""
        for _ in range(self.config.d_steps):
            loss = F.relu(1 - _first(self.discriminator(next(self.batches).images))).mean()
            loss = loss + F.relu(1 + _first(self.discriminator(self._fake()))).mean()
            self._zero_grad()
            loss.backward()
            self.optimizer_d.step()
        loss = -_first(self.discriminator(self._fake())).mean()
        self._zero_grad()
        loss.backward()
        self.optimizer_g.step()

    def _fake(self) -> Tensor:
        return _first(self.generator(torch.randn(self.config.batch_size, self.config.latent_size)))

    def _zero_grad(self) -> None:
        self.optimizer_d.zero_grad()
        self.optimizer_g.zero_grad()


def load_models(path: Path) -> ModuleType:
    """Import the checkout's module.

    Raises:
        SaganError: there is none, or it cannot be imported.
    """
    if not (path / "sagan_models.py").is_file():
        raise SaganError(f"'{path}' has no sagan_models.py: give the folder of a checkout")
    sys.path.insert(0, str(path.resolve()))
    try:
        return importlib.import_module("sagan_models")
    except Exception as error:
        raise SaganError(f"cannot import '{path / 'sagan_models.py'}': {error}") from None
    finally:
        sys.path.pop(0)


def _adam(network: nn.Module, lr: float, config: Config) -> torch.optim.Adam:
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return torch.optim.Adam(trained, lr, (config.beta1, config.beta2))


def _first(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]
