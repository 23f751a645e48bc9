"""Check a large file of Gemini rows in parallel: each process checks a shard. Pure.

`python -m vertex_tuning.datasets.parallel SHARD` is the command of a process. It does not import Airflow. It writes
findings and examples to files, and its result to standard output. Its line numbers count from the start of the shard.
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

from vertex_tuning.costs.media import MediaFacts
from vertex_tuning.datasets.dataset_reader import DatasetReader, Hashed, Source, Split, open_source
from vertex_tuning.datasets.duplicates import Examples, SetName
from vertex_tuning.datasets.file_layouts import layout_problem
from vertex_tuning.datasets.findings import Findings, Severity, read_findings
from vertex_tuning.datasets.formats import recognise
from vertex_tuning.datasets.lines import READ_CHUNK, Lines, is_csv, is_gzip, read_lines
from vertex_tuning.datasets.options import DatasetOptions
from vertex_tuning.datasets.row_sets import RowSet
from vertex_tuning.datasets.validator import Totals

_PACKAGE_DIR: Final = Path(__file__).parent.parent.parent


class Shard(msgspec.Struct, frozen=True):
    """The part of a file that a process checks.

    :param path: path of the file
    :param name: name of the file, as the user knows it
    :param file: number of the file, from 0
    :param start: offset of the first byte, which is the first byte of a line
    :param end: offset after the last byte
    :param part: the set of its rows
    :param findings: path of the file to write findings to
    :param examples: path of the file to write hashes of examples to
    :param facts: what is known about files for the base model
    :param max_errors: errors after which the process stops
    """

    path: str
    name: str
    file: int
    start: int
    end: int
    part: SetName
    findings: str
    examples: str
    facts: MediaFacts
    max_errors: int


class ShardResult(msgspec.Struct, frozen=True):
    """The result of a process.

    :param lines: number of lines in the shard
    :param totals: totals of the accepted rows
    :param row_set: hash of the rows: a `RowSet` as text
    :param blank_lines: number of blank lines
    :param bad_rows: number of rows that cannot be used
    :param multimodal_rows: number of rows with files
    :param rows_with_nulls: number of rows with fields that are `null`
    :param counts: number of findings by severity and kind
    """

    lines: int
    totals: Totals
    row_set: str
    blank_lines: int
    bad_rows: int
    multimodal_rows: int
    rows_with_nulls: int
    counts: dict[Severity, dict[str, int]]


def check(shard: Shard) -> ShardResult:
    """Check a shard of a file in this process."""
    with ExitStack() as stack:
        findings = Findings(stack.enter_context(Path(shard.findings).open("wb")), max_errors=shard.max_errors)
        examples = Examples(stack.enter_context(Path(shard.examples).open("wb")))
        file = stack.enter_context(Path(shard.path).open("rb"))
        file.seek(shard.start)
        split = Split(examples, Path(shard.path), part=shard.part)
        work, lines = DatasetReader(DatasetOptions(), findings, [split], shard.facts), 0
        for rows in read_lines(file, length=shard.end - shard.start, begins=False):
            lines += len(rows.lines)
            work.take(work.rows_of(rows, shard.name), shard.name, shard.file)
            if findings.are_enough:
                break
        examples.flush()
    validator = work.check
    counts = {severity: dict(counter) for severity, counter in findings.counts.items()}
    return ShardResult(
        lines=lines,
        totals=split.totals,
        row_set=str(split.row_set),
        blank_lines=validator.blank_lines,
        bad_rows=validator.bad_rows,
        multimodal_rows=validator.multimodal_rows,
        rows_with_nulls=validator.rows_with_nulls,
        counts=counts,
    )


def can_be_split(source: Source, options: DatasetOptions) -> bool:
    """Whether a file can be checked in shards: it is local and not compressed, and its rows need no conversion."""
    if source.path is None or is_gzip(source.name) or is_csv(source.name) or options.validation_fraction:
        return False
    if options.format not in (None, "gemini") or options.on_invalid_row == "drop":
        return False
    with open_source(source) as file:
        first = next(read_lines(file), Lines(1, []))
    columns = options.column_names
    is_gemini = recognise(first.lines, columns.prompt, columns.response) in (None, "gemini")
    return is_gemini and not first.marked and not layout_problem(source.name, first.lines)


class ShardReader:
    """Checks files in several processes.

    :param processes: number of processes
    :param folder: existing folder for the files that the processes write
    :param facts: what is known about files for the base model
    """

    def __init__(self, processes: int, folder: Path, facts: MediaFacts) -> None:
        self._processes = processes
        self._folder = folder
        self._facts = facts
        # Texts are compared by Python's hash, so all processes need the same seed for it.
        seed = str(secrets.randbelow(2**32 - 1) + 1)
        path = os.pathsep.join(filter(None, (str(_PACKAGE_DIR), os.environ.get("PYTHONPATH"))))
        self._environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path}

    def read(self, source: Source, file: int, split: Split, work: DatasetReader) -> None:
        """Check a file in several processes, with the same effect as `work.read([source], file)`.

        :param source: a file for which `can_be_split` is true
        :param file: number of the file, from 0
        :param split: the only split of `work`
        :param work: the reader that collects the results
        :raises ChildProcessError: a process failed or was ended
        """
        shards = self._shards(source, file, work.findings.max_errors, part=split.part)
        with ExitStack() as stack:
            running = [stack.enter_context(self._start(shard)) for shard in shards]
            for process in running:
                stack.callback(process.kill)
            _hash(shards[0].path, work.source)
            outcomes = [_outcome(process) for process in running]
        work.formats.append("gemini")
        before = 0
        for shard, outcome in zip(shards, outcomes, strict=True):
            _merge(shard, outcome, before, split, work)
            before += outcome.lines
        work.stop_after_errors(source)

    def _start(self, shard: Shard) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "vertex_tuning.datasets.parallel", msgspec.json.encode(shard).decode()]
        return subprocess.Popen(command, env=self._environment, stdout=subprocess.PIPE)

    def _shards(self, source: Source, file: int, max_errors: int, *, part: SetName) -> list[Shard]:
        path = cast(Path, source.path)
        with path.open("rb") as opened:
            edges = _edges(opened, path.stat().st_size, self._processes)
        return [
            Shard(
                path=str(path),
                name=source.label,
                file=file,
                start=start,
                end=end,
                part=part,
                findings=str(self._folder / f"part-{file}-{number}.findings"),
                examples=str(self._folder / f"part-{file}-{number}.examples"),
                facts=self._facts,
                max_errors=max_errors,
            )
            for number, (start, end) in enumerate(pairwise(edges))
        ]


def _edges(file: IO[bytes], size: int, count: int) -> list[int]:
    """Offsets of the beginnings of shards, and the size of the file. Shards have similar lengths and whole lines."""
    edges = {0, size}
    for number in range(1, count):
        file.seek(size * number // count)
        while (line := file.readline(READ_CHUNK)) and not line.endswith(b"\n"):
            pass
        edges.add(file.tell())
    return sorted(edges)


def _hash(path: str, hashed: Hashed) -> None:
    """Compute the hash of the whole file in this process, since hashes of shards cannot be combined."""
    buffer = memoryview(bytearray(READ_CHUNK))
    with Path(path).open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            hashed.write(buffer[:count])


def _outcome(process: subprocess.Popen[bytes]) -> ShardResult:
    output, _ = process.communicate()
    if process.returncode:
        raise ChildProcessError(f"A process that checked a part of the dataset ended with code {process.returncode}.")
    return msgspec.json.decode(output, type=ShardResult)


def _merge(shard: Shard, outcome: ShardResult, before: int, split: Split, work: DatasetReader) -> None:
    """Add the result of a shard.

    :param before: number of lines in the file before the shard
    """
    split.totals.merge(outcome.totals, before)
    split.row_set.merge(RowSet.parse(outcome.row_set))
    with Path(shard.examples).open("rb") as file:
        split.examples.extend(file, before)
    read_counts = Counter[tuple[Severity, str]]()
    with Path(shard.findings).open("rb") as file:
        for finding in read_findings(file):
            read_counts[finding.severity, finding.kind] += 1
            work.check.add(msgspec.structs.replace(finding, line=finding.line + before))
    for severity, counts in outcome.counts.items():
        for kind, count in counts.items():
            work.findings.count(kind, severity, count - read_counts[severity, kind])
    work.check.blank_lines += outcome.blank_lines
    work.check.bad_rows += outcome.bad_rows
    work.check.multimodal_rows += outcome.multimodal_rows
    work.check.rows_with_nulls += outcome.rows_with_nulls


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(check(msgspec.json.decode(sys.argv[1], type=Shard))))
