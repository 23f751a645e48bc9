"""Something between the product and Google that passes requests on and may answer in Google's place."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import httpx

Answer = tuple[int, str, bytes]
"""Status, content type and body."""

JSON: Final = "application/json"
PAGE: Final = b"<html><body>Sign in to the network</body></html>"

NOT_GOOGLES: Final[dict[str, Answer]] = {
    "nothing": (200, JSON, b""),
    "null": (200, JSON, b"null"),
    "a list": (200, JSON, b"[]"),
    "text": (200, JSON, b'"ok"'),
    "a number": (200, JSON, b"1"),
    "a page": (200, "text/html", PAGE),
    "204": (204, JSON, b""),
    "a redirect": (302, "text/html", PAGE),
    "400 with a page": (400, "text/html", PAGE),
    "403 with a page": (403, "text/html", PAGE),
    "404 with a page": (404, "text/html", PAGE),
    "407 with a page": (407, "text/html", PAGE),
    "429 with a page": (429, "text/html", PAGE),
    "502 with a page": (502, "text/html", PAGE),
    "cut off": (200, JSON, b'{"name": "projects/1/locations/us-c'),
    "an error inside": (200, JSON, b'{"error": {"code": 500, "message": "x"}}'),
    "not UTF-8": (200, JSON, b'{"name": "\xe9"}'),
    "403 in another form": (403, JSON, b'{"message": "blocked by policy"}'),
    "403 with an error that is text": (403, JSON, b'{"error": "blocked"}'),
}
"""Answers of something else to a request that Google would have taken."""

HOP_HEADERS: Final = {"host", "connection", "accept-encoding", "content-length"}


def pass_on(_method: str, _path: str) -> Answer | None:
    """Replace nothing."""
    return None


class Proxy:
    """
    :param url: where it listens
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.replace: Callable[[str, str], Answer | None] = pass_on
        """What is answered instead, once the request has taken effect; None passes Google's answer on."""
        self.bodies: list[bytes] = []
        """Bodies of all requests."""


@contextmanager
def proxy_before(upstream: str) -> Iterator[Proxy]:
    """A proxy before a server, for the length of a block."""
    client = httpx.Client(base_url=upstream, timeout=60)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            proxy.bodies.append(body)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_HEADERS}
            reply = client.request(self.command, self.path, content=body, headers=headers)
            status, kind, content = proxy.replace(self.command, self.path) or (
                reply.status_code,
                reply.headers.get("content-type", ""),
                reply.content,
            )
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            if status in range(300, 400):
                self.send_header("location", "/login")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer  # noqa: N815 - the base's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = Proxy(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        client.close()
