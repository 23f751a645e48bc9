"""Every kind of expectation, met and not met, and answers nobody would expect."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vertex_tuning.evaluation.expectations import CHECKS, Expectations, Reply
from vertex_tuning.text.plain_text import storable

TEAM = {
    "type": "object",
    "properties": {"team": {"enum": ["billing", "shipping"]}, "urgency": {"type": "integer", "maximum": 5}},
    "required": ["team"],
}


def expecting(**fields: Any) -> Expectations:
    return msgspec.convert(fields, Expectations)


def answer(text: str, **fields: Any) -> Reply:
    return Reply(**{"text": text, "finish_reason": "STOP", **fields})


@pytest.mark.parametrize(
    ("expectation", "right", "wrong", "words"),
    [
        ({"equals": " billing\n"}, "billing", "Billing", "expected ' billing\\n', found 'Billing'"),
        ({"one_of": ["a", "b "]}, "b", "c", "expected one of 'a', 'b ', found 'c'"),
        ({"contains": "refund"}, "a refund is due", "no", "expected 'refund' in it, found 'no'"),
        ({"contains": ["x", "y", "z"]}, "zyx", "y", "expected 'x' and 'z' in it, found 'y'"),
        ({"not_contains": "sorry"}, "fine", "so sorry", "expected no 'sorry' in it"),
        ({"not_contains": ["a", "b"]}, "c", "ab", "expected no 'a' and no 'b' in it, found 'ab'"),
        ({"matches": r"(?i)^ticket \d{3}$"}, "Ticket 123", "Ticket 12", "expected something that matches"),
        ({"matches": "b+"}, "abbc", "ac", "matches 'b+', found 'ac'"),
        (
            {"json_schema": TEAM},
            '{"team": "billing"}',
            '{"team": "sales"}',
            """found at $['team']: "sales" is not one""",
        ),
        ({"json_schema": TEAM}, '{"team": "billing"}', "billing", "expected JSON (JSON is malformed"),
        ({"json_schema": TEAM}, '{"team": "billing"}', "{}", """found at $: "team" is a required property"""),
        ({"min_length": 3}, "abc", "ab", "expected at least 3 characters, found 'ab'"),
        ({"max_length": 3}, "abc", "abcd", "expected at most 3 characters, found 'abcd'"),
        ({}, "anything", "", "the answer was empty"),
    ],
)
def test_each_kind_is_met_or_says_what_was_expected_and_found(
    expectation: dict[str, Any], right: str, wrong: str, words: str
) -> None:
    expected = expecting(**expectation)
    assert expected.problem(answer(right)) == ""
    assert words in expected.problem(answer(wrong))


def test_an_answer_may_be_too_slow() -> None:
    assert expecting(max_latency=2).problem(answer("x", latency=2.0)) == ""
    assert expecting(max_latency=2).problem(answer("x", latency=2.5)) == "expected an answer within 2 s, found 2.500 s"


def test_all_expectations_of_a_case_must_hold() -> None:
    both = expecting(contains="a", max_length=3)
    assert both.problem(answer("abc")) == ""
    assert both.problem(answer("xyzw")) == (
        "expected 'a' in it, found 'xyzw'; expected at most 3 characters, found 'xyzw'"
    )


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(), "there was no answer"),
        (Reply(blocked="SAFETY Violence."), "the prompt was blocked: SAFETY Violence."),
        (Reply(text="right", finish_reason="MAX_TOKENS"), "found MAX_TOKENS (it was cut off at"),
        (Reply(finish_reason="SAFETY"), "expected the answer to end with STOP, found SAFETY"),
        (Reply(text="right", finish_reason="A_NEW_REASON"), "found A_NEW_REASON"),
    ],
)
def test_what_is_no_complete_answer_fails_whatever_was_expected(reply: Reply, words: str) -> None:
    assert words in expecting().problem(reply)
    assert words in expecting(equals="right").problem(reply)


def test_another_way_to_end_can_be_expected() -> None:
    cut = expecting(finish_reason=["STOP", "MAX_TOKENS"], contains="r")
    assert cut.problem(Reply(text="right", finish_reason="MAX_TOKENS")) == ""
    assert cut.problem(Reply(text="no", finish_reason="MAX_TOKENS")) == "expected 'r' in it, found 'no'"
    assert expecting(finish_reason="SAFETY").problem(Reply(finish_reason="SAFETY")) == ""
    assert "end with SAFETY, found STOP" in expecting(finish_reason="SAFETY").problem(answer("gladly"))


@pytest.mark.parametrize(
    ("expectation", "words"),
    [
        ({"matches": "["}, "matches: found .* expected a regular expression"),
        ({"matches": r"(a)\1"}, "matches: .* without look-around and back-references"),
        ({"matches": "((a{1000}){1000}){1000}"}, "matches: "),
        ({"matches": "a" * 1001}, "length <= 1000"),
        ({"json_schema": {"type": "nonsense"}}, "json_schema: found"),
        ({"json_schema": {"pattern": "["}}, "json_schema: found"),
        ({"json_schema": {"$ref": "#/nowhere"}}, "references only within itself"),
        ({"min_length": 3, "max_length": 2}, "min_length: found 3, expected at most max_length, 2"),
        ({"equals": " "}, "equals: found only spaces, expected a text"),
        ({"one_of": ["a", "\n"]}, "one_of: found only spaces, expected a text"),
        (
            {"equals": "abc", "max_length": 2},
            "equals: found 'abc', which another expectation refuses: expected at most 2",
        ),
        (
            {"equals": " a ", "min_length": 3},
            "equals: found .*, which another expectation refuses: expected at least 3",
        ),
        ({"equals": "abc", "contains": "x"}, "equals: found 'abc', which another expectation refuses: expected 'x' in"),
        ({"equals": "abc", "not_contains": "b"}, "equals: found 'abc', which another expectation refuses"),
        ({"equals": "abc", "one_of": ["x", "y"]}, "equals: found 'abc', which another expectation refuses"),
        ({"equals": "abc", "matches": "^x"}, "equals: found 'abc', which another expectation refuses"),
        ({"equals": "abc", "json_schema": {}}, "equals: found 'abc', which another expectation refuses: expected JSON"),
        ({"one_of": ["abc", "def"], "max_length": 2}, "one_of: found 'abc', which another expectation refuses"),
        ({"contains": "abc", "max_length": 2}, "max_length: found 2, expected at least 3, for `contains`"),
        ({"contains": ["a", "abc"], "max_length": 2}, "max_length: found 2, expected at least 3, for `contains`"),
        ({"contains": "abc", "not_contains": ["b"]}, "not_contains: found 'b', which `contains` expects in 'abc'"),
        ({"max_latency": 0}, r"> 0.0 - at `\$.max_latency`"),
        ({"one_of": []}, "length >= 1"),
        ({"finish_reason": "DONE"}, "Invalid enum value 'DONE'"),
    ],
)
def test_what_cannot_be_expected_is_refused_when_it_is_read(expectation: dict[str, Any], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        expecting(**expectation)


@pytest.mark.parametrize(
    "expectation",
    [
        {"matches": "(a+)+$"},
        {"matches": "(a|a)*b"},
        {"json_schema": {"pattern": "^(a|aa)+$"}},
        {"json_schema": {"patternProperties": {"(a+)+$": False}, "additionalProperties": False}},
        {"json_schema": {"uniqueItems": True}},
        {"json_schema": {"items": {"$ref": "#"}, "uniqueItems": True}},
    ],
)
@pytest.mark.parametrize(
    "text",
    [
        "a" * 60_000 + "!",
        '"' + "a" * 60_000 + '!"',
        '{"' + "a" * 60_000 + '!": 1}',
        "[" * 60_000,
        "[" * 30_000 + "]" * 30_000,
        "[" + ",".join(f'{{"a":{number}}}' for number in range(6_000)) + "]",
    ],
)
def test_hostile_answers_are_judged_at_once(expectation: dict[str, Any], text: str) -> None:
    expected, started = expecting(**expectation), time.process_time()
    assert len(expected.problem(answer(text))) < 1000
    assert time.process_time() - started < 3


@pytest.mark.parametrize(
    "expectation",
    [
        {
            "equals": "abc",
            "max_length": 3,
            "min_length": 3,
            "contains": ["a", "c"],
            "not_contains": "x",
            "matches": "^a",
        },
        {"equals": " abc ", "max_length": 3},
        {"one_of": ["yes", "no"], "max_length": 2},
        {"equals": "1", "json_schema": {"type": "integer"}, "max_latency": 1e-9},
        {"contains": " ", "not_contains": "  "},
    ],
)
def test_what_some_answer_can_be_is_expected(expectation: dict[str, Any]) -> None:
    assert expecting(**expectation)


EVERYTHING = [
    expecting(equals="x", one_of=["x"], contains=["x"], not_contains="y", matches=r"\w\b"),
    expecting(json_schema=TEAM, min_length=3, max_length=4, max_latency=1),
]
JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists).map(
    lambda value: msgspec.json.encode(value).decode()
)


@given(st.text(st.characters()) | JSON, st.text(), st.floats())
def test_no_answer_crashes_a_verdict(text: str, finish_reason: str, latency: float) -> None:
    for reason in ("STOP", finish_reason):
        reply = Reply(text=storable(text), finish_reason=reason, latency=latency)
        problems = [expected.problem(reply) for expected in EVERYTHING]
        assert any(problems)
        "".join(problems).encode()


def test_every_expectation_has_its_check() -> None:
    assert set(CHECKS) == set(Expectations.__struct_fields__) - {"finish_reason"}


@given(st.text(st.characters(codec=None, exclude_categories=[])))
def test_any_text_can_be_stored(text: str) -> None:
    assert "\0" not in storable(text).encode().decode()
