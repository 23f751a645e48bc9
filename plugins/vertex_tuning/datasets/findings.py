"""Findings about a dataset: errors and warnings with their place, counted by kind, written to a file. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import IO, Final, Literal

import msgspec

from vertex_tuning.datasets.choices import MAX_ERRORS
from vertex_tuning.text.plain_text import plain, shorten

FINDINGS_SHOWN: Final = 20
"""Most errors kept for the log; also the limit for warnings and for dropped rows."""
WARNINGS_OF_A_KIND: Final = 5
"""Most warnings of a kind among them. Warnings about the whole dataset come last and must also have room."""
MAX_WRITTEN: Final = 10_000
"""Most findings written to the file. Further findings are only counted: a dataset can have 100 million of them."""
_MAX_TEXT: Final = 80
_LARGE: Final = 10**20

Severity = Literal["error", "warning", "dropped"]


class Problem(msgspec.Struct, frozen=True):
    """An error or warning about a row, without file and line.

    :param kind: word by which findings are counted, e.g. `json`
    :param path: JSON path inside the row; empty for the row itself
    :param found: the value found, as text
    :param expected: the expectation, as text
    :param warning: whether the row can be used in spite of the problem
    """

    kind: str
    path: str
    found: str
    expected: str
    warning: bool = False


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A problem with its file and line.

    :param kind: word by which findings are counted, e.g. `json`
    :param severity: `error`: the dataset is refused. `dropped`: the row has an error and was left out. `warning`: the
        row is used.
    :param file: name of the file, as the user knows it
    :param line: line in the file, from 1; 0 for the whole file
    :param path: JSON path inside the row; empty for the row itself
    :param found: the value found, as text
    :param expected: the expectation, as text
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
    """Collects findings in a fixed amount of memory.

    :param file: file to write findings to, a JSON object per line; None to write none
    :param max_written: findings that are written to the file
    :param max_errors: errors and dropped rows after which the reader stops
    """

    def __init__(
        self, file: IO[bytes] | None = None, *, max_written: int = MAX_WRITTEN, max_errors: int = MAX_ERRORS
    ) -> None:
        self._file = file
        self._max_written = max_written
        self.max_errors = max_errors
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

    def add_first(self, finding: Finding) -> None:
        """Add a finding that explains the others: it is shown before them."""
        self.add(finding)
        others = [each for each in self.shown[finding.severity] if each is not finding]
        self.shown[finding.severity] = [finding, *others][:FINDINGS_SHOWN]

    def count(self, kind: str, severity: Severity, number: int) -> None:
        """Count findings that are not written and not shown.

        :param kind: word by which findings are counted
        :param severity: severity of all these findings
        :param number: number of findings
        """
        if number:
            self.counts[severity][kind] += number

    @property
    def are_enough(self) -> bool:
        """Whether there are so many errors that nobody looks for more."""
        return self.total("error") + self.total("dropped") >= self.max_errors

    def total(self, severity: Severity) -> int:
        return sum(self.counts[severity].values())


def read_findings(file: IO[bytes]) -> Iterator[Finding]:
    """Read the findings in a file that `Findings` wrote."""
    decode = msgspec.json.Decoder(Finding).decode
    return (decode(line) for line in file)


def describe(value: object) -> str:
    """A value of a dataset as short plain text, safe for logs."""
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
    """A key as part of a JSON path. Keys other than short ASCII identifiers are quoted."""
    return f".{name}" if name.isidentifier() and name.isascii() and len(name) <= _MAX_TEXT else f"[{describe(name)}]"
