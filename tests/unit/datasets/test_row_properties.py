"""Whatever bytes come: a report or a dataset, never a crash."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vertex_tuning.datasets.fast_path import PlainMeasure
from vertex_tuning.datasets.prepare import Prepared
from vertex_tuning.datasets.row_rules import NOT_A_TEXT
from vertex_tuning.datasets.rows import measure
from vertex_tuning.datasets.validator import examine

from tests.support.dataset_files import lines, pair, prepared
from tests.support.paths import BAD_DATASETS

NAMES = st.sampled_from(["a.jsonl", "a.jsonl.gz", "a.csv", "a.csv.gz", "a"])

texts = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
parts = st.fixed_dictionaries({"text": st.text(min_size=1, max_size=30)}) | json_values
roles = st.sampled_from(["user", "model", "USER", "x"])
turns = st.fixed_dictionaries({"role": roles, "parts": st.lists(parts, max_size=3)})
rows = st.fixed_dictionaries(
    {"contents": st.lists(turns | json_values, max_size=5)},
    optional={
        "systemInstruction": turns | json_values,
        "system_instruction": turns,
        "tools": json_values,
        "completions": json_values,
        "messages": json_values,
    },
)


def consistent(found: Prepared) -> None:
    """A dataset that is refused has an error with a place, one that is not has rows."""
    assert found.error_count or found.training.rows
    for shown in found.shown.values():
        assert all(len(str(finding)) < 1000 and str(finding).isprintable() for finding in shown)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), NAMES)
def test_any_bytes_give_a_report_or_a_dataset(content: bytes, name: str) -> None:
    consistent(prepared(content, name=name))


@settings(max_examples=300, deadline=None)
@given(st.lists(rows | json_values, max_size=5), st.booleans())
def test_any_json_gives_a_report_or_a_dataset(given_rows: list[Any], drop: bool) -> None:
    consistent(prepared(lines(given_rows), on_invalid_row="drop" if drop else "fail"))


@settings(max_examples=500, deadline=None)
@given(rows)
def test_the_quick_way_and_the_close_look_agree(row: Any) -> None:
    line = json.dumps(row).encode()
    quick, close = PlainMeasure().measure([line])[0], examine(line)
    if quick is not None:
        assert close.problems == []
        assert quick == close.measured == measure(row)


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
conversations = st.lists(words, min_size=1, max_size=3).map(lambda texts: [*texts, *texts[::-1]])


@settings(max_examples=200, deadline=None)
@given(conversations)
def test_both_ways_measure_any_conversation_alike(given_texts: list[str]) -> None:
    turns = [{"role": ("user", "model")[n % 2], "parts": [{"text": text}]} for n, text in enumerate(given_texts)]
    row = {"systemInstruction": {"parts": [{"text": "Be kind."}, {"text": given_texts[0]}]}, "contents": turns}
    quick = PlainMeasure().measure([json.dumps(row).encode()])[0]
    assert quick in (None, measure(row))
    assert quick is not None or any(text.isspace() or text in NOT_A_TEXT for text in given_texts)


def test_ten_thousand_mutated_rows() -> None:
    """Bytes of good rows changed, left out, doubled and moved: each row is kept or named, and none is both."""
    generator = random.Random(7)
    seeds = [
        json.dumps(pair(f"question {n}", f"answer “{n}”", systemInstruction={"parts": [{"text": "s"}]}))
        for n in range(50)
    ]
    mutated = [_mutated(generator.choice(seeds).encode(), generator) for _ in range(10_000)]
    found = prepared(lines(mutated), on_invalid_row="drop", max_dropped_share=1.0)
    assert found.training.rows + found.training.dropped + found.training.blank_lines == 10_000
    assert 500 < found.training.rows < 9000
    assert sum(found.counts["dropped"].values()) >= found.training.dropped


def _mutated(line: bytes, generator: random.Random) -> bytes:
    made = bytearray(line)
    for _ in range(generator.randint(1, 3)):
        start = generator.randrange(len(made) or 1)
        end = start + generator.randint(0, 12)
        kind = generator.randrange(4)
        if kind == 0:
            made[start:end] = generator.randbytes(generator.randint(1, 3))
        elif kind == 1:
            del made[start:end]
        elif kind == 2:
            made[start:start] = made[start:end]
        else:
            made[start : start + 1] = generator.choice([b'"', b"{", b"}", b"[", b"]", b"\\", b",", b"0", b" "])
    return bytes(made).replace(b"\n", b" ")


@pytest.mark.parametrize("path", sorted(BAD_DATASETS.iterdir()), ids=lambda path: path.name)
def test_each_file_of_the_corpus_is_refused_for_what_its_name_says(path: Path) -> None:
    kind = path.name.partition(".")[0]
    found = prepared(path.read_bytes(), name=path.name)
    consistent(found)
    assert kind in found.counts["error"]
