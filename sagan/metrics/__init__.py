"""Evaluation of trained models: features of images, one file per metric, the protocol.

It needs the libraries of the extra "metrics". Names are imported when they are first used; a
missing library is then reported in one line.
"""

from typing import Any

import lazy_loader

_attribute, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    from sagan.runtime.extras import report_missing_library

    with report_missing_library():
        return _attribute(name)
