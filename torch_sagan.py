"""The command's entry point, outside the package so that it can see whose package `sagan` is.

A driver for a sensor board is called sagan, too, and installs a package of that name. In the same
environment it hides this package or replaces its `__init__.py`; whatever is imported then fails far
from the cause.
"""

import sys
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    """Run the command line, or say in one line why it cannot run."""
    spec = find_spec("sagan")
    if spec is None or spec.origin is None or not is_ours(Path(spec.origin)):
        print(
            "sagan: the package 'sagan' of this environment is not torch-sagan's, but that of a "
            "sensor-board driver, or damaged by its removal: pip uninstall sagan torch-sagan, then "
            "install torch-sagan again (for both, use an environment each)",
            file=sys.stderr,
        )
        sys.exit(2)
    try:
        from sagan.cli import main as run

        run()
    except KeyboardInterrupt:  # while modules are still being imported
        sys.exit(130)


def is_ours(init: Path) -> bool:
    """Whether a package's `__init__.py` is torch-sagan's, which gets its names from a stub."""
    return b"attach_stub" in init.read_bytes()
