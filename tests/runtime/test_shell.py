"""Paths in printed commands can be copied into this system's shell."""

import shlex
import sys
from pathlib import Path

import pytest

from sagan.runtime.shell import quoted


def test_a_quoted_path_is_one_word_of_a_posix_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert quoted(Path("runs/photos")) == "runs/photos"
    assert shlex.split(quoted(Path("it's mine"))) == ["it's mine"]


def test_windows_quotes_with_double_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert quoted(Path("runs/photos")) == "runs/photos"
    assert quoted(Path("my runs")) == '"my runs"'
