"""Listing objects: prefixes, delimiters, offsets and pages, over names in the order of their UTF-8 bytes.

https://cloud.google.com/storage/docs/json_api/v1/objects/list
"""

from __future__ import annotations

import base64
import binascii
import heapq
from collections.abc import Iterable, Iterator, Mapping
from itertools import dropwhile, islice, takewhile
from typing import NamedTuple

import msgspec

from ..state import Resource
from .objects import Objects
from .rules import invalid, parse_bool, parse_int

MAX_RESULTS = 1000


class Position(NamedTuple):
    """A place in a listing: text, then a prefix (generation 0) before the versions of an object of that name."""

    text: str
    generation: int = 0

    @property
    def order(self) -> tuple[bytes, int]:
        return self.text.encode(), self.generation


class Entry(NamedTuple):
    """One line of a listing: an object, or a common prefix (no row)."""

    at: Position
    row: Resource | None


class ListQuery(msgspec.Struct, frozen=True):
    """The parameters of objects.list."""

    prefix: str
    delimiter: str
    trailing: bool
    start: str
    end: str
    versions: bool
    limit: int
    after: Position | None

    @classmethod
    def of(cls, params: Mapping[str, str]) -> ListQuery:
        """Parse the parameters of a list request.

        :raises StorageError: 400: a parameter is wrong; the message names it
        """
        _refuse_unsupported(params)
        return cls(
            prefix=params.get("prefix", ""),
            delimiter=params.get("delimiter", ""),
            trailing=parse_bool("includeTrailingDelimiter", params.get("includeTrailingDelimiter")),
            start=params.get("startOffset", ""),
            end=params.get("endOffset", ""),
            versions=parse_bool("versions", params.get("versions")),
            limit=page_size(params),
            after=_read_token(params.get("pageToken")),
        )


def page_size(params: Mapping[str, str]) -> int:
    """`maxResults`, at most 1000; absent or 0 means 1000."""
    size = parse_int("maxResults", params.get("maxResults")) or MAX_RESULTS
    if size < 0:
        raise invalid(f"Invalid unsigned integer value: '{size}'. Parameter: maxResults.", "invalidParameter")
    return min(size, MAX_RESULTS)


def page_of(rows: Iterable[Resource], params: Mapping[str, str]) -> tuple[list[Resource], Resource]:
    """One page of rows, in the order of their names, and the token of the next page."""
    after = _read_token(params.get("pageToken"))
    limit = page_size(params)
    rest = (row for row in rows if after is None or row["name"] > after.text)
    page = list(islice(rest, limit + 1))
    token = {"nextPageToken": _write_token(Position(page[limit - 1]["name"]))} if len(page) > limit else {}
    return page[:limit], token


def list_objects(objects: Objects, bucket: str, query: ListQuery) -> Resource:
    """One page: `items` (stored rows), `prefixes`, `nextPageToken`; empty fields are left out."""
    after = query.after.order if query.after else (b"", -1)
    entries = dropwhile(lambda entry: entry.at.order <= after, _entries(objects, bucket, query))
    page = list(islice(entries, query.limit + 1))
    shown = page[: query.limit]
    result = {
        "items": [entry.row for entry in shown if entry.row],
        "prefixes": [entry.at.text for entry in shown if not entry.row],
        "nextPageToken": _write_token(shown[-1].at) if len(page) > query.limit else "",
    }
    return {name: value for name, value in result.items() if value}


def _entries(objects: Objects, bucket: str, query: ListQuery) -> Iterator[Entry]:
    """All lines of a listing without pages, from the page's start on, in order."""
    last_prefix = None
    for row in _rows(objects, bucket, query):
        name = row["name"]
        cut = name.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
        prefix = name[: cut + len(query.delimiter)] if cut >= 0 else None
        if prefix is not None and prefix != last_prefix:
            last_prefix = prefix
            yield Entry(Position(prefix), None)
        if prefix is None or (query.trailing and prefix == name):
            yield Entry(Position(name, int(row["generation"])), row)


def _rows(objects: Objects, bucket: str, query: ListQuery) -> Iterator[Resource]:
    """The stored versions within prefix and offsets, by name and generation."""
    start = max(query.prefix, query.start, query.after.text if query.after else "", key=str.encode)
    rows = objects.scan(bucket, start)
    if query.versions:
        order = _order
        rows = heapq.merge(rows, sorted(objects.scan_noncurrent(bucket, start), key=order), key=order)
    end = query.end.encode()
    return takewhile(lambda row: row["name"].startswith(query.prefix) and (not end or row["name"].encode() < end), rows)


def _order(row: Resource) -> tuple[bytes, int]:
    return Position(row["name"], int(row["generation"])).order


def _refuse_unsupported(params: Mapping[str, str]) -> None:
    """Refuse parameters that the emulator does not support."""
    for name in ("matchGlob", "filter", "softDeleted"):
        if params.get(name, "").lower() not in ("", "false"):
            raise invalid(f"The parameter {name} is not emulated.", "invalidParameter")


def _write_token(position: Position) -> str:
    return base64.urlsafe_b64encode(f"{position.generation}:{position.text}".encode()).decode()


def _read_token(token: str | None) -> Position | None:
    if not token:
        return None
    try:
        generation, colon, text = base64.urlsafe_b64decode(token).decode().partition(":")
    except (binascii.Error, ValueError):
        raise invalid("Invalid page token.") from None
    if not colon or not generation.isdecimal() or len(generation) > 18:
        raise invalid("Invalid page token.")
    return Position(text, int(generation))
