"""Several calls of the JSON API in one request.

https://cloud.google.com/storage/docs/batch
"""

from __future__ import annotations

import re
import secrets
from email.message import Message
from email.parser import BytesHeaderParser, BytesParser
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from .http import json_route, read_body
from .rules import invalid

MAX_CALLS = 100
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_REQUEST_LINE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (\S+)(?: HTTP/1\.[01])?", re.ASCII)


class Call(NamedTuple):
    """One of the calls in a batch."""

    content_id: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def batch_route() -> BaseRoute:
    """The route of Cloud Storage's batch requests."""
    return json_route("POST", "/batch/storage/v1", "storage.batch", batch)


async def batch(request: Request) -> Response:
    """Make the calls one after the other, as if each had been sent alone."""
    calls = _calls(request.headers.get("content-type", ""), await read_body(request))
    transport = httpx.ASGITransport(app=request.app, raise_app_exceptions=False)
    boundary = f"batch_{secrets.token_hex(16)}"
    async with httpx.AsyncClient(transport=transport, base_url=str(request.base_url)) as client:
        parts = [_part(call, await _make(client, call), boundary) for call in calls]
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    return Response(body, media_type=f"multipart/mixed; boundary={boundary}")


async def _make(client: httpx.AsyncClient, call: Call) -> httpx.Response:
    return await client.request(call.method, call.target, headers=call.headers, content=call.body)


def _calls(content_type: str, body: bytes) -> list[Call]:
    """Parse the calls of a batch.

    :raises RefusedError: 400: the body is not a batch
    """
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + body)
    if message.get_content_type() != "multipart/mixed" or not message.is_multipart():
        raise invalid("Failed to parse batch request, error: the body is not multipart/mixed.")
    parts = [part for part in message.get_payload() if isinstance(part, Message)]
    if len(parts) > MAX_CALLS:
        raise invalid(f"The batch request has {len(parts)} calls; at most {MAX_CALLS} are allowed.")
    return [_call(part) for part in parts]


def _call(part: Message) -> Call:
    payload = part.get_payload(decode=True)
    head, *rest = _BLANK_LINE.split(payload if isinstance(payload, bytes) else b"", maxsplit=1)
    first, _, lines = head.partition(b"\n")
    match = _REQUEST_LINE.fullmatch(first.decode("latin-1").strip())
    url = urlsplit(match[2]) if match else None
    if match is None or url is None or not url.path.startswith("/storage/v1/") or "alt=media" in url.query:
        raise invalid("Failed to parse batch request, error: only metadata calls of /storage/v1/ can be batched.")
    sent = {name.lower(): str(value) for name, value in BytesHeaderParser().parsebytes(lines).items()}
    headers = {name: sent[name] for name in ("content-type",) if name in sent}
    target = f"{url.path}?{url.query}" if url.query else url.path
    return Call(part.get("content-id", ""), match[1], target, headers, rest[0] if rest else b"")


def _part(call: Call, response: httpx.Response, boundary: str) -> bytes:
    lines = [f"--{boundary}", "Content-Type: application/http"]
    if re.fullmatch(r"<[\x21-\x7e]+>", call.content_id):
        lines.append(f"Content-ID: <response-{call.content_id[1:]}")
    lines += ["", f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}"]
    lines += [f"{name}: {response.headers[name]}" for name in ("content-type", "etag") if name in response.headers]
    lines += [f"Content-Length: {len(response.content)}", "", ""]
    return "\r\n".join(lines).encode() + response.content + b"\r\n"
