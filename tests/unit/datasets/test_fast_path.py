"""Common rows are measured together, and each as if it came alone."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from vertex_tuning.datasets import limits
from vertex_tuning.datasets.fast_path import PlainMeasure
from vertex_tuning.datasets.validator import examine

from tests.support.dataset_files import pair

LONG_CHAT = {"contents": [*pair("a", "b")["contents"], *pair("c", 'd \\ "e"')["contents"]]}
INSTRUCTED = pair("a", "b", systemInstruction={"role": "system", "parts": [{"text": "Be kind."}]})
COMMON: list[Any] = [
    pair("Où est le colis ?", 'It is "late".\n'),
    pair("C:\\", '\\"'),
    LONG_CHAT,
    INSTRUCTED,
    pair("a", "b", system_instruction={"parts": [{"text": "Be brief."}, {"text": "Be kind."}]}),
    {"contents": [{"role": "USER", "parts": [{"text": "a"}, {"text": "b"}]}, *pair("c", "d")["contents"][1:]]},
]
UNCOMMON: list[Any] = [
    [],
    pair("a", "NaN"),
    pair("a", " "),
    pair("a", "b", systemInstruction=None),
    pair("a", "b", systemInstruction={"role": None, "parts": [{"text": "c"}]}),
    pair("a", "b", tools=[]),
    pair("word " * limits.MAX_EXAMPLE_TOKENS),
]
_PAIR = json.dumps(pair("a", "b"))
REPEATED = [
    _PAIR.replace('"contents"', '"contents": [], "contents"'),
    _PAIR.replace('"role"', '"role": "model", "role"', 1),
    _PAIR.replace('"role"', '"r\\u006fle": "user", "role"', 1),
    _PAIR.replace('"parts"', '"parts": [{"text": "c"}], "parts"', 1),
    _PAIR.replace('"text"', '"text": "c\\\\", "text"', 1),
    json.dumps(INSTRUCTED).replace('"role"', '"role": "", "role"', 1),
    json.dumps(LONG_CHAT).replace('"text"', '"text": "c", "text"', 1),
]
UNREADABLE = [b"", b"{", b'{"contents":', b"\xff", b'{"a": "\\', _PAIR.encode()[:-1], f"{_PAIR} {_PAIR}".encode()]


def encoded(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


@pytest.mark.parametrize("row", COMMON)
def test_a_common_row_is_measured_as_the_full_check_does(row: Any) -> None:
    [measured] = PlainMeasure().measure([encoded(row)])
    assert measured is not None
    assert measured == examine(encoded(row)).measured


@pytest.mark.parametrize("line", [*map(encoded, UNCOMMON), *map(str.encode, REPEATED), *UNREADABLE])
def test_a_row_that_the_full_check_must_see_is_found_among_common_rows(line: bytes) -> None:
    rows = [encoded(pair(f"question {number}", "answer")) for number in range(100)]
    measured = PlainMeasure().measure([*rows, line, *rows])
    assert [index for index, found in enumerate(measured) if found is None] == [len(rows)]


def test_the_rows_around_a_row_do_not_change_its_measure() -> None:
    lines = [*map(encoded, COMMON * 5), *map(encoded, UNCOMMON), *map(str.encode, REPEATED), *UNREADABLE]
    random.Random(1).shuffle(lines)
    plain = PlainMeasure()
    assert list(plain.measure(lines)) == [plain.measure([line])[0] for line in lines]


def test_no_lines_have_no_measures() -> None:
    assert list(PlainMeasure().measure([])) == []
