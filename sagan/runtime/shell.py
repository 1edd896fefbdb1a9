"""Paths in commands that people copy from the screen."""

import shlex
import subprocess
import sys
from pathlib import Path


def quoted(path: Path) -> str:
    """Return a path as one word of this system's command line."""
    windows = sys.platform == "win32"
    return subprocess.list2cmdline([str(path)]) if windows else shlex.quote(str(path))
