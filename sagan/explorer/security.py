"""Which requests the server answers: those of its own page, and no other site's.

A page from another site that is open in the same browser can send requests to 127.0.0.1. It gives
itself away by its Origin or Sec-Fetch-Site header or, if it points its own name at 127.0.0.1 (DNS
rebinding), by the Host header.
"""

import ipaddress
import json
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class SecurityMiddleware:
    """ASGI middleware: refuses other sites' requests and adds security headers to every response.

    Args:
        app: the application to protect.
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
        if not refusal:
            await self.app(scope, receive, send_with_headers)
        else:
            await _send_error(send_with_headers, *refusal)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers = [(name, value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not is_own_host(hosts[0], self.host):
            return 400, "this server does not go by that Host: open it by its address"
        for name, value in headers:
            if name == b"origin" and value.partition("://")[2] != hosts[0]:
                return 403, "requests from pages of another origin are refused"
            # A link on another site may lead to the page itself, but to nothing else.
            cross_site = name == b"sec-fetch-site" and value in ("cross-site", "same-site")
            if cross_site and scope["path"] != "/":
                return 403, "requests from other sites are refused"
        return None


def is_own_host(header: str, bound: str) -> bool:
    """Return whether a Host header names this server.

    Addresses cannot be rebound, so a server bound beyond loopback accepts any of them.

    Args:
        header: the Host header's value.
        bound: the address or name that the server is bound to.
    """
    try:
        name = urlsplit(f"//{header}").hostname
    except ValueError:
        return False
    if not name:
        return False
    if name in ("localhost", bound.lower()):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or not is_loopback(bound)


def is_loopback(host: str) -> bool:
    """Return whether a server bound to this address or name is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _send_error(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
