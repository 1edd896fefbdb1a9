"""How processes on several machines find each other, and what to do where they do not."""

import os
import socket
import struct
import sys
from contextlib import suppress
from ipaddress import ip_address

from sagan.errors import SaganError

INTERFACE = "GLOO_SOCKET_IFNAME"
NO_SHARED_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


def is_several_machines() -> bool:
    """Return whether the launcher started processes on other machines too."""
    local = os.environ.get("LOCAL_WORLD_SIZE")
    return local is not None and os.environ.get("WORLD_SIZE", local) != local


def refuse_restarts_that_fail() -> None:
    """Refuse torchrun's restarts where the restarted processes would not find each other.

    They would read the addresses of the ended ones, which torchrun's store still has (pytorch
    issue 135712).

    Raises:
        SaganError: restarts are asked for, without the variable that gives each a store of its own.
    """
    restarts = os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if restarts != "0" and shared and is_several_machines():
        raise SaganError(
            f"--max-restarts {restarts} would fail on several machines (pytorch issue 135712): set "
            f"{NO_SHARED_STORE}=1 for torchrun on each of them, or leave --max-restarts out"
        )


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
    reported = str(error).strip().partition("\n")[0][:200]
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
