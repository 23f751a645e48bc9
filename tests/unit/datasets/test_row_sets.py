"""The same rows in another order are the same data."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vertex_tuning.datasets.prepare import Prepared
from vertex_tuning.datasets.row_sets import RowSet

from tests.support.dataset_files import lines, pair, prepared

ROWS = [pair(f"Where is parcel {number}?", ("shipping", "late")[number % 2]) for number in range(60)]
LINES = st.lists(st.sampled_from([b"a", b"b", b"c", b"dd"]))


def row_set(rows: list[bytes]) -> RowSet:
    made = RowSet()
    made.add(rows)
    return made


@given(LINES, LINES)
def test_two_sets_are_alike_exactly_when_each_row_is_in_both_as_often(first: list[bytes], second: list[bytes]) -> None:
    assert (row_set(first).hash == row_set(second).hash) == (Counter(first) == Counter(second))


@given(LINES, LINES)
def test_parts_that_were_read_apart_come_to_the_same(first: list[bytes], second: list[bytes]) -> None:
    merged = RowSet.parse(str(row_set(first)))
    merged.merge(RowSet.parse(str(row_set(second))))
    assert merged.hash == row_set([*second, *first]).hash


def hashes(found: Prepared) -> list[str | None]:
    return [found.training.rows_hash, found.validation.rows_hash if found.validation else None]


@pytest.mark.parametrize("fraction", [None, 0.3])
def test_a_dataset_in_another_order_has_other_bytes_and_the_same_rows(fraction: float | None) -> None:
    options: dict[str, Any] = {"validation_fraction": fraction} if fraction else {}
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    first, second = (prepared(lines(rows), **options) for rows in (ROWS, shuffled))
    assert first.training.sha256 != second.training.sha256
    assert hashes(first) == hashes(second)


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[1:],
        [*ROWS, ROWS[0]],
        [pair("Where is parcel 0?", "late"), *ROWS[1:]],
        [pair("Where is parcel 0?", "late"), pair("Where is parcel 1?", "shipping"), *ROWS[2:]],
    ],
)
def test_a_row_less_a_row_twice_or_answers_exchanged_are_other_data(rows: list[dict[str, object]]) -> None:
    assert prepared(lines(ROWS)).training.rows_hash != prepared(lines(rows)).training.rows_hash


def test_blank_lines_and_the_ends_of_lines_do_not_count() -> None:
    windows = b"\r\n".join(json.dumps(row).encode() for row in ROWS)
    assert prepared(windows).training.rows_hash == prepared(lines(ROWS)).training.rows_hash
