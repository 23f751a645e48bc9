"""The lines of a dataset file, a few at a time, whatever bytes it holds. Pure."""

from __future__ import annotations

import codecs
import csv
import errno
import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Final, NamedTuple

from vertex_tuning.datasets.limits import MAX_LINE
from vertex_tuning.plain_text import plain, without_secrets

READ_CHUNK: Final = 2**18
"""Bytes read at once."""
UNPACKING_ERRORS: Final = (EOFError, zlib.error, gzip.BadGzipFile)
"""What a damaged gzip file raises while it is read."""

_OF_THE_WORKER: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What a machine runs out of: no fault of the file."""

Update = Callable[[bytes], object]


class Lines(NamedTuple):
    """Lines that follow each other, without their ends.

    :param first: number of the first, from 1
    :param cut: whether the last one is the file's last and has no end
    :param marked: whether the file began with a byte order mark, which is left out; for its first lines only
    """

    first: int
    lines: list[bytes]
    cut: bool = False
    marked: bool = False


@contextmanager
def os_errors(name: str) -> Iterator[None]:
    """Turn what a file system raises when a file is opened or read into this package's errors.

    :param name: the file's, for the message
    :raises DatasetError: the file cannot be read
    :raises TransientError: the connection to where it is broke off, or a process that read it was ended
    """
    # Imported here: the processes that check a part of a file import no Airflow.
    from vertex_tuning.exceptions import DatasetError, TransientError

    try:
        yield
    except UNPACKING_ERRORS:
        raise
    except (ConnectionError, TimeoutError, ChildProcessError) as error:
        raise TransientError(f"{name}: reading broke off: {_reason(error)}.") from None
    except OSError as error:
        if error.errno in _OF_THE_WORKER:
            raise
        raise DatasetError(f"{name}: cannot be read: {_reason(error)}.") from None


def _reason(error: OSError) -> str:
    return plain(without_secrets(error.strerror or f"{type(error).__name__}: {error}"))


def is_gzip(name: str) -> bool:
    return name.lower().endswith(".gz")


def is_csv(name: str) -> bool:
    return name.lower().removesuffix(".gz").endswith(".csv")


def unpacked(name: str, file: IO[bytes]) -> IO[bytes]:
    """The file itself, or what is packed in it when its name says so."""
    return gzip.open(file) if is_gzip(name) else file  # type: ignore[return-value]


def read_lines(
    file: IO[bytes],
    update: Update | None = None,
    *,
    length: int | None = None,
    begins: bool = True,
    max_line: int = MAX_LINE,
    chunk_size: int = READ_CHUNK,
) -> Iterator[Lines]:
    """All lines. One longer than `max_line` is given up to that length and a little more, so that it can be told.

    :param update: gets all the bytes that are read, e.g. a hash's method
    :param length: how many bytes of the file to read; None for all
    :param begins: whether these are the first lines of the file, which a byte order mark may precede
    :param max_line: bytes of a line
    :param chunk_size: bytes read at once
    """
    first, rest = 1, b""
    left = float("inf") if length is None else length
    while chunk := file.read(int(min(chunk_size, left))):
        left -= len(chunk)
        if update:
            update(chunk)
        marked = begins and chunk.startswith(codecs.BOM_UTF8)
        lines = (chunk.removeprefix(codecs.BOM_UTF8) if marked else chunk).split(b"\n")
        begins = False
        lines[0] = rest if len(rest) > max_line else rest + lines[0]
        rest = lines.pop()
        if lines or marked:
            yield Lines(first, lines, marked=marked)
            first += len(lines)
    if rest:
        yield Lines(first, [rest], cut=True)


class Record(NamedTuple):
    """A record of a CSV file.

    :param line: where it begins, from 1
    :param fields: empty when it cannot be read, for which `problem` says why
    """

    line: int
    fields: list[str]
    problem: str = ""


def read_csv(chunks: Iterator[Lines]) -> Iterator[Record]:
    """Records of a CSV file; one that is damaged is told and the next one begins on the next line."""
    text = _Text(chunks)
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    reader = csv.reader(text, strict=True)
    while True:
        before = text.line
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Record(before + 1, [], str(error))
            continue
        if text.take_undecodable():
            yield Record(before + 1, [], "bytes that are not UTF-8")
        elif fields:
            yield Record(before + 1, fields)


class _Text:
    """Lines as text, counted, and with a word on whether any was not UTF-8."""

    def __init__(self, chunks: Iterator[Lines]) -> None:
        self._lines = (line for chunk in chunks for line in chunk.lines)
        self._undecodable = False
        self.line = 0

    def __iter__(self) -> _Text:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.line += 1
        try:
            return line.decode() + "\n"
        except UnicodeDecodeError:
            self._undecodable = True
            return line.decode(errors="replace") + "\n"

    def take_undecodable(self) -> bool:
        """Whether a line since the last call was not UTF-8."""
        undecodable, self._undecodable = self._undecodable, False
        return undecodable
