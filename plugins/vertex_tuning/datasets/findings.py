"""What is wrong or odd in a dataset: said by place, counted by kind, kept in a file. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import IO, Final, Literal

import msgspec

from vertex_tuning.plain_text import plain, shorten

FINDINGS_SHOWN: Final = 20
"""Errors, and as many warnings, kept for a log."""
WARNINGS_OF_A_KIND: Final = 5
"""Of them; what is odd of the whole dataset is found last, and would not be seen for all the duplicates."""
MAX_WRITTEN: Final = 1_000_000
"""Findings written to the file: the rest is only counted, since ten million rows can be wrong in ten ways each."""
_MAX_TEXT: Final = 80
_LARGE: Final = 10**20

Severity = Literal["error", "warning", "dropped"]


class Problem(msgspec.Struct, frozen=True):
    """Something about one row, before it is known where that lies.

    :param kind: a word to count by
    :param path: JSON path inside the row, empty for the row itself
    :param warning: whether the row can be used nevertheless
    """

    kind: str
    path: str
    found: str
    expected: str
    warning: bool = False


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem and its place.

    :param severity: `error` refuses the dataset; `dropped` is an error whose row was left out instead
    :param line: from 1; 0 when it is about the whole file
    """

    kind: str
    severity: Severity
    file: str
    line: int = 0
    path: str = ""
    found: str = ""
    expected: str = ""

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" if self.line else self.file
        path = f": {self.path}" if self.path else ""
        return f"{place}{path}: found {self.found}, expected {self.expected}."


class Findings:
    """Takes findings as they come, at a fixed cost of memory.

    :param file: where they are written, one JSON object a line; None to count only
    :param max_written: findings that are written to the file
    """

    def __init__(self, file: IO[bytes] | None = None, *, max_written: int = MAX_WRITTEN) -> None:
        self._file = file
        self._max_written = max_written
        self._encode = msgspec.json.Encoder().encode
        self._written = 0
        self.counts: dict[Severity, Counter[str]] = {"error": Counter(), "warning": Counter(), "dropped": Counter()}
        self.shown: dict[Severity, list[Finding]] = {"error": [], "warning": [], "dropped": []}

    def add(self, finding: Finding) -> None:
        counts, shown = self.counts[finding.severity], self.shown[finding.severity]
        counts[finding.kind] += 1
        if len(shown) < FINDINGS_SHOWN and (
            finding.severity != "warning" or counts[finding.kind] <= WARNINGS_OF_A_KIND
        ):
            shown.append(finding)
        if self._file is not None and self._written < self._max_written:
            self._file.write(self._encode(finding) + b"\n")
            self._written += 1

    def count(self, kind: str, severity: Severity, number: int) -> None:
        """Count findings nobody has the memory to name."""
        if number:
            self.counts[severity][kind] += number

    def total(self, severity: Severity) -> int:
        return sum(self.counts[severity].values())


def read_findings(file: IO[bytes]) -> Iterator[Finding]:
    """What a `Findings` has written."""
    decode = msgspec.json.Decoder(Finding).decode
    return (decode(line) for line in file)


def describe(value: object) -> str:
    """A value from a dataset as it may be shown: short and in plain text."""
    if isinstance(value, bytes):
        value = value[: 4 * _MAX_TEXT].decode("utf-8", "replace").strip()
    if isinstance(value, str):
        return plain(repr(shorten(value, _MAX_TEXT + 1)))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return str(value) if abs(value) < _LARGE else "a huge number"
    if isinstance(value, (list, dict)):
        name = "list" if isinstance(value, list) else "object"
        return f"a{'' if value and name == 'list' else 'n'} {'' if value else 'empty '}{name}"
    return type(value).__name__


def key_of(name: str) -> str:
    """A key as part of a path; anything but a plain short word is quoted."""
    return f".{name}" if name.isidentifier() and name.isascii() and len(name) <= _MAX_TEXT else f"[{describe(name)}]"
