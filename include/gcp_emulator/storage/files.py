"""Bytes on disk: files with random names, so that no object's name ever becomes a path.

A file is written first. It becomes part of an object when the row that names it is stored. Files that no row names,
after a crash, are removed at the next start. Files are not fsync'ed: like the database, they survive a kill of the
process, but not a power cut.
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
    """Size of some content in bytes, and its checksums in base64, as the API reports them."""

    size: int
    crc32c: str
    md5: str


class Files:
    """The directory that holds all bytes.

    :param directory: created if it is missing
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
        """A second file with the same bytes. It is a hard link: the content of an object never changes."""
        copy = secrets.token_hex(16)
        os.link(self.path(file), self.path(copy))
        return copy

    def keep_only(self, files: set[str]) -> None:
        """Remove every file that no row names."""
        for path in self._directory.iterdir():
            if path.name not in files:
                path.unlink()

    async def receive(self, blocks: AsyncIterator[bytes]) -> str:
        """Write a stream to a new file. If the stream breaks, the file is removed."""
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
        """Bytes `start` up to `stop`, block by block.

        The file is opened at once, so that a replacement or deletion of the object does not disturb the reader.
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
    """A digest in base64, as Cloud Storage writes checksums."""
    return base64.b64encode(digest).decode()
