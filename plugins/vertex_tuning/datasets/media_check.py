"""Count the tokens of all files that a checked dataset names, and compare the files with the documented limits.

Pure: the store is a protocol.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import IO, Any, Final, Protocol

import msgspec

from vertex_tuning.costs.media import NO_TOKENS, MediaFacts, MediaFile, TokenRange
from vertex_tuning.datasets.file_inspection import INSPECTED_KINDS, NotInspectableError, duration, page_count
from vertex_tuning.datasets.findings import Finding, describe
from vertex_tuning.datasets.media_rules import FilePart, file_parts, file_tokens, over_length, resolution_of
from vertex_tuning.exceptions import TuningError

MAX_LOOKED_UP: Final = 200_000
"""Most different files that are looked up: their names are in memory. This project's own figure."""
MAX_DROPPED_SHARE: Final = 0.10
"""Share of dropped examples above which the service fails the job.

Source: https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/video, "Dropped examples".
"""
_READERS: Final = 4
"""Files that are read at once."""
_READ_CHUNK: Final = 2**20
"""Bytes per request: the length of a video stands at its beginning or its end."""
_FILE_MARKS: Final = (b"file", b"\\u")
"""A row without these bytes has no `fileData`, however it is written."""


class StoredFile(Protocol):
    """Metadata of a file."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def content_type(self) -> str:
        """MIME type; empty if the store does not know it."""


class FileStore(Protocol):
    """Finds and opens files by their URI, as :class:`~vertex_tuning.hooks.storage.StorageHook` does."""

    def find_objects(self, uris: Iterable[str]) -> Mapping[str, StoredFile | None]:
        """The files by URI; None for a file that does not exist. Files that may not be seen are not in it."""

    def open_object(self, uri: str, chunk_size: int | None = None) -> AbstractContextManager[IO[bytes]]:
        """Open a file for reading at any position."""


class FileTotals(msgspec.Struct, frozen=True):
    """The tokens of all files of a dataset.

    :param number: how often rows name a file
    :param assumed: tokens that were counted when the rows were checked, before anything was looked up
    :param tokens: fewest and most tokens
    :param unknown: number of files whose tokens are a range because nobody looked into them
    """

    number: int = 0
    assumed: int = 0
    tokens: TokenRange = NO_TOKENS
    unknown: int = 0


class MediaCheck:
    """Checks the files of training and validation data.

    :param facts: what is known about files in examples for the base model
    :param store: looks files up; None if there is no connection
    :param inspect: whether files are read as well
    """

    def __init__(self, facts: MediaFacts, store: FileStore | None = None, *, inspect: bool = False) -> None:
        self.facts = facts
        self._store = store
        self._inspect = inspect
        self._resolutions: Counter[str] = Counter()

    def examine(self, file: IO[bytes], name: str) -> tuple[FileTotals, list[Finding]]:
        """Check the files of all rows.

        :param file: valid Gemini rows
        :param name: name of the dataset, as the user knows it
        """
        known, findings = self._look_up(file, name)
        file.seek(0)
        work = _Pass(self.facts, known, name)
        for line, row in _rows(file):
            work.add(line, row)
        self._resolutions += work.video_resolutions
        mixed = self._mixed_resolutions(name) if work.video_resolutions else ()
        return work.totals, [*findings, *work.findings, *work.shares(), *mixed]

    def _mixed_resolutions(self, name: str) -> Iterator[Finding]:
        """Warn about videos of several resolutions: training and validation rows must have the same."""
        if len(self._resolutions) > 1:
            found = ", ".join(f"{level} ({count} rows)" for level, count in self._resolutions.most_common())
            expected = "one generationConfig.mediaResolution in all rows of training and validation"
            yield _warning("video_resolution", name, f"videos with mediaResolution {found}", expected)

    def _look_up(self, file: IO[bytes], name: str) -> tuple[dict[str, _Known], list[Finding]]:
        """Facts from the store about each file, by URI, and findings about them."""
        if self._store is None:
            return {}, []
        parts: dict[str, FilePart] = {}
        surplus = False
        for _, row in _rows(file):
            for part in file_parts(row, self.facts) if row is not None else ():
                if part.uri.startswith("gs://") and part.uri not in parts:
                    if surplus := len(parts) == MAX_LOOKED_UP:
                        break
                    parts[part.uri] = part
        found = self._store.find_objects(parts)
        known = {uri: _Known(stored) for uri, stored in found.items()}
        findings = [finding for uri, each in known.items() for finding in self._stored_problems(parts[uri], each, name)]
        if surplus:
            expected = f"at most {MAX_LOOKED_UP}; the others are only bounded by the documented limits"
            findings.append(_warning("not_looked_up", name, f"more than {MAX_LOOKED_UP} different files", expected))
        if self._inspect:
            findings += self._look_into(parts, known, name)
        return known, findings

    def _stored_problems(self, part: FilePart, known: _Known, name: str) -> Iterator[Finding]:
        if known.stored is None:
            yield _warning("file_missing", name, "no such object", "an object that exists", part.uri)
            return
        limits = self.facts.kinds.get(part.file.kind) if part.file.kind else None
        if limits and known.stored.size > limits.most_bytes:
            found, expected = f"{known.stored.size:,} bytes", f"at most {limits.most_bytes:,} bytes for {limits.name}"
            yield _warning("file_size", name, found, expected, part.uri)
        stored_type = known.stored.content_type.partition(";")[0]
        if stored_type not in ("", "application/octet-stream", part.mime_type):
            found = f"an object of type {describe(stored_type)}, which a row calls {describe(part.mime_type)}"
            yield _warning("file_type", name, found, "the same type", part.uri)

    def _look_into(self, parts: Mapping[str, FilePart], known: dict[str, _Known], name: str) -> Iterator[Finding]:
        """Read the files whose tokens depend on their content."""
        wanted = [uri for uri, each in known.items() if each.stored and self._is_readable(parts[uri], each.stored)]
        with ThreadPoolExecutor(_READERS) as pool:
            for uri, read in zip(wanted, pool.map(lambda uri: self._read(parts[uri]), wanted), strict=True):
                if isinstance(read, str):
                    yield _warning("file_unreadable", name, read, f"a file of type {parts[uri].mime_type}", uri)
                else:
                    known[uri] = read.of(known[uri].stored)

    def _is_readable(self, part: FilePart, stored: StoredFile) -> bool:
        limits = self.facts.kinds.get(part.file.kind) if part.file.kind else None
        return part.file.kind in INSPECTED_KINDS and limits is not None and stored.size <= limits.most_bytes

    def _read(self, part: FilePart) -> _Known | str:
        """Pages or length of a file; a text with the reason if it cannot be read."""
        assert self._store is not None  # noqa: S101 - only with a store
        try:
            with self._store.open_object(part.uri, _READ_CHUNK) as file:
                if part.file.kind == "document":
                    return _Known(None, pages=page_count(io.BytesIO(file.read())))
                return _Known(None, seconds=duration(file))
        except (NotInspectableError, TuningError) as error:
            return describe(str(error))


class _Known(msgspec.Struct, frozen=True):
    """Facts about a file that its row does not have."""

    stored: StoredFile | None
    seconds: float | None = None
    pages: int | None = None

    def of(self, stored: StoredFile | None) -> _Known:
        return msgspec.structs.replace(self, stored=stored)


class _Pass:
    """Adds up the files of rows."""

    def __init__(self, facts: MediaFacts, known: Mapping[str, _Known], name: str) -> None:
        self._facts = facts
        self._known = known
        self._name = name
        self._rows = self._over = self._dropped = 0
        self.totals = FileTotals()
        self.findings: list[Finding] = []
        self.video_resolutions: Counter[str] = Counter()

    def add(self, line: int, row: dict[str, Any] | None) -> None:
        """Add a row; None is a row without files."""
        self._rows += 1
        if row is None:
            return
        said = file_parts(row, self._facts)
        if any(part.file.kind == "video" for part in said):
            self.video_resolutions[str(resolution_of(row) or "none")] += 1
        files = [part._replace(file=self._completed(part)) for part in said]
        tokens = file_tokens(files, self._facts)
        self.totals = FileTotals(
            self.totals.number + len(files),
            self.totals.assumed + file_tokens(said, self._facts).low,
            self.totals.tokens + tokens,
            self.totals.unknown + sum(_is_unknown(part.file) for part in files),
        )
        self._judge(line, said, files)

    def _completed(self, part: FilePart) -> MediaFile:
        """Facts about a file from its row and from the store."""
        known = self._known.get(part.uri)
        if known is None or known.stored is None:
            return part.file
        seconds = known.seconds if part.file.seconds is None else part.file.seconds
        if seconds is not None and known.seconds is not None:
            seconds = min(seconds, known.seconds)
        return msgspec.structs.replace(part.file, size=known.stored.size, seconds=seconds, pages=known.pages)

    def _judge(self, line: int, said: list[FilePart], files: list[FilePart]) -> None:
        """Count the row if the service will drop it, or may."""
        is_over = is_dropped = any(self._is_missing(part) for part in files)
        for kind, limits in self._facts.kinds.items():
            of_kind = [part.file for part in files if part.file.kind == kind]
            if over := over_length(limits, of_kind):
                if not over_length(limits, [part.file for part in said if part.file.kind == kind]):
                    self.findings.append(_warning(f"{kind}_length", self._name, *over, line=line))
                is_dropped |= limits.certain
            is_large = any((file.size or 0) > limits.most_bytes for file in of_kind)
            is_over |= over is not None or is_large or (limits.most_files or len(of_kind)) < len(of_kind)
        self._over += is_over
        self._dropped += is_dropped

    def _is_missing(self, part: FilePart) -> bool:
        return part.uri in self._known and self._known[part.uri].stored is None

    def shares(self) -> Iterator[Finding]:
        """Findings about the share of rows that the service drops."""
        if self._over:
            found = f"{self._share(self._over)} with files that are missing, or over a documented limit"
            expected = "rows that the service keeps; it fails a job if it drops more than 10 % of the rows"
            yield _warning("would_be_dropped", self._name, found, expected)
        if self._dropped > MAX_DROPPED_SHARE * self._rows:
            found = f"{self._share(self._dropped)} with files that are missing, or videos that are too long"
            expected = "at most 10 %; the service drops these rows and then fails the job"
            yield Finding("dropped_by_service", "error", self._name, found=found, expected=expected)

    def _share(self, number: int) -> str:
        return f"{number} of {self._rows} rows ({number / self._rows:.1%})"


def _is_unknown(file: MediaFile) -> bool:
    if file.kind == "document":
        return file.pages is None
    return file.kind in ("audio", "video") and file.seconds is None


def _rows(file: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """The rows with their line numbers; None for a row without files."""
    for number, line in enumerate(file, 1):
        if any(mark in line for mark in _FILE_MARKS):
            yield number, msgspec.json.decode(line)
        elif line.strip():
            yield number, None


def _warning(kind: str, name: str, found: str, expected: str, path: str = "", *, line: int = 0) -> Finding:
    return Finding(kind, "warning", name, line, describe(path) if path else "", found, expected)
