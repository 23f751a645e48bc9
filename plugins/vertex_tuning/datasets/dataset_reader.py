"""Read the files of a training or validation set once, and write one file of Gemini rows. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from typing import IO, Final, Literal, NamedTuple

import msgspec

from vertex_tuning.costs.media import MediaFacts
from vertex_tuning.datasets.choices import Format
from vertex_tuning.datasets.conversations import from_conversation
from vertex_tuning.datasets.duplicates import Examples, SetName
from vertex_tuning.datasets.file_layouts import csv_header, layout_problem
from vertex_tuning.datasets.findings import Finding, Findings, Problem, describe
from vertex_tuning.datasets.formats import (
    FORMAT_LABELS,
    PAIR_FIELDS,
    ConversionError,
    Converted,
    Recognised,
    from_fields,
    from_pair,
    from_texts,
    mixed_formats,
    recognise,
    row_format,
)
from vertex_tuning.datasets.limits import MAX_DATASET_BYTES, MAX_READ
from vertex_tuning.datasets.lines import (
    MANY_LINES,
    UNPACKING_ERRORS,
    Lines,
    Record,
    is_csv,
    is_gzip,
    os_errors,
    read_csv,
    read_lines,
    unpacked,
)
from vertex_tuning.datasets.options import DatasetOptions
from vertex_tuning.datasets.row_rules import PREFERENCE_EXPECTED, PREFERENCE_FOUND
from vertex_tuning.datasets.row_sets import RowSet
from vertex_tuning.datasets.rows import Measured
from vertex_tuning.datasets.splitting import part_of
from vertex_tuning.datasets.validator import RowValidator, Totals, UnreadableRowError, decode_row, fields_set
from vertex_tuning.text.plain_text import plain

_CONVERSATIONS: Final = ("messages", "chat", "sharegpt")
_BATCH: Final = 500
_HASHING: Final = ThreadPoolExecutor(1, "hashing")
"""The thread that hashes what is read: it takes a tenth of the time of a check, and needs no Python."""


class Source(NamedTuple):
    """A file of a dataset.

    :param name: name, as the user knows it; its ending `.gz` or `.csv` gives the format
    :param open: function that opens the file for reading from its beginning
    :param path: path of a local file; not set for other files
    """

    name: str
    open: Callable[[], IO[bytes]]
    path: Path | None = None

    @classmethod
    def local(cls, path: Path, name: str | None = None) -> Source:
        return cls(name or str(path), lambda: path.open("rb"), path)

    @property
    def label(self) -> str:
        """The name in findings and reports, as plain text: a file name may have unsafe characters."""
        return plain(self.name)


@contextmanager
def open_source(source: Source) -> Iterator[IO[bytes]]:
    """Open a source for reading, for the length of a `with` block.

    :raises DatasetError: it cannot be opened
    """
    with os_errors(source.label):
        opened = source.open()
    with opened as file:
        yield file


class Rows(NamedTuple):
    """Gemini rows as bytes, with their line numbers in the file."""

    lines: Sequence[bytes]
    numbers: Sequence[int]
    cut: bool = False


class Hashed:
    """Counts and hashes bytes, and writes them to a file if it has one, up to the size of a dataset."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self._pending: Future[None] | None = None
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self.size += len(data)
        if self._file is not None and self.size <= MAX_DATASET_BYTES:
            self._file.write(data)

    def hash_later(self, data: bytes) -> None:
        """Count bytes, and hash them in another thread while the caller uses them."""
        self.size += len(data)
        self._wait()
        self._pending = _HASHING.submit(self._digest.update, data)

    def _wait(self) -> None:
        if self._pending:
            self._pending.result()

    @property
    def sha256(self) -> str:
        self._wait()
        return self._digest.hexdigest()


