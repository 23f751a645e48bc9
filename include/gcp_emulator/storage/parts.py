"""Multipart uploads of the XML API: parts arrive in any order and become one object at the end.

https://cloud.google.com/storage/docs/multipart-uploads
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import NamedTuple
from weakref import WeakValueDictionary

from ..state import Resource, Store
from .files import Files
from .objects import Objects, content_fields, scan
from .resources import ObjectFields, now, settable, timestamp
from .rules import Conditions, RefusedError, check_object_name
from .uploads import Checksums

UPLOAD, PART = "storage.multipart", "storage.part"
MAX_PART_NUMBER = 10_000
MIN_PART = 5 * 1024 * 1024  # bytes, of every part but the last


class NamedPart(NamedTuple):
    """A part as the request that completes an upload names it."""

    number: int
    etag: str


class PartUploads:
    """The open multipart uploads."""

    def __init__(self, store: Store, objects: Objects, files: Files) -> None:
        self._store, self._objects, self._files = store, objects, files
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def start(self, bucket: str, name: str, fields: ObjectFields) -> str:
        """Open an upload; its id."""
        self._objects.live(bucket, check_object_name(name))  # the bucket must exist
        upload_id = secrets.token_urlsafe(48)
        upload = {"bucket": bucket, "name": name, "fields": settable(fields, ObjectFields)}
        self._store.put(UPLOAD, upload_id, upload)
        return upload_id

    def get(self, upload_id: str, bucket: str, name: str) -> Resource:
        """Return an upload of an object.

        :raises RefusedError: 404: the object has no such upload
        """
        upload = self._store.get(UPLOAD, upload_id)
        if upload is None or (upload["bucket"], upload["name"]) != (bucket, name):
            raise RefusedError(404, "notFound", "The requested upload was not found.", code="NoSuchUpload")
        return upload

    async def put(self, upload_id: str, number: int, blocks: AsyncIterator[bytes], sums: Checksums) -> Resource:
        """Store a part. It replaces an earlier part of the same number."""
        file = await self._files.receive(blocks)
        digest = await asyncio.to_thread(self._files.digest, file)
        part = content_fields({"number": number, "file": file, "updated": timestamp(now())}, digest)
        part["etag"] = base64.b64decode(digest.md5).hex()
        name = f"{upload_id}/{number:05}"
        try:
            sums.verify(digest)
            async with self._lock(upload_id):
                self._still_open(upload_id)
                replaced = self._store.get(PART, name)
                self._store.put(PART, name, part)
        except RefusedError:
            self._files.remove(file)
            raise
        if replaced:
            self._files.remove(replaced["file"])
        return part

    def parts(self, upload_id: str) -> list[Resource]:
        """The stored parts, by number."""
        return [part for _, part in self._scan(upload_id)]

    async def complete(self, upload_id: str, named: Sequence[NamedPart]) -> Resource:
        """Join the named parts to an object, which has a crc32c but no md5."""
        async with self._lock(upload_id):
            upload, parts = self._still_open(upload_id), self.parts(upload_id)
            file = await asyncio.to_thread(self._join, _choose(parts, named))
            try:
                digest = await asyncio.to_thread(self._files.digest, file)
                fields = content_fields(upload["fields"], digest) | {"md5Hash": None}
                address = upload["bucket"], upload["name"]
                row = self._objects.create(*address, fields, file, Conditions(), lambda _: self._forget(upload_id))
            except RefusedError:
                self._files.remove(file)
                raise
        self._remove(parts)
        return row

    async def abort(self, upload_id: str) -> None:
        """End an upload and forget its parts."""
        async with self._lock(upload_id):
            self._still_open(upload_id)
            parts = self.parts(upload_id)
            with self._store.transaction():
                self._forget(upload_id)
        self._remove(parts)

    def files(self) -> set[str]:
        """The files of all parts."""
        return {part["file"] for part in self._store.list(PART)}

    def _still_open(self, upload_id: str) -> Resource:
        upload = self._store.get(UPLOAD, upload_id) or {}
        return self.get(upload_id, upload.get("bucket", ""), upload.get("name", ""))

    def _lock(self, upload_id: str) -> asyncio.Lock:
        """Held while an upload's parts change or are read."""
        return self._locks.setdefault(upload_id, asyncio.Lock())

    def _scan(self, upload_id: str) -> Iterator[tuple[str, Resource]]:
        for name, part in scan(self._store, PART, f"{upload_id}/"):
            if not name.startswith(f"{upload_id}/"):
                return
            yield name, part

    def _join(self, parts: Sequence[Resource]) -> str:
        files = (self._files.read(part["file"], 0, int(part["size"])) for part in parts)
        return self._files.write(block for content in files for block in content)

    def _forget(self, upload_id: str) -> None:
        for name, _ in list(self._scan(upload_id)):
            self._store.delete(PART, name)
        self._store.delete(UPLOAD, upload_id)

    def _remove(self, parts: Sequence[Resource]) -> None:
        for part in parts:
            self._files.remove(part["file"])


def _choose(parts: Sequence[Resource], named: Sequence[NamedPart]) -> list[Resource]:
    """The parts that a request names.

    :raises RefusedError: 400: a part is missing, has changed or is too small, or the order is wrong
    """
    there = {part["number"]: part for part in parts}
    numbers = [part.number for part in named]
    if not named or numbers != sorted(set(numbers)):
        raise _refused("InvalidPartOrder", "The list of parts was not in ascending order of part numbers.")
    for number, etag in named:
        if number not in there or there[number]["etag"] != etag.strip().strip('"'):
            raise _refused("InvalidPart", f"Part {number} could not be found, or its entity tag does not match.")
    chosen = [there[number] for number in numbers]
    if any(int(part["size"]) < MIN_PART for part in chosen[:-1]):
        raise _refused("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed object size.")
    return chosen


def _refused(code: str, message: str) -> RefusedError:
    return RefusedError(400, "invalid", message, code=code)
