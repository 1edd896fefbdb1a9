"""`python -m sagan`, which launchers such as `accelerate launch -m sagan` call."""

from sagan.cli import main

main()
