"""The measurement of datasets runs, its contestants see the same rows, and memory does not grow with the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench_dataset import __main__ as bench
from tests.bench_dataset import contestants, generated
from tests.bench_dataset.measuring import MIB, measure


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "rows.jsonl"
    generated.write(path, 500)
    return path


@pytest.mark.parametrize("name", [*bench.SINGLE, "ours_twice"])
def test_every_contestant_sees_every_row(name: str, rows: Path) -> None:
    assert getattr(contestants, name)(rows) == 500


def test_what_the_cookbook_kind_refuses_ours_refuses(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"contents": [{"role": "user", "parts": [{"text": ""}]}]}\n')
    for check in (contestants.cookbook_checker, contestants.pydantic_models, contestants.ours):
        with pytest.raises(Exception, match=r"missing_text|validation error|found 3 errors"):
            check(path)


def test_it_prints_a_table_and_each_goal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["bench_dataset", "--rows", "500", "--rounds", "1", "--large", "1"])
    assert bench.main() == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in bench.SINGLE)
    assert printed.count("reached: ") + printed.count("MISSED: ") == 6


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for count in (20_000, 80_000):
        path = tmp_path / f"{count}.jsonl"
        generated.write(path, count)
        peaks.append(measure(["ours"], path, 1)["ours"].peak)
    assert peaks[1] - peaks[0] < 30 * MIB
    assert peaks[1] < bench.MEMORY_GOAL
