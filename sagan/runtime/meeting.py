"""How processes find each other, and what to do where they do not."""

import os
import re
import socket
import struct
import sys
import time
import uuid
from contextlib import suppress
from datetime import timedelta
from ipaddress import ip_address

from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from sagan.errors import SaganError

INTERFACE = "GLOO_SOCKET_IFNAME"


def is_several_machines() -> bool:
    """Return whether the launcher started processes on other machines too."""
    local = os.environ.get("LOCAL_WORLD_SIZE")
    return local is not None and os.environ.get("WORLD_SIZE", local) != local


def fresh_store(limit: timedelta) -> Store | None:
    """Return a store for a process that torchrun may have restarted; None if it does not restart.

    torchrun's own store outlives the processes. Restarted ones would read there the addresses of
    those that have ended, and fail or wait in vain (pytorch issue 135712). So they agree on a new
    prefix for their keys: each leaves a word that was never used before, until the first process
    answers with a prefix and the words of all. An old answer does not have the new word.

    Args:
        limit: how long to wait for the others.

    Raises:
        RuntimeError: the store or another process cannot be reached.
    """
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    if not restarts or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, timeout=limit)
    rank, number = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return PrefixStore(new_prefix(store, rank, number, limit), store)


def new_prefix(store: Store, rank: int, number: int, limit: timedelta) -> str:
    """Return a prefix that all processes get, and that nobody has used in this store.

    Args:
        store: which ended processes may have used.
        rank: this process's.
        number: of processes, each of which calls this.
        limit: how long to wait for the others.

    Raises:
        RuntimeError: one of them did not come.
    """
    own, answer = uuid.uuid4().hex, "sagan/answer"
    words = [f"sagan/{other}" for other in range(1, number)]
    if rank == 0:
        for key in words:  # the others write theirs again
            store.delete_key(key)
    until = time.monotonic() + limit.total_seconds()
    while time.monotonic() < until:
        if rank == 0 and store.check(words):
            store.set(answer, " ".join([own, *(store.get(key).decode() for key in words)]))
            return own
        if rank != 0:
            store.set(words[rank - 1], own)
            if store.check([answer]):
                prefix, *answered = store.get(answer).decode().split()
                if own in answered:
                    return prefix
        time.sleep(0.1)
    raise RuntimeError(f"not all {number} processes started within {limit.total_seconds():.0f} s")


def choose_interface() -> None:
    """Name the network interface for gloo, where it would choose one that no other machine reaches.

    Gloo takes the address of the machine's own name, which on Debian is 127.0.1.1. The interface
    that leads to the first process is taken instead, or the only one that there is. A user's
    choice stays.
    """
    if INTERFACE in os.environ or not is_several_machines() or not own_name_is_local():
        return
    interfaces = _interfaces()
    if address := _address_towards(os.environ.get("MASTER_ADDR", "")):
        interfaces = [name for name in interfaces if _address_of(name) == address] or interfaces
    if len(interfaces) == 1:
        os.environ[INTERFACE] = interfaces[0]


def meeting_error(error: Exception) -> SaganError:
    """Return one line for an error of torch while processes were meeting."""
    place = f"'{os.environ.get('MASTER_ADDR', '')}:{os.environ.get('MASTER_PORT', '')}'"
    reported = re.sub(r"\[/\S*\] ?", "", str(error).strip().partition("\n")[0])[:200].rstrip(".")
    if "gloo" in reported.lower() or "connectFullMesh" in reported:
        name = socket.gethostname()
        own = f"; its own name '{name}' resolves to itself only" if own_name_is_local() else ""
        return SaganError(
            f"this machine and the others cannot connect ({reported}){own}: set {INTERFACE} to the "
            f"network interface that reaches them ({' or '.join(_interfaces()) or 'see ip addr'})"
        )
    return SaganError(
        f"the processes did not meet at {place} ({reported}): check that all were started, that "
        "this is the address and a free, open port of the first machine, or raise SAGAN_PATIENCE"
    )


def own_name_is_local() -> bool:
    """Return whether this machine's name stands for an address that no other machine reaches."""
    try:
        found = socket.getaddrinfo(socket.gethostname(), None)
    except OSError:
        return True
    return all(ip_address(str(entry[4][0]).partition("%")[0]).is_loopback for entry in found)


def _interfaces() -> list[str]:
    """Return the interfaces that have an address, without the machine's own."""
    with suppress(OSError, AttributeError):
        names = [name for _, name in socket.if_nameindex()]
        return [name for name in names if (_address_of(name) or "127.").partition(".")[0] != "127"]
    return []


def _address_of(interface: str) -> str | None:
    """Return the IPv4 address of an interface; None without one, and on other systems."""
    if sys.platform != "linux":
        return None
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        request = struct.pack("256s", interface.encode()[:15])
        answer = fcntl.ioctl(probe.fileno(), 0x8915, request)  # SIOCGIFADDR
        return socket.inet_ntoa(answer[20:24])
    return None


def _address_towards(host: str) -> str | None:
    """Return the address of this machine that packets to a host would come from; sends none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect((host, 9))
        address = str(probe.getsockname()[0])
        return address if not address.startswith("127.") else None
    return None