class Split:
    """The rows of one set of a dataset.

    :param part: which set
    :param output: file for the rows; None if the source is used unchanged
    """

    def __init__(self, examples: Examples, path: Path, *, part: SetName) -> None:
        self.examples = examples
        self.part = part
        self._file: IO[bytes] | None = None
        self.path = path
        self.totals = Totals()
        self.row_set = RowSet()
        self.output: Hashed | None = None

    def open(self) -> None:
        """Write all further rows to a file."""
        if self.output is None:
            self._file = self.path.open("wb")
            self.output = Hashed(self._file)

    def close(self) -> None:
        if self._file:
            self._file.close()

    def copy(self, source: Source) -> None:
        """Write the rows of a valid file of Gemini rows without their fields that are `null`."""
        self.open()
        with open_source(source) as file, os_errors(source.label):
            for line in (line for chunk in read_lines(file) for line in chunk.lines):
                self._write([fields_set(line, msgspec.json.decode(line))[0]] if line.strip() else [])
        self.close()

    def _write(self, lines: Sequence[bytes]) -> None:
        if self.output is not None:
            self.output.write(b"".join([line.strip() + b"\n" for line in lines]))

    def take(self, lines: Sequence[bytes], numbers: Sequence[int], measured: Sequence[Measured], file: int) -> None:
        """Add rows that have been checked and measured.

        :param numbers: line numbers of the rows in the file
        :param file: number of the file
        """
        if not measured:
            return
        prompts, answers, inputs, outputs, messages, labels = zip(*measured, strict=True)
        self.examples.add(prompts, answers, numbers, file, part=self.part)
        self.totals.add(inputs, outputs, messages, labels, numbers, file)
        self.row_set.add(lines)
        self._write(lines)


