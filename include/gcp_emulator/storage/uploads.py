"""Uploads: single requests, and resumable sessions, which survive broken connections and restarts.

https://cloud.google.com/storage/docs/performing-resumable-uploads
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import secrets
from collections.abc import AsyncIterator, Callable
from weakref import WeakValueDictionary

import msgspec

from ..state import Resource, Store
from .files import Digest, Files
from .objects import Objects, content_fields
from .resources import NewObject, ObjectFields, settable
from .rules import Conditions, OffsetGapError, RefusedError, check_object_name, invalid

SESSION = "storage.session"
QUANTUM = 256 * 1024  # bytes; until its last chunk, a session keeps a multiple of this
_CONTENT_RANGE = re.compile(r"bytes (?:([0-9]{1,18})-([0-9]{1,18}|\*)|\*)/([0-9]{1,18}|\*)", re.ASCII)


class Checksums(msgspec.Struct, frozen=True, omit_defaults=True):
    """The caller's checksums, in base64."""

    crc32c: str | None = None
    md5: str | None = None

    @classmethod
    def of(cls, goog_hash: str | None, content_md5: str | None = None) -> Checksums:
        """Read the headers `X-Goog-Hash: crc32c=…,md5=…` and `Content-MD5`."""
        pairs = (part.strip().partition("=") for part in (goog_hash or "").split(","))
        sent = {name.lower(): value for name, _, value in pairs}
        return cls(sent.get("crc32c"), sent.get("md5") or content_md5).checked()

    def checked(self) -> Checksums:
        """Return the checksums if they are valid.

        :raises StorageError: 400: a checksum has a wrong form
        """
        for name, value, length in (("CRC32C", self.crc32c, 4), ("MD5 hash", self.md5, 16)):
            if value is not None and _decoded_length(value) != length:
                message = f"Invalid {name}: '{value[:100]}' is not the base64 of {length} bytes."
                raise invalid(message, code="InvalidDigest")
        return self

    def verify(self, actual: Digest) -> None:
        """Compare the checksums with the content.

        :raises StorageError: 400: the content does not match a checksum
        """
        for name, sent, calculated in (("CRC32C", self.crc32c, actual.crc32c), ("MD5 hash", self.md5, actual.md5)):
            if sent is not None and sent != calculated:
                message = f'Provided {name} "{sent}" doesn\'t match calculated {name} "{calculated}".'
                raise invalid(message, code="BadDigest")


def _decoded_length(value: str) -> int:
    try:
        return len(base64.b64decode(value, validate=True))
    except (binascii.Error, ValueError):
        return -1


class ContentRange(msgspec.Struct, frozen=True):
    """The bytes of a session's content that a request carries.

    :param start: offset of the first byte; None if the request only queries the progress
    :param stop: offset after the last byte; None for all bytes of the request
    :param total: size of the whole content; None if it is not known yet
    :param final: whether the content ends with this request
    """

    start: int | None = 0
    stop: int | None = None
    total: int | None = None
    final: bool = True

    @classmethod
    def of(cls, header: str | None) -> ContentRange:
        """Parse the header `Content-Range`.

        :raises StorageError: 400: the header cannot be read
        """
        if header is None:
            return cls()
        match = _CONTENT_RANGE.fullmatch(header.strip())
        if not match:
            raise invalid(f"Failed to parse Content-Range header: '{header[:100]}'")
        first, last, size = match.groups()
        total = None if size == "*" else int(size)
        if first is None:
            return cls(None, None, total, final=False)
        stop = None if last == "*" else int(last) + 1
        if stop is not None and (stop <= int(first) or (total is not None and stop > total)):
            raise invalid(f"Invalid Content-Range header: '{header[:100]}'")
        return cls(int(first), stop, total, final=stop is None or stop == total)


