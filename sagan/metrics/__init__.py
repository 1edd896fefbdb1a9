"""Numbers about a trained model: features of images, one file per metric, the protocol.

The libraries that it needs are the extra "metrics"; names are imported when they are first used,
and say so where one is missing.
"""

from typing import Any

import lazy_loader

_attribute, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    from sagan.runtime.extras import report_missing_library

    with report_missing_library():
        return _attribute(name)
