"""How much memory a file that comes from anyone may ask for."""

import math
import os

from sagan.errors import SaganError

LIMIT = "SAGAN_MEMORY_GIB"  # the environment variable that raises or lowers the limit
DEFAULT_GIB = 8.0


def check_memory(num_bytes: float, origin: str, purpose: str) -> None:
    """Refuse, before it is allocated, what would take more memory than the limit.

    Args:
        num_bytes: an estimate.
        origin: the file or folder that asks for it.
        purpose: what it is for, such as "attention maps".

    Raises:
        SaganError: it is more than $SAGAN_MEMORY_GIB (8 by default), or that is not a number.
    """
    limit, needed = _limit(), num_bytes / 2**30
    if needed > limit:
        raise SaganError(
            f"'{origin}' needs about {needed:,.1f} GiB of memory for {purpose}, and the limit is "
            f"{limit:g}: ask for fewer images, or set {LIMIT}={math.ceil(needed)} to allow it"
        )


def _limit() -> float:
    text = os.environ.get(LIMIT, "")
    try:
        limit = float(text or DEFAULT_GIB)
    except ValueError:
        limit = math.nan
    if not limit > 0:
        raise SaganError(f"{LIMIT}={text} is not a number of GiB: set it to one above 0")
    return limit
