"""Content on its way in and out: multipart/related bodies, byte ranges, decompression.

https://cloud.google.com/storage/docs/uploading-objects#rest-upload-objects and …/transcoding
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ..state import Resource
from .files import BLOCK, Files
from .http import MAX_JSON, header_text
from .resources import etag
from .rules import RefusedError, invalid

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)


class RelatedBody:
    """A multipart/related upload read as a stream (RFC 2387): first the metadata, then the content.

    Lines may end in CRLF or LF: clients send both.
    """

    def __init__(self, request: Request) -> None:
        self._blocks = request.stream()
        self._buffer = b""
        self._opening = b"--" + _boundary(request.headers.get("content-type", ""))

    async def metadata(self) -> bytes:
        """The first part, JSON."""
        await self._until(self._opening)
        while len(self._buffer) < 2:
            await self._fill()
        self._newline = b"\r\n" if self._buffer.startswith(b"\r\n") else b"\n"
        await self._until(self._newline * 2)
        return await self._until(self._newline + self._opening)

    async def content_type(self) -> str | None:
        """The content type in the head of the second part."""
        head = BytesHeaderParser().parsebytes((await self._until(self._newline * 2)).lstrip())
        content_type = head.get("content-type")
        return None if content_type is None else str(content_type)

    async def content(self) -> AsyncIterator[bytes]:
        """The second part, block by block."""
        end = self._newline + self._opening
        while (at := self._buffer.find(end)) < 0:
            safe = max(0, len(self._buffer) - len(end))
            yield self._buffer[:safe]
            self._buffer = self._buffer[safe:]
            await self._fill()
        yield self._buffer[:at]
        async for _ in self._blocks:
            pass

    async def _until(self, mark: bytes) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            if len(self._buffer) > MAX_JSON:
                raise RefusedError(413, "uploadTooLarge", f"The metadata is larger than {MAX_JSON} bytes.")
            await self._fill()
        taken, self._buffer = self._buffer[:at], self._buffer[at + len(mark) :]
        return taken

    async def _fill(self) -> None:
        block = await anext(self._blocks, b"")
        if not block:
            raise invalid("Malformed multipart body: it has no two parts between boundaries.")
        self._buffer += block


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_boundary()
    if not boundary or message.get_content_maintype() != "multipart":
        raise invalid("Bad content type: multipart/related with a boundary is expected.")
    return boundary.encode(errors="replace")


def media_response(row: Resource, files: Files, request: Request) -> Response:
    """An object's content, or the part that the Range header names."""
    headers, size = _media_headers(row), int(row["size"])
    if _is_gunzipped(row, request):
        del headers["content-encoding"]
        headers["warning"] = "214 UploadServer gunzipped"
        return StreamingResponse(_gunzip(files.path(row["file"])), 200, headers)
    span = _requested_range(request.headers.get("range"), size)
    start, stop = span or (0, size)
    headers["content-length"] = str(stop - start)
    if span:
        headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    return StreamingResponse(files.read(row["file"], start, stop), 206 if span else 200, headers)


def _is_gunzipped(row: Resource, request: Request) -> bool:
    """Whether content stored as gzip must be decompressed for this caller; then a Range is ignored."""
    accepted = request.headers.get("accept-encoding", "")
    transformable = "no-transform" not in row.get("cacheControl", "")
    return row.get("contentEncoding") == "gzip" and "gzip" not in accepted and transformable


def _gunzip(path: Path) -> Iterator[bytes]:
    """Decompressed content; it ends where the content is not gzip."""
    with gzip.open(path) as source:
        try:
            while block := source.read(BLOCK):
                yield block
        except (gzip.BadGzipFile, EOFError, zlib.error):
            return


def _requested_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and end of the requested bytes; None for all, also if the header is invalid (RFC 9110, 14.2).

    :raises StorageError: 416: the content has no such bytes
    """
    match = _RANGE.fullmatch(header or "")
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < start:
            return None
    if start >= stop:
        message = "The requested range cannot be satisfied."
        raise RefusedError(416, "requestedRangeNotSatisfiable", message, headers={"content-range": f"bytes */{size}"})
    return start, stop


def _media_headers(row: Resource) -> dict[str, str]:
    sums = [f"{kind}={row[field]}" for kind, field in (("crc32c", "crc32c"), ("md5", "md5Hash")) if field in row]
    headers: dict[str, Any] = {
        "content-type": row.get("contentType"),
        "cache-control": row.get("cacheControl"),
        "content-disposition": row.get("contentDisposition"),
        "content-encoding": row.get("contentEncoding"),
        "content-language": row.get("contentLanguage"),
        "etag": etag(int(row["generation"]), int(row["metageneration"])),
        "last-modified": format_datetime(datetime.fromisoformat(row["updated"]), usegmt=True),
        "accept-ranges": "bytes",
        "x-goog-generation": row["generation"],
        "x-goog-metageneration": row["metageneration"],
        "x-goog-hash": ",".join(sums),
        "x-goog-storage-class": row["storageClass"],
        "x-goog-stored-content-encoding": row.get("contentEncoding", "identity"),
        "x-goog-stored-content-length": row["size"],
    }
    return {name: header_text(value) for name, value in headers.items() if value is not None}
