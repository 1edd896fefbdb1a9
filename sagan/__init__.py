"""Self-Attention Generative Adversarial Networks (Zhang et al. 2018, arXiv 1805.08318).

The public interface is what `__init__.pyi` lists. Each name is imported when it is first used, so
that `import sagan` and `sagan --help` do not wait for torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
