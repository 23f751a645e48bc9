"""The rows of a dataset, checked and measured one after the other, and what all of them come to. Pure."""

from __future__ import annotations

import heapq
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import add, neg
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec

from vertex_tuning.datasets.fast_path import plain_measure
from vertex_tuning.datasets.findings import Finding, Findings, Problem, describe
from vertex_tuning.datasets.limits import MAX_LINE
from vertex_tuning.datasets.row_rules import problems, too_long
from vertex_tuning.datasets.rows import Measured, has_files, measure

PROBLEMS_OF_A_ROW: Final = 10
"""Errors of one row that are shown, and as many warnings; a row can have a million parts."""
EXTREMES: Final = 20
"""Longest and shortest rows whose places are kept."""
MAX_COUNTED_LABELS: Final = 1000
"""Different short answers; where there are more, they are no labels."""

Extreme = tuple[int, int, int]
"""What rows are ordered by, the number of the file, the line."""


class Totals(msgspec.Struct):
    """What the accepted rows of one set (training or validation) come to, in a size that does not grow with them.

    :param inputs: how many rows have so many input tokens; outputs and messages (turns) likewise
    :param labels: how often each short answer occurs ("" for longer ones); None when they are too many to be labels
    :param shortest: the shortest rows, by tokens; `longest` likewise, by the negative of it
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
        """
        :param lines: of the file with this number, as many as there are of all the others
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
        """Add those of later lines of the same file."""
        self.rows += other.rows
        for mine, others in (
            (self.inputs, other.inputs),
            (self.outputs, other.outputs),
            (self.messages, other.messages),
        ):
            _add(mine, others)
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
    """The smallest of the known ones and these; of equal ones the first."""
    limit = known[-1][0] if len(known) == EXTREMES else sys.maxsize
    if min(sizes) >= limit:
        return known
    return heapq.nsmallest(
        EXTREMES, [*known, *[(size, file, line) for size, line in zip(sizes, lines, strict=True) if size < limit]]
    )


def _merged(known: list[Extreme], others: list[Extreme], lines_before: int) -> list[Extreme]:
    later = [(size, file, line + lines_before) for size, file, line in others]
    return heapq.nsmallest(EXTREMES, known + later)


def _count(counts: dict[Any, int], values: Iterable[object]) -> None:
    cast(Counter[Any], counts).update(values)


def _add(counts: dict[Any, int], others: dict[Any, int]) -> None:
    cast(Counter[Any], counts).update(others)


class RowValidator:
    """Checks and measures rows, and reports what is wrong with them.

    :param severity: of a row that cannot be used
    """

    def __init__(self, findings: Findings, severity: Literal["error", "dropped"]) -> None:
        self._findings = findings
        self._severity = severity
        self._measure_plain = plain_measure()
        self.blank_lines = self.bad_rows = self.multimodal_rows = 0

    def check(
        self, lines: Sequence[bytes], file: str, numbers: Sequence[int], *, cut: bool = False
    ) -> list[Measured | None]:
        """What is kept of each row; None for a blank line or a row that cannot be used.

        :param cut: whether the last line is the file's last and has no end
        """
        measure_plain = self._measure_plain
        measured = [measure_plain(line) for line in lines]
        if None in measured:
            for index, found in enumerate(measured):
                if found is None:
                    last = cut and index == len(lines) - 1
                    measured[index] = self._look_closer(lines[index], file, numbers[index], cut=last)
        return measured

    def refuse(self, problem: Problem, file: str, line: int) -> None:
        """Report a row that cannot be used."""
        self.bad_rows += 1
        self._report(problem, file, line)

    def _report(self, problem: Problem, file: str, line: int) -> None:
        severity = "warning" if problem.warning else self._severity
        self._findings.add(
            Finding(problem.kind, severity, file, line, problem.path.removeprefix("."), problem.found, problem.expected)
        )

    def _look_closer(self, line: bytes, file: str, number: int, *, cut: bool) -> Measured | None:
        if not line.strip():
            self.blank_lines += 1
            self._report(Problem("blank_line", "", "a blank line", "a row on every line", warning=True), file, number)
            return None
        examined = examine(line, cut=cut)
        for problem in examined.problems:
            self._report(problem, file, number)
        self.bad_rows += examined.measured is None
        self.multimodal_rows += examined.has_files
        return examined.measured


class Examined(NamedTuple):
    """The first problems of a row, and what it measures when it can be used nevertheless."""

    problems: list[Problem]
    measured: Measured | None = None
    has_files: bool = False


def examine(line: bytes, *, cut: bool = False) -> Examined:
    """Look at a row closely.

    :param cut: whether it is the file's last line and has no end
    """
    try:
        row = _decode(line, cut=cut)
    except _UnreadableError as error:
        return Examined([error.problem])
    found = _first_problems(problems(row))
    if not all(problem.warning for problem in found):
        return Examined(found)
    measured = measure(row)
    found += (too_much := list(too_long(measured[2] + measured[3])))
    return Examined(found, None if too_much else measured, has_files(row))


def _first_problems(found: Iterable[Problem]) -> list[Problem]:
    """Some errors and some warnings, in their order. Warnings never end the search: an error may follow them."""
    shown: list[Problem] = []
    counts = {True: 0, False: 0}
    for problem in found:
        counts[problem.warning] += 1
        if counts[problem.warning] <= PROBLEMS_OF_A_ROW:
            shown.append(problem)
        if counts[False] == PROBLEMS_OF_A_ROW:
            break
    return shown


class _UnreadableError(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.kind)
        self.problem = problem


def _decode(line: bytes, *, cut: bool) -> dict[str, Any]:
    """
    :raises _UnreadableError: when the line is not JSON in UTF-8
    """
    if len(line) > MAX_LINE:
        raise _UnreadableError(
            Problem("line_length", "", f"more than {MAX_LINE} bytes", f"at most {MAX_LINE} bytes a line")
        )
    try:
        line.decode()
        row: dict[str, Any] = msgspec.json.decode(line)
    except UnicodeDecodeError as error:
        problem = Problem("encoding", "", f"byte {error.start + 1} is {line[error.start]:#04x}", "UTF-8")
    except RecursionError:
        problem = Problem("nesting", "", "values in values, too deep to read", "a few levels")
    except msgspec.MsgspecError as error:
        if cut and line.lstrip().startswith(b"{"):
            problem = Problem("truncated", "", f"{describe(line[-40:])} at the end of the file", "a whole row")
        else:
            problem = Problem("json", "", f"{describe(line)} ({error})", "one JSON object per line")
    else:
        return row
    raise _UnreadableError(problem)
