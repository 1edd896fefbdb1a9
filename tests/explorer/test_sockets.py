"""Listening, on systems with other rules for sharing a port."""

import socket
import sys

import pytest

from sagan.explorer.sockets import listen


def test_on_windows_no_other_process_can_take_over_the_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: list[int] = []

    class Recorded(socket.socket):
        def setsockopt(self, level: int, option: int, value: int) -> None:  # type: ignore[override]
            options.append(option)

    monkeypatch.setattr(socket, "socket", Recorded)
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", -5, raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    with listen("127.0.0.1", 0):
        assert -5 in options
        assert socket.SO_REUSEADDR not in options
