"""Templates escape text and fail rather than leave a gap."""

import json
from html import unescape
from pathlib import Path

import jinja2
import pytest
from markupsafe import Markup

from sagan.report.html import render, script_json

EVIL = "<script>alert('1')</script>&\""


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    path.write_text('<p title="{{ text }}">{{ text }}</p>')
    return path


def test_text_is_escaped_in_elements_and_attributes(template: Path) -> None:
    page = render(template, text=EVIL)
    assert page.count("<") == 2
    assert unescape(page) == f'<p title="{EVIL}">{EVIL}</p>'


def test_markup_is_not_escaped(template: Path) -> None:
    assert "<b>1</b></p>" in render(template, text=Markup("<b>1</b>"))


def test_a_missing_value_is_an_error(template: Path) -> None:
    with pytest.raises(jinja2.UndefinedError, match="text"):
        render(template)


def test_no_text_in_script_json_can_end_its_element() -> None:
    assert "<" not in script_json([EVIL])
    assert json.loads(script_json([EVIL])) == [EVIL]
