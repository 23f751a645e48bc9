"""A large file is checked by several processes: they find what one process finds."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from vertex_tuning.datasets.prepare import DatasetOptions, Sizes, Source, prepare

from tests.support.dataset_files import lines, pair, row
from tests.unit.datasets.test_row_sets import ROWS, hashes


def large_file(path: Path) -> Path:
    """Rows of all kinds, with bad ones, blank lines, duplicates, outliers and labels among them."""
    generator = random.Random(3)
    questions = [f"question {generator.randrange(900)} é" * generator.randint(1, 9) for _ in range(2000)]
    rows: list[Any] = [pair(question, f"a{n % 7}") for n, question in enumerate(questions)]
    rows[300] = b"\xff" * 1000
    rows[900] = b""
    rows[1500] = row(("user", "a"), ("user", "b"), ("model", "c"))
    rows[1999] = pair("long " * 30_000)
    path.write_bytes(lines(rows) + b'{"contents": [')
    return path


@pytest.mark.parametrize("processes", [2, 5])
def test_several_processes_find_the_same(processes: int, tmp_path: Path) -> None:
    training = Source.local(large_file(tmp_path / "train.jsonl"))
    (tmp_path / "validation.jsonl").write_bytes(lines([pair("new"), pair("question 5 é", "a5")]))
    sets = [training], [Source.local(tmp_path / "validation.jsonl")]
    found = []
    for count in (1, processes):
        folder = tmp_path / str(count)
        folder.mkdir()
        sizes = Sizes(min_split=0)
        found.append(prepare(*sets, options=DatasetOptions(), folder=folder, processes=count, sizes=sizes))
    one, several = found
    assert (one.training, one.validation) == (several.training, several.validation)
    assert one.counts == several.counts
    assert one.shown == several.shown
    written = [sorted((tmp_path / str(n) / "findings.jsonl").read_bytes().splitlines()) for n in (1, processes)]
    assert written[0] == written[1]


def test_several_processes_find_what_one_finds(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(ROWS))
    found = []
    for processes in (1, 2):
        (folder := tmp_path / str(processes)).mkdir()
        source, sizes = Source.local(path), Sizes(min_split=1)
        found.append(prepare([source], options=DatasetOptions(), folder=folder, processes=processes, sizes=sizes))
    assert hashes(found[0]) == hashes(found[1])


def test_several_processes_leave_out_null_fields_and_name_mixed_formats_once(tmp_path: Path) -> None:
    rows = [pair(f"question {number}") for number in range(400)]
    nulls = [{**each, "tools": None} for each in rows]
    chats = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}] * 300
    found = []
    for name, content in (("nulls", nulls), ("mixed", rows + chats)):
        (tmp_path / name).mkdir()
        file = tmp_path / f"{name}.jsonl"
        file.write_bytes(lines(content))
        options: dict[str, Any] = {"options": DatasetOptions(), "processes": 3, "sizes": Sizes(min_split=0)}
        found.append(prepare([Source.local(file)], folder=tmp_path / name, **options))
    without_nulls, mixed = found
    written = Path(without_nulls.training.path or "").read_bytes()
    assert [json.loads(line) for line in written.splitlines()] == rows
    [finding] = mixed.shown["error"]
    assert (finding.kind, finding.line, mixed.error_count) == ("mixed_formats", 401, 1)
