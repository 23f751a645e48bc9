"""New objects from existing objects: copy, rewrite, compose.

https://cloud.google.com/storage/docs/json_api/v1/objects/rewrite and …/compose
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from typing import NamedTuple

import msgspec

from ..state import Resource
from .files import Files
from .objects import Buckets, Objects, content_fields
from .resources import ComposeRequest, ComposeSource, NewObject, ObjectFields, settable
from .rules import Conditions, RefusedError, condition_not_met, invalid

MAX_COMPONENTS = 32
MIB = 1024 * 1024
# Fields that a copy keeps if the request sends no metadata.
_CONTENT = ("size", "crc32c", "md5Hash", "componentCount")
_METADATA = tuple(name for name in ObjectFields.__struct_encode_fields__ if name != "storageClass")


class Address(NamedTuple):
    """An object, and the generation of a source."""

    bucket: str
    name: str
    generation: int | None = None


class Progress(NamedTuple):
    """Progress of a rewrite: the row it reads, and the number of bytes done."""

    source: Resource
    rewritten: int


class Copies:
    """Creates objects from the content of others."""

    def __init__(self, buckets: Buckets, objects: Objects, files: Files) -> None:
        self._buckets, self._objects, self._files = buckets, objects, files

    def copy(
        self, source: Address, target: Address, new: NewObject, conditions: Conditions, source_conditions: Conditions
    ) -> Resource:
        """The new object. Metadata of the request replaces that of the source; without it, the source's is kept."""
        row = self._objects.get(*source)
        source_conditions.check(row)
        return self._copy(row, target, new, conditions)

    def rewrite(
        self,
        source: Address,
        target: Address,
        new: NewObject,
        conditions: Conditions,
        source_conditions: Conditions,
        token: str | None,
        step: int | None,
    ) -> Resource:
        """A copy that may need several calls, if it changes location or storage class.

        :param token: token that the previous call returned
        :param step: largest number of bytes that a call rewrites, a multiple of 1 MiB; None for all
        """
        before = self._resume(source, token)
        size = int(before.source["size"])
        copied = size if step is None else min(size, before.rewritten + _checked(step))
        source_conditions.check(before.source)
        conditions.check(self._objects.live(target.bucket, target.name))
        if not self._moves(before.source, target.bucket, new):
            copied = size
        answer = {"kind": "storage#rewriteResponse", "totalBytesRewritten": str(copied), "objectSize": str(size)}
        if copied < size:
            return answer | {"done": False, "rewriteToken": _token(before.source, copied)}
        return answer | {"done": True, "resource": self._copy(before.source, target, new, conditions)}

    async def compose(self, target: Address, request: ComposeRequest, conditions: Conditions) -> Resource:
        """Join up to 32 objects, in their order, to one object. It has a crc32c but no md5."""
        rows = [self._component(target.bucket, source) for source in _sources(request)]
        conditions.check(self._objects.live(target.bucket, target.name))
        contents = [self._files.read(row["file"], 0, int(row["size"])) for row in rows]
        file = await asyncio.to_thread(self._files.write, (block for content in contents for block in content))
        try:
            digest = await asyncio.to_thread(self._files.digest, file)
            fields = content_fields(settable(request.destination, ObjectFields), digest)
            fields |= {"md5Hash": None, "componentCount": sum(row.get("componentCount", 1) for row in rows)}
            made = self._objects.create(target.bucket, target.name, fields, file, conditions)
        except RefusedError:
            self._files.remove(file)
            raise
        if request.delete_source_objects:
            self._delete(rows)
        return made

    def _copy(self, source: Resource, target: Address, new: NewObject, conditions: Conditions) -> Resource:
        content = {name: source[name] for name in _CONTENT if name in source}
        metadata = settable(new, ObjectFields) or {name: source[name] for name in _METADATA if name in source}
        file = self._files.duplicate(source["file"])
        try:
            fields = {"md5Hash": None} | content | metadata
            return self._objects.create(target.bucket, target.name, fields, file, conditions)
        except RefusedError:
            self._files.remove(file)
            raise

    def _resume(self, source: Address, token: str | None) -> Progress:
        if token is None:
            return Progress(self._objects.get(*source), 0)
        generation, rewritten = _read_token(token)
        return Progress(self._objects.get(source.bucket, source.name, generation), rewritten)

    def _moves(self, source: Resource, bucket: str, new: NewObject) -> bool:
        """Whether a rewrite must move bytes, and not only names."""
        here, there = self._buckets.get(source["bucket"]), self._buckets.get(bucket)
        storage_class = settable(new, ObjectFields).get("storageClass") or there["storageClass"]
        return bool(here["location"] != there["location"] or source["storageClass"] != storage_class)

    def _component(self, bucket: str, source: ComposeSource) -> Resource:
        try:
            row = self._objects.get(bucket, source.name, source.generation)
        except RefusedError:
            message = f"Object {source.name} (generation: {source.generation or 0}) not found."
            raise RefusedError(404, "notFound", message, code="NoSuchKey") from None
        expected = source.object_preconditions and source.object_preconditions.if_generation_match
        if expected is not None and str(expected) != row["generation"]:
            raise condition_not_met()
        return row

    def _delete(self, rows: list[Resource]) -> None:
        """Delete composed sources that have not changed."""
        for row in rows:
            live = self._objects.live(row["bucket"], row["name"])
            if live and live["generation"] == row["generation"]:
                self._objects.delete(row["bucket"], row["name"], None, Conditions())


def _sources(request: ComposeRequest) -> list[ComposeSource]:
    count = len(request.source_objects)
    if not count:
        raise invalid("You must provide at least one source component.", "required")
    if count > MAX_COMPONENTS:
        raise invalid(f"The number of source components provided ({count}) exceeds the maximum ({MAX_COMPONENTS})")
    return request.source_objects


def _checked(step: int) -> int:
    if step <= 0 or step % MIB:
        raise invalid(f"maxBytesRewrittenPerCall must be a multiple of {MIB}, but was {step}.")
    return step


def _token(source: Resource, done: int) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([int(source["generation"]), done])).decode()


def _read_token(token: str) -> tuple[int, int]:
    try:
        generation, done = msgspec.json.decode(base64.urlsafe_b64decode(token), type=tuple[int, int])
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise invalid("Invalid rewrite token.") from None
    if generation < 0 or done < 0:
        raise invalid("Invalid rewrite token.")
    return generation, done
