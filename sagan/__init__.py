"""Self-Attention Generative Adversarial Networks (Zhang et al. 2018, arXiv 1805.08318).

The public interface is what `__init__.pyi` lists. Each name is imported when it is first used, so
that `import sagan` and `sagan --help` do not wait for torch.
"""

import os.path
import warnings

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

# In a notebook without ipywidgets, accelerate's import of tqdm says that a bar looks plainer.
warnings.filterwarnings("ignore", message="IProgress not found")

# A sensor-board driver on the package index has the same import name; `torch_sagan.py` says more.
if os.path.exists(os.path.join(__path__[0], "i2c.py")):  # noqa: PTH110, PTH118  (pathlib is slow to import)
    warnings.warn(
        "the sensor-board driver 'sagan' is installed in the same folder as torch-sagan: removing "
        "either breaks the other; use an environment for each",
        stacklevel=2,
    )
