"""How processes find each other, and the line they end with where they do not."""

import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import TCPStore

from sagan.runtime import meeting
from sagan.runtime.meeting import choose_interface, fresh_store, meeting_error, new_prefix


@pytest.fixture
def two_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on one of two machines with a process each."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)


def interface(
    monkeypatch: pytest.MonkeyPatch, addresses: dict[str, str], towards: str | None
) -> str | None:
    """The interface that is chosen on a machine with these addresses, one towards the first."""
    monkeypatch.setattr(meeting, "own_name_is_local", lambda: True)
    monkeypatch.setattr(meeting, "_interfaces", lambda: list(addresses))
    monkeypatch.setattr(meeting, "_address_of", addresses.get)
    monkeypatch.setattr(meeting, "_address_towards", lambda host: towards)
    choose_interface()
    return os.environ.get("GLOO_SOCKET_IFNAME")


@pytest.mark.usefixtures("two_machines")
def test_the_interface_that_leads_to_the_first_machine_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses = {"eth0": "192.168.1.7", "ib0": "10.0.0.2"}
    assert interface(monkeypatch, addresses, towards="10.0.0.2") == "ib0"


@pytest.mark.usefixtures("two_machines")
@pytest.mark.parametrize(
    ("addresses", "chosen"),
    [({"eth0": "10.0.0.1"}, "eth0"), ({"eth0": "10.0.0.1", "ib0": "10.1.0.1"}, None), ({}, None)],
)
def test_without_a_way_to_tell_only_a_single_interface_is_chosen(
    monkeypatch: pytest.MonkeyPatch, addresses: dict[str, str], chosen: str | None
) -> None:
    """As on the first machine itself, where its name leads to itself."""
    assert interface(monkeypatch, addresses, towards=None) == chosen


@pytest.mark.usefixtures("two_machines")
def test_a_users_interface_and_a_single_machine_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert interface(monkeypatch, {"eth0": "10.0.0.1"}, towards=None) is None
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib7")
    assert interface(monkeypatch, {"eth0": "10.0.0.1"}, towards=None) == "ib7"


@pytest.mark.usefixtures("two_machines")
@pytest.mark.parametrize(
    ("reported", "said"),
    [
        (
            "Gloo connectFullMesh failed with [/x/gloo/transport/tcp/pair.cc:152] Connection "
            "refused\nException raised from",
            "cannot connect (Gloo connectFullMesh failed with Connection refused)",
        ),
        (
            "The client socket has timed out after 60000ms while trying to connect.\nframe #0",
            "did not meet at '10.0.0.1:29500' (The client socket has timed out after 60000ms while "
            "trying to connect)",
        ),
    ],
)
def test_an_error_at_the_start_becomes_one_line_with_the_cure(reported: str, said: str) -> None:
    message = str(meeting_error(RuntimeError(reported)))
    assert said in message
    assert "\n" not in message
    assert ("set GLOO_SOCKET_IFNAME to" in message) == ("Gloo" in reported)
    assert ("check that all were started" in message) == ("Gloo" not in reported)


def test_a_name_that_resolves_to_the_machine_itself_is_recognized(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def resolve(address: str) -> Callable[..., object]:
        return lambda *_: [(socket.AF_INET, 0, 0, "", (address, 0))]

    for address, local in (("127.0.1.1", True), ("10.0.0.1", False), ("::1", True)):
        monkeypatch.setattr(socket, "getaddrinfo", resolve(address))
        assert meeting.own_name_is_local() is local


def test_processes_that_torchrun_starts_again_do_not_see_what_the_ended_ones_left() -> None:
    """pytorch issue 135712: its store outlives them."""
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    rounds = [meet(server.port, 3) for _ in range(3)]
    assert all(len(set(prefixes)) == 1 for prefixes in rounds)
    assert len({prefixes[0] for prefixes in rounds}) == 3


def meet(port: int, number: int) -> list[str]:
    """The prefix that each of several processes gets; the first one starts last."""
    with ThreadPoolExecutor(number) as pool:
        ranks = []
        for rank in reversed(range(number)):
            client = TCPStore("127.0.0.1", port, is_master=False)
            ranks.append(pool.submit(new_prefix, client, rank, number, timedelta(seconds=20)))
            time.sleep(0.15)
        return [rank.result() for rank in ranks]


def test_a_process_that_does_not_come_is_not_waited_for_without_end() -> None:
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with pytest.raises(RuntimeError, match="not all 2 processes started within 0 s"):
        new_prefix(server, 0, 2, timedelta(seconds=0.3))


def test_only_torchruns_own_store_with_restarts_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "3")
    assert fresh_store(timedelta(seconds=1)) is None
    monkeypatch.setenv("TORCHELASTIC_MAX_RESTARTS", "0")
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    assert fresh_store(timedelta(seconds=1)) is None
