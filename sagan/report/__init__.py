"""A run as one self-contained HTML page, and as a film."""

from sagan.report.film import write_film
from sagan.report.page import write_report

__all__ = ["write_film", "write_report"]
