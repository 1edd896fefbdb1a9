"""Self-Attention Generative Adversarial Networks (Zhang et al. 2018, arXiv 1805.08318).

What is listed in ``__all__`` is the public interface. It is imported when it is first used, so that
``import sagan`` and ``sagan --help`` do not wait for torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "PRESETS",
    "Config",
    "Discriminator",
    "Generator",
    "SaganError",
    "SelfAttention2d",
    "__version__",
    "load_discriminator",
    "load_generator",
]

if TYPE_CHECKING:
    from sagan.attention import SelfAttention2d
    from sagan.checkpoint import load_discriminator, load_generator
    from sagan.config import PRESETS, Config
    from sagan.errors import SaganError
    from sagan.networks import Discriminator, Generator

_HOMES = {
    "PRESETS": "config",
    "Config": "config",
    "Discriminator": "networks",
    "Generator": "networks",
    "SaganError": "errors",
    "SelfAttention2d": "attention",
    "load_discriminator": "checkpoint",
    "load_generator": "checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'sagan' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sagan.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
