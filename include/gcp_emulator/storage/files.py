"""Bytes on disk: files under random names, so that no object's name ever becomes a path.

A file is written first and becomes part of an object only when the row naming it is stored; what a crash leaves
behind unnamed is removed at the next start. Files are not fsync'ed: they survive the process being killed, not a
power cut, like the database beside them.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

BLOCK = 256 * 1024  # bytes read, hashed or sent at a time


@dataclass(frozen=True)
class Digest:
    """Size in bytes and checksums of some content, in base64 as the API reports them."""

    size: int
    crc32c: str
    md5: str


class Files:
    """The directory that holds all bytes.

    :param directory: created when absent
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory

    def new(self) -> str:
        """The id of a new, empty file."""
        file = secrets.token_hex(16)
        self.path(file).touch(exist_ok=False)
        return file

    def path(self, file: str) -> Path:
        return self._directory / file

    def size(self, file: str) -> int:
        return self.path(file).stat().st_size

    def truncate(self, file: str, size: int) -> None:
        os.truncate(self.path(file), size)

    def remove(self, file: str) -> None:
        with suppress(FileNotFoundError):
            self.path(file).unlink()

    def duplicate(self, file: str) -> str:
        """A second file with the same bytes. A hard link: content never changes once an object has it."""
        copy = secrets.token_hex(16)
        os.link(self.path(file), self.path(copy))
        return copy

    def keep_only(self, files: set[str]) -> None:
        """Remove every file that no row names."""
        for path in self._directory.iterdir():
            if path.name not in files:
                path.unlink()

    async def receive(self, blocks: AsyncIterator[bytes]) -> str:
        """Write a stream to a new file; nothing is left of one that breaks off."""
        file = self.new()
        try:
            with self.path(file).open("wb") as out:
                async for block in blocks:
                    out.write(block)
        except BaseException:
            self.remove(file)
            raise
        return file

    def write(self, blocks: Iterable[bytes]) -> str:
        """A new file of these bytes."""
        file = self.new()
        with self.path(file).open("wb") as out:
            out.writelines(blocks)
        return file

    def read(self, file: str, start: int, stop: int) -> Iterator[bytes]:
        """Bytes `start` up to `stop`, block by block, from a file that is opened now.

        Opened at once so that a reader is not disturbed when the object is replaced or deleted meanwhile.
        """
        blocks = _blocks(self.path(file), start, stop)
        next(blocks)
        return blocks

    def digest(self, file: str) -> Digest:
        """Size and checksums; takes about 1.5 s for each GB, so run it in a thread."""
        md5, crc32c = hashlib.md5(usedforsecurity=False), 0
        for block in self.read(file, 0, self.size(file)):
            md5.update(block)
            crc32c = google_crc32c.extend(crc32c, block)
        return Digest(self.size(file), to_base64(crc32c.to_bytes(4, "big")), to_base64(md5.digest()))


def _blocks(path: Path, start: int, stop: int) -> Iterator[bytes]:
    with path.open("rb") as source:
        yield b""
        source.seek(start)
        while start < stop and (block := source.read(min(BLOCK, stop - start))):
            start += len(block)
            yield block


def to_base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
