"""`python -m sagan`, for launchers such as `accelerate launch -m sagan`."""

from sagan.cli import main

main()
