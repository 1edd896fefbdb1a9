"""One self-contained HTML page on a run."""

from sagan.report.page import write_report

__all__ = ["write_report"]
