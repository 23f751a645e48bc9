"""Read lines and CSV records of a dataset file in chunks, with any bytes in it. Pure."""

from __future__ import annotations

import codecs
import csv
import errno
import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Final, NamedTuple, cast

from vertex_tuning.datasets.limits import MAX_LINE
from vertex_tuning.text.plain_text import plain, without_secrets

READ_CHUNK: Final = 2**18
"""Bytes per read."""
FREE_UNPACKED: Final = 16 * 2**20
"""Bytes that any compressed file may unpack to."""
MAX_EXPANSION: Final = 100
"""How many times larger a larger compressed file may be unpacked. JSON of usual texts is up to 20 times larger."""
MANY_LINES: Final = READ_CHUNK // 16
"""Lines of a chunk from which most are too short for a row."""
UNPACKING_ERRORS: Final = (EOFError, zlib.error, gzip.BadGzipFile)
"""Errors while reading a damaged gzip file."""

_OF_THE_WORKER: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors of a machine without free disk space, file handles or memory. The file is not the cause."""

_BLANK: Final = (b"", b"\r")

Update = Callable[[bytes], object]


class Lines(NamedTuple):
    """Consecutive lines of a file, without line ends.

    :param first: number of the first line, from 1
    :param lines: the lines
    :param cut: whether the last of these lines is the last line of the file and has no line end
    :param marked: whether a byte order mark was removed from the first line; only at the beginning of a file
    """

    first: int
    lines: list[bytes]
    cut: bool = False
    marked: bool = False


@contextmanager
def os_errors(name: str) -> Iterator[None]:
    """Convert errors while opening or reading a file to errors of this package.

    :param name: name of the file, for the message
    :raises DatasetError: the file cannot be read
    :raises TransientError: the connection was lost, or a process that read the file was ended
    """
    # Imported here: the processes that check a part of a file import no Airflow.
    from vertex_tuning.exceptions import DatasetError, TransientError

    try:
        yield
    except UNPACKING_ERRORS:
        raise
    except (ConnectionError, TimeoutError, ChildProcessError) as error:
        raise TransientError(f"{name}: reading was interrupted: {_reason(error)}.") from None
    except OSError as error:
        if error.errno in _OF_THE_WORKER:
            raise
        raise DatasetError(f"{name}: cannot be read: {_reason(error)}.") from None


def _reason(error: OSError) -> str:
    return plain(without_secrets(error.strerror or f"{type(error).__name__}: {error}"))


def is_gzip(name: str) -> bool:
    """Whether the name of a file ends in `.gz`."""
    return name.lower().endswith(".gz")


def is_csv(name: str) -> bool:
    """Whether the name of a file ends in `.csv` or `.csv.gz`."""
    return name.lower().removesuffix(".gz").endswith(".csv")


def unpacked(name: str, file: IO[bytes]) -> IO[bytes]:
    """The file, decompressed if its name ends in `.gz`.

    Reading raises `gzip.BadGzipFile` where a small file has a huge content.
    """
    return cast(IO[bytes], _Unpacked(file)) if is_gzip(name) else file


class _Unpacked(gzip.GzipFile):
    """A decompressed file that is not much larger than the file it is read from."""

    def __init__(self, file: IO[bytes]) -> None:
        self._packed = _Counted(file)
        self._size = 0
        super().__init__(fileobj=self._packed, mode="rb")

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self._size += len(data)
        if self._size > max(FREE_UNPACKED, MAX_EXPANSION * self._packed.size):
            found = f"{self._packed.size} bytes that unpack to more than {self._size}"
            raise gzip.BadGzipFile(f"{found}, over {MAX_EXPANSION} times as much")
        return data


class _Counted(io.RawIOBase):
    """Counts the bytes that are read from a file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.size += len(data)
        return data


def read_lines(
    file: IO[bytes],
    update: Update | None = None,
    *,
    length: int | None = None,
    begins: bool = True,
    max_line: int = MAX_LINE,
    chunk_size: int = READ_CHUNK,
) -> Iterator[Lines]:
    """Read all lines of a file in chunks.

    A line that is longer than `max_line` is cut after a little more than `max_line` bytes. The caller sees that it is
    too long.

    :param file: file at the position of the first line
    :param update: function that gets all bytes that are read, e.g. `update` of a hash
    :param length: number of bytes to read; None for all
    :param begins: whether the position is the beginning of the file, where a byte order mark is removed
    :param max_line: bytes of a line
    :param chunk_size: bytes per read
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

    :param line: line at which the record begins, from 1
    :param fields: fields of the record; empty if it cannot be read
    :param problem: reason for which the record cannot be read; otherwise empty
    """

    line: int
    fields: list[str]
    problem: str = ""


def read_csv(chunks: Iterator[Lines], separator: str = ",") -> Iterator[Record]:
    """Read the records of a CSV file. After a damaged record, reading continues at the next line.

    :param separator: character between two fields
    """
    text = _Text(chunks)
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))
    reader = csv.reader(text, delimiter=separator, strict=True)
    while True:
        text.begin_record()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Record(text.begin, [], str(error))
            continue
        if text.has_undecodable:
            yield Record(text.begin, [], "bytes that are not UTF-8")
        elif fields:
            yield Record(text.begin, fields)


class _Text:
    """Iterates over the lines of a CSV file as text, and passes over blank lines between records.

    `line` is the number of the last line, `begin` that of the first line of a record, and `has_undecodable` says
    whether a line of the record is not UTF-8.
    """

    def __init__(self, chunks: Iterator[Lines]) -> None:
        self._chunks = chunks
        self._lines: list[bytes] = []
        self._next = 0
        self._between = True
        self.has_undecodable = False
        self.line = self.begin = 0

    def __iter__(self) -> _Text:
        return self

    def begin_record(self) -> None:
        """Say that the next line begins a record."""
        self._between, self.has_undecodable = True, False

    def __next__(self) -> str:
        line = self._take()
        if self._between:
            while line in _BLANK:
                line = self._take()
            self._between, self.begin = False, self.line
        try:
            return line.decode() + "\n"
        except UnicodeDecodeError:
            self.has_undecodable = True
            return line.decode(errors="replace") + "\n"

    def _take(self) -> bytes:
        while self._next == len(self._lines):
            self._lines, self._next = next(self._chunks).lines, 0
        line = self._lines[self._next]
        self._next += 1
        self.line += 1
        return line
