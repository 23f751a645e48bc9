"""Logs every request and applies faults to it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import ApiError
from ..names import timestamp
from ..vertex.rest import STALE_LIST, render
from .faults import Fault, Faults, answer_of

KEPT: Final = 10_000
"""Number of requests in the log; the counters go on."""


class RequestLog:
    """The latest requests, and counts per method and status; status 0 stands for no response."""

    def __init__(self) -> None:
        self.entries: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self.counts: dict[str, Counter[str]] = {}

    def add(self, method: str, scope: Scope, status: int, seconds: float, *, fault: bool) -> None:
        entry = {
            "time": timestamp(),
            "method": method,
            "httpMethod": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("latin-1"),
            "status": status,
            "milliseconds": round(1000 * seconds, 3),
            "fault": fault,
        }
        self.entries.append(entry)
        self.counts.setdefault(method, Counter())[str(status)] += 1

    def clear(self) -> None:
        self.entries.clear()
        self.counts.clear()


class _Connection:
    """One exchange. It counts the bytes that are sent, and can be cut off.

    :param keep: bytes of the body to send; None for all, -1 for no response
    """

    def __init__(self, receive: Receive, send: Send, keep: int | None) -> None:
        self._receive, self._send, self._keep = receive, send, keep
        self.status = 0

    async def send(self, message: Message) -> None:
        if self._keep is None:
            self._note(message)
            await self._send(message)
        elif self._keep >= 0:
            await self._send_part(message, self._keep)

    async def _send_part(self, message: Message, keep: int) -> None:
        self._note(message)
        if message["type"] != "http.response.body":
            await self._send(message)
        elif body := message.get("body", b"")[:keep]:
            self._keep = keep - len(body)
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    def _note(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]

    async def cut(self) -> None:
        """Close the connection as it is.

        uvicorn has no public way, but its `receive` belongs to the object that holds the transport.

        :raises RuntimeError: the server is not uvicorn
        """
        transport = getattr(getattr(self._receive, "__self__", None), "transport", None)
        if transport is None:
            raise RuntimeError("connections can only be cut under uvicorn")
        transport.close()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class Monitor:
    """The ASGI application around the emulator's.

    :param routes: routes that name the API method of a request
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute], faults: Faults, log: RequestLog) -> None:
        self.app, self.faults, self.log = app, faults, log
        self.routes = [route for route in routes if isinstance(route, Route)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_internal"):
            await self.app(scope, receive, send)
            return
        method, started = self.method_of(scope), time.monotonic()
        fault = self.faults.hit(method, scope["path"])
        connection = _Connection(receive, send, _kept(fault))
        try:
            await self._exchange(method, fault, connection, scope, receive)
        finally:
            self.log.add(method, scope, connection.status, time.monotonic() - started, fault=fault is not None)

    def method_of(self, scope: Scope) -> str:
        """The API method of a request; "unknown" if no route matches."""
        for route in self.routes:
            try:
                if route.matches(scope)[0] is Match.FULL:
                    return route.name
            except ApiError:
                return "unknown"
        return "unknown"

    async def _exchange(
        self, method: str, fault: Fault | None, connection: _Connection, scope: Scope, receive: Receive
    ) -> None:
        if fault is None:
            await self.app(scope, receive, connection.send)
            return
        await asyncio.sleep(fault.delay)
        if fault.error:
            await render(answer_of(method, fault.error))(scope, receive, connection.send)
        elif fault.body is not msgspec.UNSET:
            await _replacement(fault.body)(scope, receive, connection.send)
        elif fault.drop != "before":
            await self.app({**scope, STALE_LIST: fault.stale_list}, receive, connection.send)
        if fault.drop or fault.truncate is not None:
            await connection.cut()


def _replacement(body: Any) -> Response:
    content = body.encode() if isinstance(body, str) else msgspec.json.encode(body)
    return Response(content, media_type="application/json")


def _kept(fault: Fault | None) -> int | None:
    if fault is None:
        return None
    return -1 if fault.drop else fault.truncate
