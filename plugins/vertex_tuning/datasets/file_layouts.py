"""Recognise files whose lines are no rows: UTF-16, JSON over several lines; and the separator of a CSV file. Pure."""

from __future__ import annotations

import codecs
import csv
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final, NamedTuple

import msgspec

from vertex_tuning.datasets.findings import Problem
from vertex_tuning.datasets.formats import row_format
from vertex_tuning.datasets.options import ColumnNames
from vertex_tuning.datasets.rows import UNREADABLE_ROW

MAX_HEADER: Final = 2**16
"""Most bytes of the header of a CSV file in which a separator is looked for."""
SEPARATORS: Final = (",", ";", "\t", "|")
_ENCODINGS: Final = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
"""Byte order marks. That of UTF-32 begins with that of UTF-16."""
_LOOKED_AT: Final = 1000


class CsvHeader(NamedTuple):
    """The header of a CSV file.

    :param has_columns: whether it has the columns of prompt and response
    """

    separator: str
    has_columns: bool


def layout_problem(name: str, lines: Sequence[bytes]) -> Problem | None:
    """The problem of a file whose lines cannot be rows, with the command that mends it; None if lines may be rows.

    :param name: name of the file, as the user knows it
    :param lines: first lines of the file
    """
    head = next(filter(None, lines), b"")
    if encoding := _encoding(head):
        command = _command(name, f"iconv -f {encoding} -t UTF-8")
        return Problem("encoding", "", f"text in {encoding}", f"UTF-8. Convert the file: `{command}`")
    kind, filter_of_jq = _json_over_lines(lines)
    if kind:
        command = _command(name, f"jq -c {filter_of_jq}")
        return Problem("json", "", kind, f"one JSON object per line. Convert the file: `{command}`")
    return None


def _encoding(head: bytes) -> str:
    """The encoding of a text that is not UTF-8, by its byte order mark or by the zero bytes of its first letters."""
    for mark, encoding in _ENCODINGS:
        if head.startswith(mark):
            return encoding
    if head[1:2] == head[3:4] == b"\0" and head[0:1] not in (b"", b"\0"):
        return "UTF-16LE"
    if head[0:1] == head[2:3] == b"\0" and head[1:2] not in (b"", b"\0"):
        return "UTF-16BE"
    return ""


def _json_over_lines(lines: Sequence[bytes]) -> tuple[str, str]:
    """What JSON over several lines is, and jq's filter for its rows; empty if each line is a value."""
    filled = [stripped for line in lines[:_LOOKED_AT] if (stripped := line.strip())]
    first = filled[0] if filled else b""
    if first.startswith(b"[") and (_is_begun(first) or (len(filled) == 1 and b"{" in first)):
        return "a JSON array of rows", "'.[]'"
    # A row that was cut is followed by the next row, not by a part of itself.
    start = b"".join(filled[:2])
    if (
        len(filled) > 1
        and _is_begun(first)
        and (_is_begun(start) or _is_value(start))
        and not any(map(_is_row, filled))
    ):
        return "pretty-printed JSON, an object over several lines", "."
    return "", ""


def _is_begun(text: bytes) -> bool:
    """Whether a text is the beginning of a JSON object or array."""
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        return text[:1] in (b"{", b"[") and "truncated" in str(error)
    except UNREADABLE_ROW:
        return False
    return False


def _is_value(text: bytes) -> bool:
    return _decoded(text) is not None


def _is_row(line: bytes) -> bool:
    return row_format(_decoded(line)) is not None


def _decoded(text: bytes) -> object:
    try:
        return msgspec.json.decode(text)
    except UNREADABLE_ROW:
        return None


def _command(name: str, program: str) -> str:
    """A shell command that writes a converted copy of a file.

    :param program: command that reads from standard input
    """
    path = PurePosixPath(name)
    packed = path.suffix == ".gz"
    stem = path.with_suffix("") if packed else path
    steps = [f"{'gcloud storage cat' if '://' in name else 'cat'} {shlex.quote(name)}", program]
    if packed:
        steps.insert(1, "gunzip -c")
    return f"{' | '.join(steps)} > {shlex.quote(f'{stem.stem}-converted{stem.suffix}')}"


def csv_header(lines: Sequence[bytes], columns: ColumnNames) -> CsvHeader:
    """Look for the separator with which the header of a CSV file has both columns, or else most columns.

    :param lines: first lines of the file
    """
    first = next((line for line in lines if line.strip()), b"")[:MAX_HEADER].decode(errors="replace")
    headers = {separator: _fields(first, separator) for separator in SEPARATORS}
    wanted = {columns.prompt, columns.response}
    for separator, fields in headers.items():
        if wanted <= {*fields}:
            return CsvHeader(separator, has_columns=True)
    return CsvHeader(max(headers, key=lambda separator: len(headers[separator])), has_columns=False)


def _fields(header: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([header.rstrip("\r")], delimiter=separator), [])
    except csv.Error:
        return []
