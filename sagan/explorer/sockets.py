"""Where the server listens, and what its address is for those who come."""

import ipaddress
import socket

from sagan.errors import SaganError

PORT = 7326

_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}  # RFC 5737 and 3849


def listen(host: str, port: int | None) -> socket.socket:
    """A socket that listens there.

    Args:
        host: address or name.
        port: None for 7326, or any free one if that is taken.

    Raises:
        SaganError: it cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, None)[0][0]
        try:
            return _bound(family, host, PORT if port is None else port)
        except OSError:
            if port is not None:
                raise
            return _bound(family, host, 0)
    except UnicodeError:
        raise SaganError(f"cannot serve at {host}: no machine can have that name") from None
    except OSError as error:
        where = f"{host}:{PORT if port is None else port}"
        raise SaganError(f"cannot serve at {where}: {error.strerror}; try --port 0") from None


def url_of(listener: socket.socket, host: str, here: bool = False) -> str:
    """What to type into a browser.

    Args:
        listener: from `listen`.
        host: what it was made with.
        here: the browser is on this machine; otherwise it may be on another, if the server is
            bound to all addresses: the result then has the one that leads there.
    """
    address, port = listener.getsockname()[:2]
    if ipaddress.ip_address(address).is_unspecified:
        family = listener.family
        host = _LOOPBACK[family] if here else _address_toward(_ELSEWHERE[family], family)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _bound(family: int, host: str, port: int) -> socket.socket:
    # asyncio switches off Nagle's algorithm, which costs 40 ms an answer, for TCP by name only.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _address_toward(other: str, family: socket.AddressFamily) -> str:
    """This machine's address on the way to another, loopback without a way. Nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as way:
        try:
            way.connect((other, 9))
        except OSError:
            return _LOOPBACK[family]
        return str(way.getsockname()[0])
