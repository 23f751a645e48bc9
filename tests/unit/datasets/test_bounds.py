"""Whatever a file has in it, the check ends in bounded time and memory and says where it stopped."""

from __future__ import annotations

import gzip
import io
import time
from pathlib import Path
from typing import Any

import pytest
from vertex_tuning.datasets import lines as lines_module
from vertex_tuning.datasets.findings import Finding, Findings
from vertex_tuning.datasets.lines import Lines, read_csv, read_lines
from vertex_tuning.datasets.prepare import DatasetOptions, Source, prepare, write_report

from tests.bench_dataset import hostile
from tests.support.dataset_files import lines, pair, prepared

MB = 10**6


@pytest.mark.parametrize("name", hostile.NAMES)
def test_hostile_files_end_in_time(tmp_path: Path, name: str) -> None:
    [path] = [path for path in hostile.write(tmp_path, MB) if path.name == name]
    started = time.process_time()
    found = prepare([Source.local(path)], options=DatasetOptions(), folder=tmp_path)
    # 30 seconds for 100 MB, with room for a slow machine; a compressed file has ten times more in it.
    assert time.process_time() - started < 10
    assert found.counts["error"] or name.startswith("rows")
    assert Path(found.findings_path).stat().st_size < 4 * MB


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \n", b"\t\n"])
def test_a_flood_of_blank_lines_is_counted_and_the_rows_keep_their_numbers(end: bytes) -> None:
    flood = end * 300_000
    found = prepared(flood + lines([pair("a", "b")]) + flood + lines([{"contents": []}]))
    assert found.training.blank_lines == 600_000
    assert found.counts["warning"]["blank_line"] == 600_000
    [error] = [each for each in found.shown["error"] if each.kind == "empty"]
    assert error.line == 600_002
    first = next(each for each in found.shown["warning"] if each.kind == "blank_line")
    assert first.line == 1


def test_single_blank_lines_are_named_each() -> None:
    found = prepared(b"\n" + lines([pair("a", "b")]) + b"\n")
    assert [each.line for each in found.shown["warning"] if each.kind == "blank_line"] == [1, 3]


@pytest.mark.parametrize("options", [{}, {"on_invalid_row": "drop", "max_dropped_share": 1}])
def test_after_many_errors_the_rest_is_not_read(options: dict[str, Any]) -> None:
    found = prepared(b"x\n" * 500_000, max_errors=1000, **options)
    [stopped] = [each for each in found.shown["error"] if each.kind == "stopped"]
    assert "1,000 errors or more" in stopped.found
    counted = found.counts["error"].get("json", 0) + found.counts["dropped"].get("json", 0)
    assert 1000 <= counted < 200_000
    assert found.shown["error"][0] == stopped
    assert "max_errors" in stopped.expected


def test_fewer_errors_are_all_counted() -> None:
    found = prepared(b"x\n" * 50_000, max_errors=50_001)
    assert found.counts["error"]["json"] == 50_000
    assert "stopped" not in found.counts["error"]


def test_the_first_ten_thousand_findings_are_written_and_all_are_counted(tmp_path: Path) -> None:
    found = prepared(b"x\n" * 30_000, folder=tmp_path)
    assert found.counts["error"]["json"] == 30_000
    assert len(Path(found.findings_path).read_bytes().splitlines()) == 10_000
    report = io.BytesIO()
    write_report(found, report)
    assert b'"json":30000' in report.getvalue()


def test_findings_say_when_there_are_enough() -> None:
    findings = Findings(max_errors=3)
    for severity in ("error", "warning", "dropped", "warning", "error"):
        assert not findings.are_enough
        findings.add(Finding("kind", severity, "file"))
    assert findings.are_enough


@pytest.mark.parametrize("content", [b"\0", b"\n", lines([pair()])])
def test_a_bomb_of_gzip_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(lines_module, "FREE_UNPACKED", MB)
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(gzip.compress(content * (100 * MB // len(content))))
    found = prepare([Source.local(path)], options=DatasetOptions(), folder=tmp_path)
    [error] = found.shown["error"]
    assert (error.kind, "over 100 times as much" in error.found) == ("gzip", True)


def test_a_file_that_compresses_well_is_read(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(gzip.compress(lines([pair()] * 100_000)))
    found = prepare([Source.local(path)], options=DatasetOptions(), folder=tmp_path)
    assert (found.error_count, found.training.rows) == (0, 100_000)


def chunks(content: bytes) -> list[Lines]:
    return list(read_lines(io.BytesIO(content), chunk_size=7))


@pytest.mark.parametrize(
    ("content", "records"),
    [
        (b"a,b\n\n\nc,d\n", [(1, ["a", "b"]), (4, ["c", "d"])]),
        (b"\n\r\n\na,b\n", [(4, ["a", "b"])]),
        (b'a,"x\n\n\ny"\n\nc,d\n', [(1, ["a", "x\n\n\ny"]), (6, ["c", "d"])]),
        (b'"\n\n"\n\n\nc\n', [(1, ["\n\n"]), (6, ["c"])]),
        (b"a,b\r\n\r\nc,d", [(1, ["a", "b"]), (3, ["c", "d"])]),
        (b" \nc\n", [(1, [" "]), (2, ["c"])]),
    ],
)
def test_blank_lines_of_a_csv_file_are_passed_over_only_between_records(
    content: bytes, records: list[tuple[int, list[str]]]
) -> None:
    assert [(record.line, record.fields) for record in read_csv(iter(chunks(content)))] == records


def test_damaged_records_keep_their_line() -> None:
    found = list(read_csv(iter(chunks(b'a\n\n"b"c\n\n\xff\nd\n'))))
    assert [(record.line, bool(record.problem)) for record in found] == [(1, False), (3, True), (5, True), (6, False)]
