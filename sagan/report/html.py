"""HTML from Jinja2 templates: text is escaped unless it is marked as markup."""

import functools
from pathlib import Path
from typing import Any

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

REPORT_TEMPLATES = Path(__file__).parent / "templates"


def render(template: Path, **values: Any) -> str:
    """Return the HTML that a template makes of these values.

    Args:
        template: the template's file; it may extend, include and import others of its folder, and
            those of reports.
        values: its variables. Strings are escaped, `Markup` is not.

    Raises:
        jinja2.UndefinedError: the template uses a variable that is not among the values.
    """
    return _environment(template.parent).get_template(template.name).render(values)


def script_json(value: Any) -> Markup:
    """Return JSON to put inside a `<script>` element: no text in it can end the element."""
    return htmlsafe_json_dumps(value)


@functools.cache
def _environment(folder: Path) -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder, REPORT_TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
