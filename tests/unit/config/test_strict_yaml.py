"""YAML that everybody reads alike, and what is said of all other."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vertex_tuning.config.strict_yaml import NotYamlError, read_yaml
from vertex_tuning.schema import field_name, field_path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("text", "text"),
        ("3", 3),
        ("-3", -3),
        ("0", 0),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'0100'", "0100"),
        ('"yes"', "yes"),
        ("12 apples", "12 apples"),
        ("127.0.0.1", "127.0.0.1"),
        ("0 6 * * 1", "0 6 * * 1"),
        ("=", "="),
        ("[a, {b: c}]", ["a", {"b": "c"}]),
        (">-\n  no\n  yes", "no yes"),
    ],
)
def test_plain_data_is_read(text: str, value: Any) -> None:
    document = read_yaml(f"field: {text}")
    assert document.content == {"field": value}
    assert document.mistakes == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("yes", "which YAML reads as a switch; expected true or false"),
        ("Off", "which YAML reads as a switch"),
        ("0100", "which YAML reads as 64"),
        ("-010", "which YAML reads as -8"),
        ("0x1F", "which YAML reads as 31"),
        ("0b11", "which YAML reads as 3"),
        ("1_000", "which YAML reads as 1000"),
        ("1:30", "which YAML reads as 90"),
        ("1:30:00.5", "which YAML reads as 5400.5"),
        ("2026-01-05", "which YAML reads as a date"),
        ("2026-13-45", "which YAML reads as a date"),
        ("2026-01-05T10:00:00Z", "which YAML reads as a date"),
        (".inf", "expected a finite decimal number"),
        ("-.INF", "expected a finite decimal number"),
        (".nan", "expected a finite decimal number"),
        ("1e999", "expected a number within"),
        ("9223372036854775808", "expected a number within"),
        ("9" * 10_000, "(10000 characters); expected a number within"),
    ],
)
def test_what_readers_of_yaml_take_for_different_things_is_named_with_its_line(text: str, said: str) -> None:
    [mistake] = read_yaml(f"other: 1\nfields:\n  - {text}\n").mistakes
    assert (mistake.line, mistake.path) == (3, ("fields", 0))
    assert mistake.text.startswith("fields[0]: found ")
    assert said in mistake.text
    assert read_yaml(f"fields: ['{text}']").mistakes == []


@pytest.mark.parametrize("text", ["a: 1\nb: 2\na: 3\n", "{a: 1, b: 2,\n\n a: 3}"])
def test_a_key_given_twice_is_named_with_both_lines(text: str) -> None:
    document = read_yaml(text)
    assert document.content == {"a": 1, "b": 2}
    [mistake] = document.mistakes
    assert (mistake.line, mistake.text) == (3, "a: found twice, first in line 1; expected once.")


def test_a_key_is_a_text() -> None:
    assert [mistake.text for mistake in read_yaml("1: x\ntrue: x\nno: x\n").mistakes] == [
        '1: found the key 1; expected a text, as "1".',
        'true: found the key true; expected a text, as "true".',
        'no: found no, which YAML reads as a switch; expected true or false, or quotes for a text, as "no".',
    ]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("a: 1\nb: &x 2", 2, "anchor"),
        ("a: *x", 1, "alias 'x'"),
        ("a: 1\n<<: {b: 2}", 2, "merge key"),
        ("a: !!int '3'", 1, "tag"),
        ("a: ! x", 1, "tag"),
        ("a: !!python/name:os.system", 1, "tag"),
        ("? [a]\n: b", 1, "as a key"),
        ("a: 1\n---\nb: 2", 2, "more than one document"),
        ("a: 1\n b: 2", 2, "is not YAML"),
        ("a: 1\nb: [1", 3, "is not YAML"),
        ("a:\n\t- b", 2, "is not YAML"),
        ("\x00", 1, "is not YAML"),
        ("[" * 3000, 1, "nest"),
        ("{a: " * 200_000, 1, "nest"),  # newer versions of PyYAML have a limit of their own
    ],
)
def test_what_cannot_be_read_safely_is_refused_with_its_line(text: str, line: int, said: str) -> None:
    with pytest.raises(NotYamlError, match=said) as error:
        read_yaml(text)
    assert error.value.line == line


def test_the_largest_file_takes_seconds_at_most() -> None:
    started = time.process_time()
    read_yaml("a: [" + "1, " * 330_000 + "1]")
    assert time.process_time() - started < 20


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(NotYamlError):
        read_yaml(text)


TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126))
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)


@given(DATA)
def test_json_is_read_as_what_it_is(data: Any) -> None:
    document = read_yaml(json.dumps(data))
    assert document.content == data
    assert document.mistakes == []


@pytest.mark.parametrize("path", [("a",), ("a", "b"), ("a", 0, "b-c"), ("gates", 12, "value")])
def test_a_field_is_written_as_people_write_it_and_found_again(path: tuple[str | int, ...]) -> None:
    assert field_path(f"{field_name(path)}: found 3") == path
