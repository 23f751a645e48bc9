"""The outermost layer: a foreign web page reads nothing from the emulator and changes nothing in it.

A page from anywhere can make its visitor's browser send requests to this machine. Browsers name the origin of a
request in headers that no page can set. Programs do not send these headers.
https://www.w3.org/TR/fetch-metadata/ and https://fetch.spec.whatwg.org/#origin-header
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import PermissionDenied
from .hosts import canonical_host, host_of, is_loopback
from .vertex.rest import render

log = logging.getLogger(__name__)

SANDBOX: Final = "sandbox allow-scripts allow-downloads allow-popups allow-popups-to-escape-sandbox"
"""Scripts run, because reports draw charts, but in a separate origin: this guard refuses their requests."""
_ANSWER_HEADERS: Final = [
    (b"content-security-policy", SANDBOX.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
_OWN_SITES: Final = {"same-origin", "none"}
"""Pages of the emulator itself, and addresses that a person types."""
_NAVIGATION: Final = {"sec-fetch-mode": ["navigate"], "sec-fetch-dest": ["document"]}


class BrowserGuard:
    """The ASGI application around all others.

    :param allowed_hosts: names and addresses that clients may use, besides those of loopback
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str] = ()) -> None:
        self.app = app
        self.allowed_hosts = frozenset(map(canonical_host, allowed_hosts))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_sandboxed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_ANSWER_HEADERS]}
            await send(message)

        try:
            self._check(scope)
        except PermissionDenied as error:
            log.info("Refused %s %r. %s", scope["method"], scope["path"][:200], error.message)
            await render(error)(scope, receive, send_sandboxed)
        else:
            await self.app(scope, receive, send_sandboxed)

    def _check(self, scope: Scope) -> None:
        """Check that a request does not come from a foreign web page.

        :raises PermissionDenied: the request comes, or may come, from a foreign page
        """
        headers = Headers(scope=scope)
        host = self._check_host(headers.getlist("host"))
        _check_origin(headers.getlist("origin"), f"{scope['scheme']}://{host}")
        if not _is_followed_link(scope, headers):
            _check_site(headers.getlist("sec-fetch-site"))

    def _check_host(self, headers: list[str]) -> str:
        """The Host header. A page could let its own name lead here (DNS rebinding)."""
        if len(headers) != 1:
            raise PermissionDenied(f"Found {len(headers)} Host headers, expected one.")
        try:
            host = host_of(headers[0])
        except ValueError:
            host = ""
        if not is_loopback(host) and host not in self.allowed_hosts:
            raise PermissionDenied(
                f"Found Host {headers[0][:100]!r}, expected localhost or an address of loopback. "
                "To serve another name, start the emulator with --allowed-host NAME."
            )
        return headers[0].lower()


def _check_origin(origins: list[str], own: str) -> None:
    for origin in origins:
        if origin.lower() != own:
            raise PermissionDenied(
                f"Found Origin {origin[:100]!r}, expected {own[:100]!r} or no Origin: pages elsewhere are refused."
            )


def _check_site(sites: list[str]) -> None:
    for site in sites:
        if site not in _OWN_SITES:
            raise PermissionDenied(
                f"Found Sec-Fetch-Site {site[:100]!r}, expected same-origin or none: from pages elsewhere "
                "only links to open are followed, and none to /_internal."
            )


def _is_followed_link(scope: Scope, headers: Headers) -> bool:
    """Whether the browser opens a page in a tab. The page with the link cannot read the response."""
    harmless = scope["method"] == "GET" and not scope["path"].startswith("/_internal")
    return harmless and all(headers.getlist(name) == value for name, value in _NAVIGATION.items())
