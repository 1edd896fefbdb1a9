"""What has to be on the disk before a rename may rely on it."""

import os
from pathlib import Path


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's entries, are on the disk.

    Raises:
        OSError: they cannot be written.
    """
    if os.name == "nt":  # where folders cannot be opened, nor files flushed that are read
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