class Uploads:
    """Puts content into objects."""

    def __init__(self, store: Store, objects: Objects, files: Files) -> None:
        self._store, self._objects, self._files = store, objects, files
        self._writers: dict[str, object] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def store(
        self, bucket: str, new: NewObject, blocks: AsyncIterator[bytes], sums: Checksums, conditions: Conditions
    ) -> Resource:
        """Make a request's content an object, unless the request breaks off or its checksums do not match."""
        draft = self._draft(bucket, new, sums, conditions)
        conditions.check(self._objects.live(bucket, draft["name"]))  # before a long upload
        draft["file"] = await self._files.receive(blocks)
        return await self._finish(draft)

    def start(self, bucket: str, new: NewObject, total: int | None, sums: Checksums, conditions: Conditions) -> str:
        """Open a resumable session and return its id. Preconditions are checked at its end, as in the service."""
        draft = self._draft(bucket, new, sums, conditions)
        upload_id = secrets.token_urlsafe(48)
        self._store.put(SESSION, upload_id, {**draft, "total": total, "file": self._files.new()})
        return upload_id

    async def put(
        self, upload_id: str, span: ContentRange, blocks: AsyncIterator[bytes], sums: Checksums
    ) -> Resource | int:
        """Handle a chunk, or a query for the progress of a session.

        :returns: the object if the content is complete, else the number of bytes kept so far
        """
        lock = self._locks.setdefault(upload_id, asyncio.Lock())
        async with lock:  # not while its content becomes an object
            session = self._session(upload_id)
        if "object" in session:
            return dict(session["object"])
        total = _agreed_total(session["total"], span.total)
        kept = self._kept(session) if span.start is None else await self._append(upload_id, session, span, blocks)
        if kept != total and not span.final:
            return kept
        async with lock:
            return await self._complete(upload_id, sums)

    async def cancel(self, upload_id: str) -> None:
        """End a session and forget its content."""
        async with self._locks.setdefault(upload_id, asyncio.Lock()):
            session = self._session(upload_id)
            self._writers.pop(upload_id, None)
            self._store.delete(SESSION, upload_id)
        if "file" in session:
            self._files.remove(session["file"])

    def files(self) -> set[str]:
        """The files of the open sessions."""
        return {session["file"] for session in self._store.list(SESSION) if "file" in session}

    def _draft(self, bucket: str, new: NewObject, sums: Checksums, conditions: Conditions) -> Resource:
        """The fields of an object before its content arrives."""
        name = check_object_name(new.name or "")
        self._objects.live(bucket, name)  # the bucket must exist
        declared = Checksums(new.crc32c, new.md5_hash).checked()
        return {
            "bucket": bucket,
            "name": name,
            "fields": settable(new, ObjectFields),
            "sums": msgspec.to_builtins([sums, declared]),
            "conditions": msgspec.to_builtins(conditions),
        }

    def _session(self, upload_id: str) -> Resource:
        session = self._store.get(SESSION, upload_id)
        if session is None:
            raise RefusedError(404, "notFound", "The upload session does not exist, or it was cancelled.")
        return session

    def _kept(self, session: Resource) -> int:
        """The number of bytes that a session counts: all, or full quanta only."""
        size = self._files.size(session["file"])
        return size if size == session["total"] else size - size % QUANTUM

    async def _append(self, upload_id: str, session: Resource, span: ContentRange, blocks: AsyncIterator[bytes]) -> int:
        """Write the new bytes of a chunk; the number of bytes that the session then has."""
        file, kept, start = session["file"], self._kept(session), span.start or 0
        if start > kept:
            raise OffsetGapError(start, kept)
        self._files.truncate(file, kept)
        end = await self._write(upload_id, file, kept, start, blocks)
        announced = span.stop if span.stop is not None else _agreed_total(session["total"], span.total)
        if announced not in (None, end) or (span.final and end < kept):
            self._files.truncate(file, kept)
            raise invalid(_LENGTH.format(sent=end - start, start=start, wanted=announced or kept))
        if not span.final and end - start < QUANTUM:
            self._files.truncate(file, kept)
            raise invalid(_TOO_SMALL.format(sent=end - start))
        return end if span.final else self._kept(session)

    async def _write(self, upload_id: str, file: str, kept: int, start: int, blocks: AsyncIterator[bytes]) -> int:
        """Append the bytes beyond those already kept; the offset after the last byte received.

        This stops an earlier request that still writes over a connection that hangs.
        """
        me = self._writers[upload_id] = object()
        position = start
        with self._files.path(file).open("r+b", buffering=0) as out:
            out.seek(kept)
            async for block in blocks:
                self._check_writer(upload_id, me)
                out.write(block[max(0, kept - position) :])
                position += len(block)
        self._check_writer(upload_id, me)
        return position

    def _check_writer(self, upload_id: str, writer: object) -> None:
        if self._writers.get(upload_id) is not writer:
            raise RefusedError(503, "backendError", "A later request has taken over this upload.")

    async def _complete(self, upload_id: str, sums: Checksums) -> Resource:
        """Make a session's content an object, once."""
        session = self._session(upload_id)
        if "object" in session:
            return dict(session["object"])
        self._writers.pop(upload_id, None)
        session["sums"].append(msgspec.to_builtins(sums))

        def remember(row: Resource) -> None:
            self._store.put(SESSION, upload_id, {"object": row})

        try:
            return await self._finish(session, remember)
        except RefusedError:
            self._store.delete(SESSION, upload_id)
            raise

    async def _finish(self, draft: Resource, together: Callable[[Resource], None] | None = None) -> Resource:
        """Check the content of a draft's file and make it the object.

        :param together: a change to store in the same transaction
        """
        file = draft["file"]
        try:
            digest = await asyncio.to_thread(self._files.digest, file)
            for sums in msgspec.convert(draft["sums"], list[Checksums]):
                sums.verify(digest)
            conditions = msgspec.convert(draft["conditions"], Conditions)
            fields = content_fields(draft["fields"], digest)
            return self._objects.create(draft["bucket"], draft["name"], fields, file, conditions, together)
        except RefusedError:
            self._files.remove(file)
            raise


def _agreed_total(declared: int | None, sent: int | None) -> int | None:
    """The size of a session's whole content; None if no request has named it."""
    if declared is not None and sent is not None and declared != sent:
        raise invalid(f"The upload was declared to have {declared} byte(s), this request says {sent}.")
    return sent if declared is None else declared


_LENGTH = (
    "Invalid request.  There were {sent} byte(s) in the request body.  They should have started at offset {start} "
    "and ended before offset {wanted} according to the Content-Range header."
)
_TOO_SMALL = (
    "Invalid request.  The number of bytes uploaded is required to be equal or greater than 262144, except for the "
    "final request (it's recommended to be the exact multiple of 262144).  The received request contained {sent} "
    "bytes, which does not meet this requirement."
)
