"""Check and measure the rows of a dataset one by one, and add up their measures. Pure."""

from __future__ import annotations

import heapq
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from operator import add, neg
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec

from vertex_tuning.costs.media import MediaFacts
from vertex_tuning.datasets.fast_path import PlainMeasure
from vertex_tuning.datasets.findings import Finding, Findings, Problem, describe
from vertex_tuning.datasets.formats import mixed_formats, row_format
from vertex_tuning.datasets.json_fields import camel_case, repeated_key, without_nulls
from vertex_tuning.datasets.limits import MAX_EXAMPLE_TOKENS, MAX_LINE
from vertex_tuning.datasets.media_rules import file_parts, file_tokens, media_problems
from vertex_tuning.datasets.row_rules import problems, too_long
from vertex_tuning.datasets.rows import Measured, measure

PROBLEMS_OF_A_ROW: Final = 10
"""Most errors of a row that are reported; also the limit for warnings. A row can have a million parts."""
EXTREMES: Final = 20
"""Number of longest rows, and of shortest rows, whose places are kept."""
_LONG_ROW: Final = 2**20
"""Bytes of a row whose objects are counted before it is decoded, for bounded memory."""
MAX_COUNTED_LABELS: Final = 1000
"""Most different short answers that are counted. More different answers are not labels of a classifier."""
_ONE_A_FILE: Final = ("mixed_formats", "preference")
_TOO_DEEP: Final = Problem("nesting", "", "nested values, too deep to read", "a few levels")

Extreme = tuple[int, int, int]
"""Sort key of a row (its number of tokens, or the negative of it), number of its file, line."""


class Totals(msgspec.Struct):
    """Totals of the accepted rows of the training set or the validation set. The size of this object is bounded.

    :param rows: number of rows
    :param inputs: number of rows by number of input tokens
    :param outputs: number of rows by number of output tokens
    :param messages: number of rows by number of turns
    :param labels: number of occurrences of each short answer, `""` for all longer answers; None if there are more than
        `MAX_COUNTED_LABELS` short answers
    :param longest: the longest rows, by the negative number of tokens
    :param shortest: the shortest rows, by number of tokens
    """

    rows: int = 0
    inputs: dict[int, int] = msgspec.field(default_factory=Counter)
    outputs: dict[int, int] = msgspec.field(default_factory=Counter)
    messages: dict[int, int] = msgspec.field(default_factory=Counter)
    labels: dict[str, int] | None = msgspec.field(default_factory=Counter)
    longest: list[Extreme] = []
    shortest: list[Extreme] = []

    def add(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        messages: Sequence[int],
        labels: Sequence[str],
        lines: Sequence[int],
        file: int,
    ) -> None:
        """Add rows of a file. The lists have one entry per row.

        :param inputs: input tokens
        :param outputs: output tokens
        :param messages: turns
        :param labels: short answers, `""` for longer answers
        :param lines: lines in the file, from 1
        :param file: number of the file, from 0
        """
        self.rows += len(lines)
        _count(self.inputs, inputs)
        _count(self.outputs, outputs)
        _count(self.messages, messages)
        if self.labels is not None:
            _count(self.labels, labels)
            self._limit_labels()
        tokens = list(map(add, inputs, outputs))
        self.shortest = _first(self.shortest, tokens, lines, file)
        self.longest = _first(self.longest, list(map(neg, tokens)), lines, file)

    def merge(self, other: Totals, lines_before: int) -> None:
        """Add the totals of later lines of the same file.

        :param lines_before: number of lines in the file before the first line of `other`
        """
        self.rows += other.rows
        for counts, more in (
            (self.inputs, other.inputs),
            (self.outputs, other.outputs),
            (self.messages, other.messages),
        ):
            _add(counts, more)
        if self.labels is None or other.labels is None:
            self.labels = None
        else:
            _add(self.labels, other.labels)
        self._limit_labels()
        self.shortest = _merged(self.shortest, other.shortest, lines_before)
        self.longest = _merged(self.longest, other.longest, lines_before)

    def _limit_labels(self) -> None:
        if self.labels is not None and len(self.labels) > MAX_COUNTED_LABELS:
            self.labels = None


