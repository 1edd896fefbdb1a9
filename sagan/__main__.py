"""`python -m sagan`, for launchers such as `accelerate launch -m sagan`."""

import sys

try:
    from sagan.cli import main

    main()
except KeyboardInterrupt:  # while modules are still being imported
    sys.exit(130)
