from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from vertex_tuning.datasets import inspect, sample
from vertex_tuning.exceptions import DatasetError


def row(*turns: tuple[str, str]) -> dict[str, Any]:
    return {"contents": [{"role": role, "parts": [{"text": text}]} for role, text in turns]}


GOOD = row(("user", "hello"), ("model", "hi"))


def lines(*rows: Any) -> list[bytes]:
    return [(one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in rows]


def test_a_valid_dataset_is_counted_and_hashed() -> None:
    content = lines(GOOD, {**GOOD, "systemInstruction": {"parts": [{"text": "Be kind."}]}}, b"")
    report = inspect(content, "train.jsonl")
    report.require_valid()
    assert (report.rows, report.size) == (2, len(b"".join(content)))
    assert report.sha256 == hashlib.sha256(b"".join(content)).hexdigest()


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (b"not json", ["not JSON", "'not json'", "one JSON object"]),
        ({"messages": []}, ["contents"]),
        ({"contents": []}, ["`contents` is empty"]),
        ({"contents": "text"}, ["array", "str", "contents"]),
        (row(("user", "a")), ["contents[0].role", "'user'", "'model'"]),
        (row(("user", "a"), ("assistant", "b")), ["contents[1].role", "'assistant'", "user, model"]),
        (row(("user", ""), ("model", "b")), ["contents[0].parts"]),
        ({"contents": [{"role": "user"}, {"role": "model", "parts": [{"text": "b"}]}]}, ["contents[0].parts"]),
        (b"\xff\xfe{}", ["line 2"]),
        (b"[]", ["object"]),
    ],
)
def test_a_bad_row_is_named_by_line_with_what_was_found_and_expected(bad: Any, words: list[str]) -> None:
    with pytest.raises(DatasetError) as error:
        inspect(lines(GOOD, bad, GOOD), "data/train.jsonl").require_valid()
    assert "train.jsonl, line 2" in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"train\.jsonl: found no rows"):
        inspect([b"\n", b"  \n"], "train.jsonl").require_valid()


def test_many_errors_are_counted_and_the_first_twenty_shown() -> None:
    with pytest.raises(DatasetError) as error:
        inspect(lines(*[b"x"] * 50), "train.jsonl").require_valid()
    assert "50 rows" in str(error.value)
    assert str(error.value).count("line ") == 20
    assert "and 30 more" in str(error.value)


def test_sample_is_the_same_whatever_the_order() -> None:
    rows = lines(*[row(("user", f"question {n}"), ("model", str(n))) for n in range(100)])
    picked = sample(rows, 5)
    assert picked == sample(reversed(rows), 5)
    assert len({one.contents[0].parts[0].text for one in picked}) == 5
