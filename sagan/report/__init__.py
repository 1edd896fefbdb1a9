"""A run as one self-contained HTML page, as a film, and as a strip of its progress."""

from sagan.report.film import write_film
from sagan.report.page import write_report
from sagan.report.strip import write_strip

__all__ = ["write_film", "write_report", "write_strip"]
