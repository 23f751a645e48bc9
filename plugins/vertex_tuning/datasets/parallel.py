"""A large file of plain Gemini rows, checked by several processes at once, each a stretch of it. Pure.

`python -m vertex_tuning.datasets.parallel JOB` is one of them. It imports no Airflow, and writes what it found to files
and to its standard output. Line numbers are those of the stretch until all are known.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import IO, Final, cast

import msgspec

from vertex_tuning.datasets.dataset_reader import Hashed, Options, Preparation, Rows, Side, Source, open_source
from vertex_tuning.datasets.duplicates import Examples
from vertex_tuning.datasets.findings import Findings, Severity, read
from vertex_tuning.datasets.formats import recognise
from vertex_tuning.datasets.lines import CHUNK, Lines, is_csv, is_gzip, read_lines
from vertex_tuning.datasets.row_sets import RowSet
from vertex_tuning.datasets.validator import Totals

_PACKAGE_DIR: Final = Path(__file__).parent.parent.parent


class Stretch(msgspec.Struct, frozen=True):
    """What one process does.

    :param name: the file as the user knows it
    :param start: its first byte, the first of a line
    :param end: the byte after its last one
    :param findings: file to write findings to, as `examples` is for examples
    """

    path: str
    name: str
    file: int
    start: int
    end: int
    training: bool
    findings: str
    examples: str


class Outcome(msgspec.Struct, frozen=True):
    """What one process found.

    :param lines: how many there are in the stretch
    :param row_set: a `RowSet` as text
    :param counts: findings by severity and kind
    """

    lines: int
    totals: Totals
    row_set: str
    blank_lines: int
    bad_rows: int
    multimodal_rows: int
    counts: dict[Severity, dict[str, int]]


def check(stretch: Stretch) -> Outcome:
    """Read a stretch of a file, in this process."""
    with ExitStack() as stack:
        findings = Findings(stack.enter_context(Path(stretch.findings).open("wb")))
        examples = Examples(stack.enter_context(Path(stretch.examples).open("wb")))
        file = stack.enter_context(Path(stretch.path).open("rb"))
        file.seek(stretch.start)
        side = Side(examples, Path(stretch.path), training=stretch.training)
        work, lines = Preparation(Options(), findings, [side]), 0
        for rows in read_lines(file, length=stretch.end - stretch.start, begins=False):
            lines += len(rows.lines)
            work.take(Rows.of(rows), stretch.name, stretch.file)
        examples.flush()
    found = work.check
    counts = {severity: dict(counter) for severity, counter in findings.counts.items()}
    return Outcome(
        lines=lines,
        totals=side.totals,
        row_set=str(side.row_set),
        blank_lines=found.blank_lines,
        bad_rows=found.bad_rows,
        multimodal_rows=found.multimodal_rows,
        counts=counts,
    )


def can_be_split(source: Source, options: Options) -> bool:
    """Whether a file can be read in parts: local, not packed, of Gemini rows, and nothing is written from it."""
    if source.path is None or is_gzip(source.name) or is_csv(source.name) or options.validation_fraction:
        return False
    if options.format not in (None, "gemini") or options.kind != "supervised" or options.on_invalid_row == "drop":
        return False
    with open_source(source) as file:
        first = next(read_lines(file), Lines(1, []))
    return not first.marked and recognise(first.lines, options.columns.prompt, options.columns.response) == "gemini"


class Parts:
    """Reads files in several processes.

    :param folder: for what they write
    """

    def __init__(self, processes: int, folder: Path) -> None:
        self._processes = processes
        self._folder = folder
        # Texts are told apart by Python's own hash, which has to be the same in all of them.
        seed = str(secrets.randbelow(2**32 - 1) + 1)
        path = os.pathsep.join(filter(None, (str(_PACKAGE_DIR), os.environ.get("PYTHONPATH"))))
        self._environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}

    def read(self, source: Source, file: int, side: Side, work: Preparation) -> None:
        """As `work.read([source], file)`.

        :param side: the only one of `work`
        :raises ChildProcessError: when a process was ended from outside
        """
        stretches = self._stretches(source, file, training=side.training)
        with ExitStack() as stack:
            running = [stack.enter_context(self._start(stretch)) for stretch in stretches]
            for process in running:
                stack.callback(process.kill)
            _hash(stretches[0].path, work.source)
            outcomes = [_outcome(process) for process in running]
        work.formats.append("gemini")
        before = 0
        for stretch, outcome in zip(stretches, outcomes, strict=True):
            _merge(stretch, outcome, before, side, work)
            before += outcome.lines

    def _start(self, stretch: Stretch) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "vertex_tuning.datasets.parallel", msgspec.json.encode(stretch).decode()]
        return subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE)

    def _stretches(self, source: Source, file: int, *, training: bool) -> list[Stretch]:
        path = cast(Path, source.path)
        with path.open("rb") as opened:
            edges = _edges(opened, path.stat().st_size, self._processes)
        return [
            Stretch(
                path=str(path),
                name=source.label,
                file=file,
                start=start,
                end=end,
                training=training,
                findings=str(self._folder / f"part-{file}-{number}.findings"),
                examples=str(self._folder / f"part-{file}-{number}.examples"),
            )
            for number, (start, end) in enumerate(pairwise(edges))
        ]


def _edges(file: IO[bytes], size: int, count: int) -> list[int]:
    """Where the stretches begin and end, about as long as each other, each at the beginning of a line."""
    edges = {0, size}
    for number in range(1, count):
        file.seek(size * number // count)
        while (line := file.readline(CHUNK)) and not line.endswith(b"\n"):
            pass
        edges.add(file.tell())
    return sorted(edges)


def _hash(path: str, hashed: Hashed) -> None:
    """Meanwhile, in this process: a hash of it all cannot be made of hashes of its parts."""
    buffer = memoryview(bytearray(CHUNK))
    with Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hashed.write(buffer[:count])


def _outcome(process: subprocess.Popen[bytes]) -> Outcome:
    output, _ = process.communicate()
    if process.returncode:
        raise ChildProcessError(f"A process that checked a part of the dataset ended with {process.returncode}.")
    return msgspec.json.decode(output, type=Outcome)


def _merge(stretch: Stretch, outcome: Outcome, before: int, side: Side, work: Preparation) -> None:
    """Add what was found in a stretch with so many lines before it."""
    side.totals.merge(outcome.totals, before)
    side.row_set.merge(RowSet.parse(outcome.row_set))
    with Path(stretch.examples).open("rb") as file:
        side.examples.extend(file, before)
    told = Counter[tuple[Severity, str]]()
    with Path(stretch.findings).open("rb") as file:
        for finding in read(file):
            told[finding.severity, finding.kind] += 1
            work.findings.add(msgspec.structs.replace(finding, line=finding.line + before))
    for severity, counts in outcome.counts.items():
        for kind, count in counts.items():
            work.findings.count(kind, severity, count - told[severity, kind])
    work.check.blank_lines += outcome.blank_lines
    work.check.bad_rows += outcome.bad_rows
    work.check.multimodal_rows += outcome.multimodal_rows


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(check(msgspec.json.decode(sys.argv[1], type=Stretch))))
