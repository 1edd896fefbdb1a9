"""How the C library keeps memory: a setting of the whole process, made by the command line only."""

import ctypes
import sys

# mallopt's numbers, of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT_BYTES = 2**30
_KEPT_BYTES_BEFORE_2_35 = 2**25  # the most that older versions of glibc accept


def keep_freed_memory() -> None:
    """Have glibc keep freed blocks of up to 1 GiB (32 MiB before 2.35) for the next tensor.

    By default it hands blocks above 32 MiB back to the system, which has to clear every page of the
    next one: 6 % of a `sagan-32` step on a CPU, and 20 % of its sampling. Elsewhere than on glibc
    nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return
    # Refused (0), it must be left at that: the other two would fix the threshold at 128 KiB.
    if mallopt(_MMAP_THRESHOLD, _KEPT_BYTES) or mallopt(_MMAP_THRESHOLD, _KEPT_BYTES_BEFORE_2_35):
        mallopt(_TRIM_THRESHOLD, 2 * _KEPT_BYTES - 1)
        mallopt(_TOP_PAD, 2**26)
