"""The socket the server listens on, and the URL under which visitors reach it."""

import ipaddress
import socket
import sys

from sagan.errors import SaganError

PORT = 7326

_LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
# Addresses reserved for documentation (RFC 5737 and 3849): the route to them is the default route.
_ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}


def listen(host: str, port: int | None) -> socket.socket:
    """Return a listening socket.

    Args:
        host: address or name to bind to.
        port: None for 7326, or any free port if that one is taken.

    Raises:
        SaganError: the host does not exist or the port is not available.
    """
    try:
        family = socket.getaddrinfo(host, None)[0][0]
        try:
            return _bound(family, host, port if port is not None else PORT)
        except OSError:
            if port is not None:
                raise
            return _bound(family, host, 0)
    except UnicodeError:
        raise SaganError(f"cannot serve at '{host}': it is not a valid host name") from None
    except OSError as error:
        where = f"{host}:{port if port is not None else PORT}"
        raise SaganError(f"cannot serve at '{where}': {error.strerror}; try --port 0") from None


def url_of(listener: socket.socket, host: str, here: bool = False) -> str:
    """Return the URL to open in a browser.

    Args:
        listener: from `listen`.
        host: the host it was created with.
        here: the browser runs on this machine. Otherwise it may run on another one, so a server
            bound to all addresses is named by the one that other machines can reach.
    """
    address, port = listener.getsockname()[:2]
    if ipaddress.ip_address(address).is_unspecified:
        family = listener.family
        host = _LOOPBACK[family] if here else _address_toward(_ELSEWHERE[family], family)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _bound(family: int, host: str, port: int) -> socket.socket:
    # asyncio turns off Nagle's algorithm, which costs 40 ms per response, only if the protocol is
    # given as TCP explicitly.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform == "win32":  # there, SO_REUSEADDR lets another process take the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    return listener


def _address_toward(other: str, family: socket.AddressFamily) -> str:
    """This machine's address on the route to another, or loopback. Nothing is sent."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((other, 9))
        except OSError:
            return _LOOPBACK[family]
        return str(probe.getsockname()[0])
