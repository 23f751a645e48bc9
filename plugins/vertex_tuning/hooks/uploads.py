"""Local files for uploads to Cloud Storage: checksums, parts and progress. No network."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import google_crc32c
import msgspec

UPLOAD_CHUNK: Final = 8 * 1024 * 1024
"""Bytes per request of a resumable upload. These are in memory, and are sent again after a lost connection."""

PARALLEL_FROM: Final = 256 * 1024 * 1024
"""Size in bytes from which a file is uploaded in parallel parts.

A smaller file takes a few seconds as a single stream. Parts need about ten more requests.
"""

MIN_PART: Final = 32 * 1024 * 1024
MAX_PARTS: Final = 32
"""Most parts: `objects.compose` accepts 32. The largest training file (1 GB) has 30 parts of `MIN_PART`."""

WORKERS: Final = 4
LOG_SECONDS: Final = 10.0


class StoredObject(msgspec.Struct, frozen=True):
    """An object in Cloud Storage.

    :param uri: `gs://BUCKET/NAME`
    :param generation: generation of the object
    :param size: size in bytes
    :param crc32c: checksum of the content, in base64
    :param content_type: MIME type; empty if it has none
    """

    uri: str
    generation: int
    size: int
    crc32c: str
    content_type: str = ""

    def __str__(self) -> str:
        return f"{self.uri} ({self.size} bytes, crc32c {self.crc32c})"


class LocalFile(msgspec.Struct, frozen=True):
    """A local file, or a range of it.

    :param path: path of the file
    :param start: offset of the first byte of the range
    :param size: size of the range in bytes
    :param crc32c: checksum of the range, in base64
    """

    path: str
    start: int
    size: int
    crc32c: str

    @classmethod
    def read(cls, path: str, start: int = 0, size: int | None = None) -> LocalFile:
        """Read a range of a file and compute its checksum (8 GB/s if the file is cached in memory).

        :param path: path of the file
        :param start: offset of the first byte
        :param size: size of the range in bytes; None for the rest of the file
        """
        size = Path(path).stat().st_size - start if size is None else size
        digest, left = 0, size
        with Path(path).open("rb") as file:
            file.seek(start)
            while left and (block := file.read(min(left, 1024 * 1024))):
                digest = google_crc32c.extend(digest, block)
                left -= len(block)
        return cls(path, start, size - left, base64.b64encode(digest.to_bytes(4, "big")).decode())

    def parts(self) -> list[LocalFile]:
        """The file in at most `MAX_PARTS` parts. All but the last have at least `MIN_PART` bytes."""
        length = max(MIN_PART, -(-self.size // MAX_PARTS))
        starts = range(0, self.size, length)
        return [LocalFile.read(self.path, start, min(length, self.size - start)) for start in starts]

    def is_same(self, stored: StoredObject) -> bool:
        return (self.size, self.crc32c) == (stored.size, stored.crc32c)

    def __str__(self) -> str:
        return f"{self.path} ({self.size} bytes, crc32c {self.crc32c})"


class Progress:
    """Logs the progress of an upload every `LOG_SECONDS`, and its speed. Threads may report in parallel.

    :param what: name of the upload, for the log
    :param total: bytes to send
    :param say: function that logs a message with arguments, e.g. `log.info`
    """

    def __init__(self, what: str, total: int, say: Callable[..., None]) -> None:
        self._what, self._total, self._say = what, total, say
        self._done, self._lock = 0, threading.Lock()
        self._started = self._said = time.monotonic()

    def add(self, size: int) -> None:
        with self._lock:
            self._done += size
            now = time.monotonic()
            if now - self._said < LOG_SECONDS:
                return
            self._said = now
        self._say("%s: %.0f of %.0f MB, %.1f MB/s", self._what, self._done / 1e6, self._total / 1e6, self._speed())

    def finish(self) -> None:
        seconds = time.monotonic() - self._started
        self._say("%s: %d bytes sent in %.1f s, %.1f MB/s", self._what, self._done, seconds, self._speed())

    def _speed(self) -> float:
        return self._done / 1e6 / max(time.monotonic() - self._started, 1e-9)


class Slice:
    """A readable file-like object for a range of a local file. It opens the file for each read."""

    def __init__(self, local: LocalFile, progress: Progress) -> None:
        self._local, self._progress = local, progress
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        self._position = position
        return position

    def read(self, size: int) -> bytes:
        left = self._local.size - self._position
        with Path(self._local.path).open("rb") as file:
            file.seek(self._local.start + self._position)
            block = file.read(min(size, left))
        self._position += len(block)
        self._progress.add(len(block))
        return block