class DatasetReader:
    """Reads the files of one set.

    :param splits: the set, or several sets if the rows are split
    :param facts: what is known about files for the base model
    """

    def __init__(
        self, options: DatasetOptions, findings: Findings, splits: list[Split], facts: MediaFacts = MediaFacts()
    ) -> None:
        self.options = options
        self.columns = options.column_names
        self.findings = findings
        self.splits = splits
        severity: Literal["error", "dropped"] = "dropped" if options.on_invalid_row == "drop" else "error"
        self.check = RowValidator(findings, severity, facts)
        self.formats: list[Format] = []
        self.converted = 0
        self.is_preference = False
        self.must_rewrite = len(splits) > 1
        self.source = Hashed()

    def read(self, sources: Sequence[Source], first_file: int) -> None:
        """Read and check the files of this set.

        :param first_file: number of the first file
        """
        self.must_rewrite |= len(sources) > 1
        for number, source in enumerate(sources, first_file):
            self.must_rewrite |= is_gzip(source.name)
            try:
                with open_source(source) as raw, unpacked(source.name, raw) as file:
                    for rows in self._rows(source, file):
                        self.take(rows, source.label, number)
                        if self.findings.are_enough:
                            break
            except UNPACKING_ERRORS as error:
                self._refuse("gzip", source.label, describe(str(error)), "a whole gzip file")
            except _TooLargeError:
                self._refuse(
                    "bytes", source.label, f"more than {MAX_READ} bytes", "a smaller file; the rest was not read"
                )
                return
            if self.stop_after_errors(source):
                return

    def stop_after_errors(self, source: Source) -> bool:
        """Report that the rest of a file was not read, if there are so many errors that nobody looks for more."""
        if self.findings.are_enough:
            found = f"{self.findings.max_errors:,} errors or more; the rest was not checked"
            expected = "fewer errors, or a higher max_errors"
            self.findings.add_first(Finding("stopped", "error", source.label, found=found, expected=expected))
        return self.findings.are_enough

    def _refuse(self, kind: str, name: str, found: str, expected: str) -> None:
        self.findings.add(Finding(kind, "error", name, found=found, expected=expected))

    def _hash(self, chunk: bytes) -> None:
        self.source.hash_later(chunk)
        if self.source.size > MAX_READ:
            raise _TooLargeError

    def _rows(self, source: Source, file: IO[bytes]) -> Iterator[Rows]:
        name = source.label
        chunks = self._chunks(name, file)
        first = next(chunks, None)
        if first is None:
            return
        problem = layout_problem(source.label, first.lines)
        if problem:
            self._refuse(problem.kind, name, problem.found, problem.expected)
            return
        form = self._format(source, first)
        if form == "preference":
            self.is_preference = True
            self._refuse("preference", name, PREFERENCE_FOUND, PREFERENCE_EXPECTED)
            return
        self.formats.append(form)
        self.must_rewrite |= form != "gemini" or first.marked
        if self.must_rewrite or self.options.on_invalid_row == "drop":
            for split in self.splits:
                split.open()
        everything = _chain(first, chunks)
        if form == "csv":
            yield from self._from_csv(name, everything, csv_header(first.lines, self.columns).separator)
            return
        for lines in everything:
            rows = self.rows_of(lines, name)
            yield rows if form == "gemini" else self._from_json(name, rows, form)

    def _format(self, source: Source, first: Lines) -> Recognised:
        """The format that the rows of a file show; otherwise the one that is set, or Gemini's.

        The warning about another format than is set stands for the whole file: a form may name a file of any format.
        """
        shown = recognise(first.lines, self.columns.prompt, self.columns.response)
        if shown is None and (is_csv(source.name) or csv_header(first.lines, self.columns).has_columns):
            shown = "csv"
        chosen = self.options.format
        if shown is None or {shown, chosen} == {"messages", "chat"}:
            return chosen or shown or "gemini"
        if chosen not in (None, shown) and shown != "preference":
            found = f"rows of the format {shown}, which are read as such"
            expected = f"{chosen}, which is set as the format. Correct or remove the setting"
            self.findings.add(Finding("format", "warning", source.label, found=found, expected=expected))
        return shown

    def _chunks(self, name: str, file: IO[bytes]) -> Iterator[Lines]:
        with os_errors(name):
            yield from read_lines(file, self._hash)

    def rows_of(self, lines: Lines, name: str) -> Rows:
        """The lines as rows with their numbers. Blank lines are left out where they may be millions."""
        numbers = range(lines.first, lines.first + len(lines.lines))
        if len(lines.lines) < MANY_LINES:
            return Rows(lines.lines, numbers, lines.cut)
        filled = list(map(bytes.strip, lines.lines))
        rows = Rows(list(compress(lines.lines, filled)), list(compress(numbers, filled)), lines.cut)
        if blank := len(filled) - len(rows.lines):
            first = next(number for number, line in zip(numbers, filled, strict=True) if not line)
            self.check.skip_blank(blank, name, first)
        return rows

    def take(self, rows: Rows, name: str, file: int) -> None:
        lines, measured = self.check.check(rows.lines, name, rows.numbers, cut=rows.cut)
        numbers = rows.numbers
        if None in measured:
            lines, numbers = list(compress(lines, measured)), list(compress(numbers, measured))
        kept = [found for found in measured if found is not None]
        if len(self.splits) == 1:
            self.splits[0].take(lines, numbers, kept, file)
        else:
            self._split(lines, numbers, kept, file)

    def _split(self, lines: Sequence[bytes], numbers: Sequence[int], measured: list[Measured], file: int) -> None:
        parts = [self._part_of(line) for line in lines]
        for split in self.splits:
            mine = [split.part == part for part in parts]
            chosen = (list(compress(lines, mine)), list(compress(numbers, mine)), list(compress(measured, mine)))
            split.take(*chosen, file)

    def _part_of(self, line: bytes) -> SetName:
        row, options = msgspec.json.decode(line), self.options
        return part_of(row, options.split_seed, options.validation_fraction or 0, options.test_fraction or 0)

    def _from_json(self, name: str, rows: Rows, form: Format) -> Rows:
        made = [
            (self._convert(line, name, number, form), number)
            for line, number in zip(rows.lines, rows.numbers, strict=True)
        ]
        return _rows_of((line, number) for line, number in made if line is not None)

    def _convert(self, line: bytes, name: str, number: int, form: Format) -> bytes | None:
        """Convert a line to a row; an invalid line is returned unchanged, for the checks to report."""
        try:
            _, found = fields_set(line, decode_row(line))
            converted = self._converted(found, form)
        except (UnreadableRowError, RecursionError):
            return line
        except ConversionError as error:
            self.check.refuse(_named(error.problem, form), name, number)
            return None
        for warning in converted.warnings:
            self.check.report(warning, name, number)
        self.converted += 1
        return msgspec.json.encode(converted.row)

    def _converted(self, row: object, form: Format) -> Converted:
        """Convert a decoded row.

        :raises ConversionError: the row has another format, or a part of it would be lost
        """
        columns, options = self.columns, self.options
        shown = row_format(row, columns.prompt, columns.response)
        if shown not in (None, form) and {shown, form} != {"messages", "chat"}:
            raise ConversionError(mixed_formats(shown, form))
        if form in _CONVERSATIONS:
            return from_conversation(row, form, options.system_instruction, options.consecutive_turns)
        if form in PAIR_FIELDS:
            return from_pair(row, form, options.system_instruction)
        return from_fields(row, columns.prompt, columns.response, options.system_instruction)

    def _from_csv(self, name: str, chunks: Iterator[Lines], separator: str) -> Iterator[Rows]:
        records = read_csv(chunks, separator)
        columns = self._columns(name, next(records, None), separator)
        if columns is None:
            return
        made: list[tuple[bytes, int]] = []
        for record in records:
            if self.findings.are_enough:
                break
            row = self._convert_record(record, name, *columns)
            if row is not None:
                made.append((row, record.line))
            if len(made) == _BATCH:
                yield _rows_of(made)
                made = []
        yield _rows_of(made)

    def _columns(self, name: str, header: Record | None, separator: str) -> tuple[int, int, int] | None:
        """Positions of prompt and response, and the number of columns."""
        wanted = (self.columns.prompt, self.columns.response)
        fields = header.fields if header else []
        if all(fields.count(column) == 1 for column in wanted):
            return fields.index(wanted[0]), fields.index(wanted[1]), len(fields)
        found = ", ".join(map(describe, fields[:20])) or "no header"
        if separator != ",":
            found += f", separated by {describe(separator)}"
        self._refuse("columns", name, found, f"the columns {describe(wanted[0])} and {describe(wanted[1])}, once each")
        return None

    def _convert_record(self, record: Record, name: str, prompt: int, response: int, width: int) -> bytes | None:
        fields = record.fields
        if len(fields) != width:
            found = record.problem or f"{len(fields)} fields"
            self.check.refuse(Problem("csv", "", found, f"a record of {width} fields"), name, record.line)
        elif not fields[prompt] or not fields[response]:
            column = self.columns.response if fields[prompt] else self.columns.prompt
            self.check.refuse(Problem("empty", column, "an empty field", "a text"), name, record.line)
        else:
            self.converted += 1
            return msgspec.json.encode(from_texts(fields[prompt], fields[response], self.options.system_instruction))
        return None


class _TooLargeError(Exception):
    """A file has more bytes than any dataset may have."""


def _named(problem: Problem, form: Format) -> Problem:
    """The problem with the name of the format, if it is one that is recognised by its fields."""
    if form == "fields" or problem.kind == "mixed_formats":
        return problem
    return msgspec.structs.replace(problem, expected=f"{problem.expected} (format: {FORMAT_LABELS[form]})")


def _rows_of(pairs: Iterable[tuple[bytes, int]]) -> Rows:
    listed = list(pairs)
    return Rows([line for line, _ in listed], [number for _, number in listed])


def _chain(first: Lines, rest: Iterator[Lines]) -> Iterator[Lines]:
    yield first
    yield from rest
