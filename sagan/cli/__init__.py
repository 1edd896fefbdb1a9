"""The command line, one file for each group of commands. Only this package imports typer."""

from sagan.cli.app import main

__all__ = ["main"]