def _first(known: list[Extreme], sizes: Sequence[int], lines: Sequence[int], file: int) -> list[Extreme]:
    """The `EXTREMES` smallest of the known rows and the new rows; of equal rows the first."""
    limit = known[-1][0] if len(known) == EXTREMES else sys.maxsize
    if min(sizes) >= limit:
        return known
    return heapq.nsmallest(
        EXTREMES, [*known, *[(size, file, line) for size, line in zip(sizes, lines, strict=True) if size < limit]]
    )


def _merged(known: list[Extreme], later: list[Extreme], lines_before: int) -> list[Extreme]:
    shifted = [(size, file, line + lines_before) for size, file, line in later]
    return heapq.nsmallest(EXTREMES, known + shifted)


def _count(counts: dict[Any, int], values: Iterable[object]) -> None:
    cast(Counter[Any], counts).update(values)


def _add(counts: dict[Any, int], more: dict[Any, int]) -> None:
    cast(Counter[Any], counts).update(more)


class RowValidator:
    """Checks and measures rows, and reports their problems.

    :param findings: collects the problems
    :param severity: severity of an error in a row
    :param facts: what is known about files for the base model
    """

    def __init__(
        self, findings: Findings, severity: Literal["error", "dropped"], facts: MediaFacts = MediaFacts()
    ) -> None:
        self._findings = findings
        self._severity = severity
        self._facts = facts
        self._plain = PlainMeasure()
        self._reported: set[tuple[str, str]] = set()
        self.blank_lines = self.bad_rows = self.multimodal_rows = self.rows_with_nulls = 0

    def skip_blank(self, number: int, file: str, first: int) -> None:
        """Count blank lines of a part of a file that has hardly anything else, with one warning.

        :param number: number of blank lines
        :param file: name of the file, as the user knows it
        :param first: number of the first blank line
        """
        if number:
            self.blank_lines += number
            problem = Problem("blank_line", "", f"{number} blank lines from here", "a row on every line", warning=True)
            self.report(problem, file, first)
            self._findings.count("blank_line", "warning", number - 1)

    def check(
        self, lines: Sequence[bytes], file: str, numbers: Sequence[int], *, cut: bool = False
    ) -> tuple[Sequence[bytes], list[Measured | None]]:
        """Check lines and measure their rows. A blank line or an unusable row gives None.

        :param lines: lines of a file
        :param file: name of the file, as the user knows it
        :param numbers: number of each line in the file, from 1
        :param cut: whether the last of these lines is the last line of the file and has no line end
        :returns: the lines without fields that are `null`, and the measures
        """
        measured = self._plain.measure(lines)
        if None not in measured:
            return lines, measured
        checked = list(lines)
        for index, measure_of_row in enumerate(measured):
            if measure_of_row is None:
                last = cut and index == len(lines) - 1
                checked[index], measured[index] = self._check_fully(lines[index], file, numbers[index], cut=last)
        return checked, measured

    def refuse(self, problem: Problem, file: str, line: int) -> None:
        """Report an unusable row.

        :param file: name of the file, as the user knows it
        :param line: line in the file, from 1
        """
        self.bad_rows += 1
        self.report(problem, file, line)

    def report(self, problem: Problem, file: str, line: int) -> None:
        """Report a problem of a row.

        :param file: name of the file, as the user knows it
        :param line: line in the file, from 1
        """
        severity = "warning" if problem.warning else self._severity
        self.add(
            Finding(problem.kind, severity, file, line, problem.path.removeprefix("."), problem.found, problem.expected)
        )

    def add(self, finding: Finding) -> None:
        """Add a finding about a row. Rows of a wrong format in a file are one mistake, so only the first is added."""
        if finding.kind in _ONE_A_FILE and finding.severity == "error":
            if (finding.kind, finding.file) in self._reported:
                return
            self._reported.add((finding.kind, finding.file))
        self._findings.add(finding)

    def _check_fully(self, line: bytes, file: str, number: int, *, cut: bool) -> tuple[bytes, Measured | None]:
        if not line.strip():
            self.blank_lines += 1
            self.report(Problem("blank_line", "", "a blank line", "a row on every line", warning=True), file, number)
            return line, None
        examined = examine(line, cut=cut, facts=self._facts)
        for problem in examined.problems:
            self.report(problem, file, number)
        self.bad_rows += examined.measured is None
        self.multimodal_rows += examined.has_files
        self.rows_with_nulls += examined.line is not line
        return examined.line, examined.measured


