"""Who may talk to the server: the page that it served itself, and nobody else's.

A page from elsewhere that is open in the same browser can send requests to 127.0.0.1. It is told
by its Origin or by Sec-Fetch-Site; if it has its own name point at 127.0.0.1 (DNS rebinding), by
the Host that it asks for.
"""

import ipaddress
import json
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Guard:
    """ASGI middleware: refuses strangers' requests, and puts security headers on every answer.

    Args:
        app: what it guards.
        host: the address or name that the server is bound to.
        policy: the Content-Security-Policy.
    """

    def __init__(self, app: ASGIApp, host: str, policy: str) -> None:
        self.app = app
        self.host = host
        self.headers = [
            (b"content-security-policy", policy.encode()),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"referrer-policy", b"no-referrer"),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with 400 or 403."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self.headers]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send_with_headers)
        else:
            await _answer(send_with_headers, *refusal)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = [(name, value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not is_own_host(hosts[0], self.host):
            return 400, "this server is not known under that Host: ask for it by its address"
        for name, value in headers:
            if name == b"origin" and value.partition("://")[2] != hosts[0]:
                return 403, "requests from pages of another origin are refused"
            # A link from elsewhere may lead to the page itself, to nothing else.
            elsewhere = name == b"sec-fetch-site" and value in ("cross-site", "same-site")
            if elsewhere and scope["path"] != "/":
                return 403, "requests from other sites are refused"
        return None


def is_own_host(header: str, bound: str) -> bool:
    """Whether a Host header names this server, which is bound to an address or name.

    An address cannot be rebound, so any will do where the server is bound beyond loopback.
    """
    try:
        name = urlsplit(f"//{header}").hostname
    except ValueError:
        return False
    if name is None:
        return False
    if name in ("localhost", bound.lower()):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not is_loopback(bound)


def is_loopback(host: str) -> bool:
    """Whether a server bound to this address or name is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _answer(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
