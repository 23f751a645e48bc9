"""A validation set that is set aside: stable, apart, and no larger than the service takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from vertex_tuning.datasets import dataset_rules
from vertex_tuning.datasets.prepare import DatasetOptions, Prepared, prepare
from vertex_tuning.datasets.splitting import part_of
from vertex_tuning.exceptions import ConfigurationError

from tests.support.dataset_files import lines, pair, source


def split(rows: list[Any], folder: Path, fraction: float = 0.1, seed: int = 0) -> tuple[Prepared, set[str], set[str]]:
    """A dataset with a part set aside, and the prompts on both sides."""
    folder.mkdir(exist_ok=True)
    options = DatasetOptions(validation_fraction=fraction, split_seed=seed)
    found = prepare([source(lines(rows))], options=options, folder=folder)
    return found, prompts(folder / "training.jsonl"), prompts(folder / "validation.jsonl")


def prompts(path: Path) -> set[str]:
    return {json.loads(line)["contents"][0]["parts"][0]["text"] for line in path.read_bytes().splitlines()}


def questions(count: int) -> list[Any]:
    return [pair(f"question {n}", f"answer {n}") for n in range(count)]


def test_every_example_is_on_one_side(tmp_path: Path) -> None:
    found, training, validation = split(questions(2000), tmp_path)
    assert training | validation == {f"question {n}" for n in range(2000)}
    assert not training & validation
    assert found.validation is not None
    assert (found.training.rows, found.validation.rows) == (len(training), len(validation))
    assert 150 < len(validation) < 250


def test_no_example_changes_sides_when_the_dataset_grows_or_is_shuffled(tmp_path: Path) -> None:
    _, training, validation = split(questions(500), tmp_path / "a")
    _, later_training, later_validation = split(questions(5000)[::-1], tmp_path / "b")
    assert training <= later_training
    assert validation <= later_validation


def test_a_smaller_fraction_takes_a_part_of_the_same_examples(tmp_path: Path) -> None:
    _, _, few = split(questions(1000), tmp_path / "a", 0.05)
    _, _, many = split(questions(1000), tmp_path / "b", 0.2)
    assert few < many


def test_another_seed_sets_aside_others(tmp_path: Path) -> None:
    _, _, one = split(questions(1000), tmp_path / "a", seed=0)
    _, _, other = split(questions(1000), tmp_path / "b", seed=-1)
    assert len(one & other) < len(one) / 2


def test_duplicates_stay_on_one_side_however_they_are_written(tmp_path: Path) -> None:
    rows = questions(300)
    again = [json.dumps(row, indent=None, separators=(" , ", ": ")).encode() for row in rows]
    in_capitals = [json.dumps(row).replace('"user"', '"USER"').encode() for row in rows]
    found, training, validation = split([*rows, *again, *in_capitals], tmp_path, 0.3)
    assert not training & validation
    assert found.counts["warning"]["duplicate"] == 600
    assert "leak" not in found.counts["warning"]


def test_no_more_is_set_aside_than_the_service_takes(tmp_path: Path) -> None:
    found, training, validation = split(questions(12_000), tmp_path, 0.45)
    assert found.validation is not None
    assert found.validation.rows == len(validation) == int(0.3 * len(training)) > 1000
    assert len(training) + len(validation) < 12_000
    assert found.counts["warning"]["validation_surplus"] == 1
    assert not found.counts["error"]


@pytest.mark.parametrize(("training", "most"), [(0, 1000), (3000, 1000), (4000, 1200), (16_000, 4800), (100_000, 5000)])
def test_how_many_the_service_takes(training: int, most: int) -> None:
    assert dataset_rules.most_validation_rows(training) == most


def test_too_few_rows_leave_nothing_to_set_aside(tmp_path: Path) -> None:
    row = next(row for row in questions(100) if part_of(row, 0, 0.01, 0) == "training")
    found, _, validation = split([row], tmp_path, 0.01)
    assert (found.validation, validation) == (None, set())
    assert found.counts["warning"] == {"no_validation": 1}


def test_there_is_one_validation_set_only(tmp_path: Path) -> None:
    files = [source(lines([pair()]))]
    with pytest.raises(ConfigurationError, match="validation_fraction"):
        prepare(files, files, options=DatasetOptions(validation_fraction=0.1), folder=tmp_path)
    with pytest.raises(ConfigurationError, match="test_fraction"):
        prepare(files, (), files, options=DatasetOptions(test_fraction=0.1), folder=tmp_path)


def test_a_test_set_is_apart_from_both(tmp_path: Path) -> None:
    options = DatasetOptions(validation_fraction=0.1, test_fraction=0.2)
    found = prepare([source(lines(questions(2000)))], options=options, folder=tmp_path)
    sets = [prompts(tmp_path / f"{part}.jsonl") for part in ("training", "validation", "test")]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 2000
    assert found.test
    assert found.test.rows == len(sets[2])
    assert 350 < len(sets[2]) < 450
    assert found.counts["error"] == {}


def test_rows_of_the_test_that_the_training_has_are_an_error(tmp_path: Path) -> None:
    rows = questions(200)
    known, chosen = [*questions(3), pair("new", "one")], [*rows[100:102], pair("new", "two")]
    test = [*known, *[pair(f"test {n}", "answer") for n in range(96)]]
    sources = [[source(lines(part))] for part in (rows[:100], chosen, [*test, rows[101]])]

    def checked(**options: Any) -> Prepared:
        return prepare(*sources, options=DatasetOptions(**options), folder=tmp_path)

    [error] = checked().shown["error"]
    assert error.kind == "leakage"
    assert "4 of 101 rows (4.0%) that are also training or validation data" in str(error)
    assert "at most 1.0% (max_leakage)" in str(error)
    assert checked(max_leakage=0.04).counts["error"] == {}
    assert checked(max_leakage=0.04).counts["warning"]["leak"] == 4