class Examined(NamedTuple):
    """The result of checking a row by all rules.

    :param problems: the first errors and warnings
    :param line: the row without fields that are `null`
    :param measured: the measure of the row; None if the row cannot be used
    :param has_files: whether the row has files
    """

    problems: list[Problem]
    line: bytes
    measured: Measured | None = None
    has_files: bool = False


def examine(line: bytes, *, cut: bool = False, facts: MediaFacts = MediaFacts()) -> Examined:
    """Check a row by all rules and measure it.

    :param line: line with the row
    :param cut: whether the line is the last line of the file and has no line end
    :param facts: what is known about files for the base model
    """
    if len(line) > _LONG_ROW and line.count(b"{") + line.count(b"[") > MAX_EXAMPLE_TOKENS:
        found = f"more than {MAX_EXAMPLE_TOKENS} objects and lists in a row"
        return Examined([Problem("tokens", "", found, f"at most {MAX_EXAMPLE_TOKENS} tokens")], line)
    try:
        return _examined(line, decode_row(line, cut=cut), facts)
    except UnreadableRowError as error:
        return Examined([error.problem], line)
    except RecursionError:
        return Examined([_TOO_DEEP], line)


def _examined(line: bytes, decoded: Any, facts: MediaFacts) -> Examined:
    line, row = fields_set(line, decoded)
    row_problems = _first_problems(_problems(row))
    if not all(problem.warning for problem in row_problems):
        return Examined(row_problems, line)
    files = file_parts(row, facts)
    row_problems += _first_problems(media_problems(row, files, facts))
    if not all(problem.warning for problem in row_problems):
        return Examined(row_problems, line)
    measured = measure(camel_case(row), file_tokens(files, facts).low)
    row_problems += (too_much := list(too_long(measured[2] + measured[3])))
    return Examined(row_problems, line, None if too_much else measured, bool(files))


def fields_set(line: bytes, row: Any) -> tuple[bytes, Any]:
    """A line and its decoded row without fields that are `null`."""
    if b"null" not in line or not isinstance(row, dict):
        return line, row
    fields = without_nulls(row)
    return (line, row) if fields == row else (msgspec.json.encode(fields), fields)


def _problems(row: Any) -> Iterator[Problem]:
    form = row_format(row)
    return iter([mixed_formats(form, "gemini")]) if form not in (None, "gemini", "preference") else problems(row)


def _first_problems(row_problems: Iterable[Problem]) -> list[Problem]:
    """At most `PROBLEMS_OF_A_ROW` errors and as many warnings, in their order.

    The search continues after many warnings, since an error may follow.
    """
    shown: list[Problem] = []
    counts = {True: 0, False: 0}
    for problem in row_problems:
        counts[problem.warning] += 1
        if counts[problem.warning] <= PROBLEMS_OF_A_ROW:
            shown.append(problem)
        if counts[False] == PROBLEMS_OF_A_ROW:
            break
    return shown


class UnreadableRowError(Exception):
    """A line is not a JSON value in UTF-8, or its keys are not unique.

    :param problem: the reason
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.kind)
        self.problem = problem


def decode_row(line: bytes, *, cut: bool = False) -> Any:
    """Decode a line.

    :param cut: whether the line is the last line of the file and has no line end
    :raises UnreadableRowError: the line is too long, is not JSON in UTF-8, or has a key twice
    """
    if len(line) > MAX_LINE:
        raise UnreadableRowError(
            Problem("line_length", "", f"more than {MAX_LINE} bytes", f"at most {MAX_LINE} bytes a line")
        )
    try:
        line.decode()
        row = msgspec.json.decode(line)
        repeated = repeated_key(line)
    except UnicodeDecodeError as error:
        problem = Problem("encoding", "", f"byte {error.start + 1} is {line[error.start]:#04x}", "UTF-8")
    except RecursionError:
        problem = _TOO_DEEP
    except msgspec.MsgspecError as error:
        if cut and line.lstrip().startswith(b"{"):
            problem = Problem("truncated", "", f"{describe(line[-40:])} at the end of the file", "a whole row")
        else:
            problem = Problem("json", "", f"{describe(line)} ({error})", "one JSON object per line")
    else:
        if not repeated:
            return row
        problem = Problem("repeated_key", repeated, "this key twice", "each key once; only the last one would be read")
    raise UnreadableRowError(problem)
