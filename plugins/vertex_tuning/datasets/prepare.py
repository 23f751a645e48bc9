"""Prepare a dataset for tuning: check, measure, convert and split its rows in one pass.

The rules are in `row_rules`, `dataset_rules` and `limits`. Pure: this module reads and writes files, and uses neither
Airflow nor a network.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from vertex_tuning.costs.media import MediaFacts
from vertex_tuning.datasets import dataset_rules
from vertex_tuning.datasets.dataset_reader import DatasetReader, Source, Split, open_source
from vertex_tuning.datasets.duplicates import PART_SIZE, SETS, Examples, SetName
from vertex_tuning.datasets.findings import MAX_WRITTEN, Finding, Findings, Severity
from vertex_tuning.datasets.lines import os_errors
from vertex_tuning.datasets.media_check import FileStore, FileTotals, MediaCheck
from vertex_tuning.datasets.options import DatasetOptions, parse_options
from vertex_tuning.datasets.parallel import ShardReader, can_be_split
from vertex_tuning.datasets.rows import Content, Part, Row, parse_row
from vertex_tuning.datasets.splitting import keep_first
from vertex_tuning.datasets.statistics import statistics
from vertex_tuning.datasets.validator import Totals
from vertex_tuning.exceptions import ConfigurationError, DatasetError
from vertex_tuning.results import FileSummary, Statistics
from vertex_tuning.text.plain_text import TEXT_SHOWN, shorten

__all__ = [
    "Content",
    "DatasetOptions",
    "DatasetReport",
    "Part",
    "Prepared",
    "Row",
    "Source",
    "open_source",
    "parse_options",
    "prepare",
    "sample",
    "write_report",
]

FINDINGS_FILE: Final = "findings.jsonl"


class Sizes(msgspec.Struct, frozen=True):
    """Amounts of data to read, write and compare at once.

    :param min_split: size in bytes from which a file is checked by several processes
    :param max_written: most findings in the file
    :param part_size: number of examples to compare at once
    """

    min_split: int = 32 * 2**20
    max_written: int = MAX_WRITTEN
    part_size: int = PART_SIZE


SIZES: Final = Sizes()


class DatasetReport(msgspec.Struct, frozen=True):
    """Description of a training or validation set.

    :param name: names of its files, as the user knows them
    :param format: format of the files, see `vertex_tuning.datasets.formats`; several are joined by `+`
    :param rows: number of examples
    :param bytes: size of the resulting file; `sha256` is its hash, in hex
    :param rows_hash: hash of the rows in any order, in hex
    :param path: the resulting file; not set if the source is used unchanged
    :param converted: number of rows converted from another format
    :param dropped: number of unusable rows that were left out
    :param blank_lines: number of lines without a row
    :param files: tokens of the files that rows name
    :param labels: number of rows with each response, if responses are labels; else empty
    """

    name: str
    format: str
    rows: int
    bytes: int
    sha256: str
    rows_hash: str
    path: str | None
    converted: int
    dropped: int
    blank_lines: int
    statistics: Statistics
    files: FileTotals
    labels: dict[str, int]

    @property
    def text_tokens(self) -> int:
        """Estimated tokens of an epoch without files."""
        return self.statistics.total_billable_token_count - self.files.assumed

    @property
    def tokens(self) -> int:
        """Estimated billable tokens of an epoch; of files only what they have at least."""
        return self.text_tokens + self.files.tokens.low

    def summary(self) -> FileSummary:
        """The small fields of the report."""
        return msgspec.convert(self, FileSummary, from_attributes=True)


class Prepared(msgspec.Struct, frozen=True):
    """A dataset after all checks.

    :param counts: number of findings by severity (error, warning, dropped) and kind
    :param shown: the first findings of each severity
    :param findings_path: file with all findings, one JSON object per line
    """

    training: DatasetReport
    validation: DatasetReport | None
    test: DatasetReport | None
    counts: dict[Severity, dict[str, int]]
    shown: dict[Severity, list[Finding]]
    findings_path: str

    @property
    def error_count(self) -> int:
        return sum(self.counts["error"].values())

    def require_valid(self) -> None:
        """Check that the dataset has no errors.

        :raises DatasetError: has the first errors by file and line, and the number of each kind
        """
        if self.error_count:
            errors = "1 error" if self.error_count == 1 else f"{self.error_count} errors"
            raise DatasetError(f"{self.training.name}: found {errors}.\n{self.text('error')}")

    def summary(self) -> dict[str, Any]:
        """The small fields, as plain values."""
        sets = {"training": self.training, "validation": self.validation, "test": self.test}
        return {
            **{name: msgspec.to_builtins(report.summary()) if report else None for name, report in sets.items()},
            "counts": self.counts,
        }

    def text(self, severity: Severity) -> str:
        """The first findings and the number of each kind, for a log; empty without findings."""
        shown, counts = self.shown[severity], self.counts[severity]
        lines = [f"  {finding}" for finding in shown]
        if more := sum(counts.values()) - len(shown):
            lines.append(f"  and {more} more")
        if len(lines) > 1:
            lines.append("  by kind: " + ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items())))
        return "\n".join(lines)


def write_report(prepared: Prepared, file: IO[bytes]) -> None:
    """Write all sets, counts and all findings as one JSON object. The findings are not kept in memory."""
    head = msgspec.to_builtins(prepared)
    kept = {name: head[name] for name in (*SETS, "counts")}
    file.write(msgspec.json.encode(kept).removesuffix(b"}") + b',"findings":[')
    with Path(prepared.findings_path).open("rb") as findings:
        for number, line in enumerate(findings):
            file.write((b",\n" if number else b"\n") + line.rstrip())
    file.write(b"]}\n")


def prepare(
    training: Sequence[Source],
    validation: Sequence[Source] = (),
    test: Sequence[Source] = (),
    *,
    options: DatasetOptions,
    folder: Path,
    processes: int = 1,
    sizes: Sizes = SIZES,
    facts: MediaFacts = MediaFacts(),
    store: FileStore | None = None,
) -> Prepared:
    """Read a dataset and write it in the form that a tuning job reads.

    :param training: files of the training data; several files are joined
    :param validation: files of the validation data; may be empty
    :param test: files of the data that compares models; may be empty
    :param folder: existing, empty folder for `findings.jsonl`, and for `training.jsonl`, `validation.jsonl` and
        `test.jsonl` unless the source can be used unchanged
    :param processes: number of processes that check a large local file of Gemini rows; other files use this process
    :param sizes: amount of data read, written and compared at once
    :param facts: what is known about files in examples for the base model
    :param store: looks up the files that rows name; None if there is no connection
    :raises ConfigurationError: there is validation data, and `validation_fraction` is set as well; or the same for test
        data
    """
    for name, sources in (("validation", validation), ("test", test)):
        if sources and getattr(options, f"{name}_fraction"):
            raise ConfigurationError(f"{name}_fraction: found it and {name} data, expected only one of the two.")
    with ExitStack() as stack:
        file = stack.enter_context((folder / FINDINGS_FILE).open("wb"))
        findings = Findings(file, max_written=sizes.max_written, max_errors=options.max_errors)
        examples = stack.enter_context(closing(Examples(part_size=sizes.part_size)))
        sets = [sources for sources in (training, validation, test) if sources]
        is_large = processes > 1 and _is_large(sets, options, sizes.min_split)
        parts = ShardReader(processes, folder, facts) if is_large else None
        media = MediaCheck(facts, store, inspect=options.inspect_files)
        reports = _Work(options, findings, examples, folder, parts, media).run(training, validation, test)
    counts = {severity: dict(counter) for severity, counter in findings.counts.items()}
    return Prepared(*reports, counts, findings.shown, str(folder / FINDINGS_FILE))


class _Work:
    """The steps of `prepare` and their common state."""

    def __init__(
        self,
        options: DatasetOptions,
        findings: Findings,
        examples: Examples,
        folder: Path,
        parts: ShardReader | None,
        media: MediaCheck,
    ) -> None:
        self._options = options
        self._findings = findings
        self._parts = parts
        self._media = media
        self._examples = examples
        self._splits = {part: Split(examples, folder / f"{part}.jsonl", part=part) for part in SETS}
        self._first_test_file: int | None = None
        self._names: list[str] = []
        self._errors_before = 0

    def run(
        self, training: Sequence[Source], validation: Sequence[Source], test: Sequence[Source]
    ) -> tuple[DatasetReport, DatasetReport | None, DatasetReport | None]:
        fractions = {"validation": self._options.validation_fraction, "test": self._options.test_fraction}
        split_off = [split for part, split in self._splits.items() if fractions.get(part)]
        done = self._read(training, [self._splits["training"], *split_off])
        reports: dict[SetName, DatasetReport] = {}
        reports["training"] = self._report(done, self._splits["training"], training)
        for split in split_off:
            if report := self._set_aside(split, reports["training"].name):
                reports[split.part] = report
        given: dict[SetName, Sequence[Source]] = {"validation": validation, "test": test}
        for part, sources in given.items():
            if sources:
                if part == "test":
                    self._first_test_file = len(self._names)
                split = self._splits[part]
                reports[part] = self._report(self._read(sources, [split]), split, sources)
        self._compare(reports)
        return reports["training"], reports.get("validation"), reports.get("test")

    def _read(self, sources: Sequence[Source], splits: list[Split]) -> DatasetReader:
        preparation = DatasetReader(self._options, self._findings, splits, self._media.facts)
        self._errors_before = self._findings.total("error")
        with ExitStack() as stack:
            for split in splits:
                stack.callback(split.close)
            if self._parts:
                with os_errors(sources[0].label):
                    self._parts.read(sources[0], len(self._names), splits[0], preparation)
            else:
                preparation.read(sources, len(self._names))
        self._names += [source.label for source in sources]
        return preparation

    def _add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._findings.add(finding)

    def _report(self, done: DatasetReader, split: Split, sources: Sequence[Source]) -> DatasetReport:
        rows, bad = split.totals.rows, done.check.bad_rows
        name = shorten(", ".join(source.label for source in sources), TEXT_SHOWN)
        if done.check.rows_with_nulls and split.output is None and not self._findings.total("error"):
            split.copy(sources[0])
        written = split.output if done.must_rewrite or bad or done.check.rows_with_nulls else None
        result = written or done.source
        dropped = bad if self._options.on_invalid_row == "drop" else 0
        has_own_error = not (rows or bad) and self._findings.total("error") > self._errors_before
        if not done.is_preference and not has_own_error:
            self._add(dataset_rules.size_limits(name, rows, result.size, done.check.multimodal_rows))
        all_rows = sum(each.totals.rows for each in done.splits) + bad
        self._add(dataset_rules.dropped_limit(name, dropped, all_rows, self._options.max_dropped_share))
        files = self._files(done, Path(split.path) if written else None, sources, name)
        return DatasetReport(
            name=name,
            format="+".join(sorted(set(done.formats))),
            rows=rows,
            bytes=result.size,
            sha256=result.sha256,
            rows_hash=split.row_set.hash,
            path=str(split.path) if written else None,
            converted=done.converted,
            dropped=dropped,
            blank_lines=done.check.blank_lines,
            statistics=_statistics(split.totals),
            files=files,
            labels=dataset_rules.labels_of(split.totals),
        )

    def _files(self, done: DatasetReader, rows: Path | None, sources: Sequence[Source], name: str) -> FileTotals:
        """Examine the files that the rows name, after all rows are checked."""
        if not done.check.multimodal_rows or self._findings.total("error") > self._errors_before:
            return FileTotals()
        with open_source(Source.local(rows) if rows else sources[0]) as file, os_errors(name):
            totals, found = self._media.examine(file, name)
        self._add(found)
        return totals

    def _set_aside(self, split: Split, name: str) -> DatasetReport | None:
        """A set that was split off; for validation limited to the size that the service accepts."""
        path, rows = split.path, split.totals.rows
        source = Source.local(path, f"{name} ({split.part})")
        if not rows:
            kind = f"no_{split.part}"
            self._add([Finding(kind, "warning", source.name, found="no rows", expected="a larger fraction")])
            return None
        most = dataset_rules.most_validation_rows(self._splits["training"].totals.rows)
        if split.part == "validation" and rows > most:
            found = f"{rows} rows, of which {most} are kept and the others are in neither set"
            expected = f"at most {most} for validation; a smaller fraction uses all rows"
            self._add([Finding("validation_surplus", "warning", source.name, found=found, expected=expected)])
            keep_first(path, self._options.split_seed, most)
        with closing(Examples()) as unused:
            again = Split(unused, path, part=split.part)
            done = DatasetReader(DatasetOptions(), Findings(), [again], self._media.facts)
            done.read([source], 0)
        return msgspec.structs.replace(self._report(done, again, [source]), path=str(path))

    def _compare(self, reports: Mapping[SetName, DatasetReport]) -> None:
        """Run the checks that need all rows."""
        training, leaks = reports["training"], 0
        for pair in self._examples.pairs():
            leaks += pair.kind == "leak" and self._is_test_file(pair.place.file)
            self._findings.add(dataset_rules.pair_finding(pair, self._names))
        self._add(dataset_rules.uncompared(training.name, self._examples.not_compared))
        self._add(dataset_rules.outliers(self._splits["training"].totals, training.statistics, self._names))
        self._add(dataset_rules.label_findings(training.name, training.labels))
        if validation := reports.get("validation"):
            sizes = (validation.rows, validation.bytes, training.rows, training.bytes)
            self._add(dataset_rules.validation_limits(validation.name, *sizes))
        for part in ("validation", "test"):
            if other := reports.get(part):
                self._add(dataset_rules.label_differences(other.name, training.labels, other.labels))
        if test := reports.get("test"):
            self._add(dataset_rules.leakage(test.name, test.rows, leaks, self._options.max_leakage))

    def _is_test_file(self, file: int) -> bool:
        return self._first_test_file is not None and file >= self._first_test_file


def _is_large(sets: list[Sequence[Source]], options: DatasetOptions, min_split: int) -> bool:
    """Whether several processes save time, and all files can be read in parts."""
    if any(len(sources) > 1 or not can_be_split(sources[0], options) for sources in sets):
        return False
    return max(source.path.stat().st_size for sources in sets for source in sources if source.path) >= min_split


def _statistics(totals: Totals) -> Statistics:
    return statistics(totals.inputs, totals.outputs, totals.messages)


def sample(lines: Iterable[bytes], size: int) -> list[Row]:
    """A sample of a valid dataset, chosen by the hashes of the rows: always the same rows, from the whole file."""
    picked = heapq.nsmallest(size, (line for line in lines if line.strip()), key=_hash)
    return [parse_row(line) for line in picked]


def _hash(line: bytes) -> bytes:
    return hashlib.sha256(line).digest()
