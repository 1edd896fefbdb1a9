"""The command line, a file for each group of commands. Only this room imports typer."""

from sagan.cli.app import main

__all__ = ["main"]
