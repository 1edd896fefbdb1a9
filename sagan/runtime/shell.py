"""Paths in commands that people copy from the screen."""

import os
import shlex
import subprocess
from pathlib import Path


def quoted(path: Path) -> str:
    """Return a path as one word of this system's command line."""
    if os.name == "nt":
        return subprocess.list2cmdline([str(path)])
    return shlex.quote(str(path))
