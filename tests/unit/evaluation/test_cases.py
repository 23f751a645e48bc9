"""Cases as they are read, and what becomes of their answers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from google.genai.types import GenerateContentConfig
from hypothesis import given
from hypothesis import strategies as st
from vertex_tuning.datasets.rows import Content, Part, Row, parse_row
from vertex_tuning.evaluation.cases import (
    case_of,
    parse_cases,
    pass_share,
    sample_cases,
    summarize,
    values_of,
)
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.results import SmokeAnswer


def answered(problem: str = "", latency: float = 1.0, **texts: str) -> SmokeAnswer:
    given = {"name": "n", "prompt": "p", "answer": "a", **texts}
    return SmokeAnswer(**given, problem=problem, latency=latency, tokens=3, finish_reason="STOP")


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ({"prompt": "?", "equal": "x"}, r"cases\[1\]: found .*'equal': 'x'.*unknown field `equal`"),
        ({"prompt": "?", "equals": False}, r"cases\[1\]\.equals: found False\. Expected `str \| null`"),
        ({"prompt": "?", "contains": ["a", 3]}, r"cases\[1\]\.contains\[1\]: found 3\. Expected `str`"),
        ({"prompt": "?", "matches": "["}, r"cases\[1\]: found .*expected a regular expression"),
        ({}, r"cases\[1\]: found \{\}.*prompt: found none"),
        ({"turns": [{"role": "model", "text": "Hi."}]}, "turns that end with a turn of the user"),
        ({"turns": [{"role": "boss", "text": "Hi."}]}, r"turns\[0\]\.role: found 'boss'"),
        ({"turns": [{"role": "user"}]}, "expected either text or parts"),
        ({"prompt": "?", "name": "first"}, "found the name 'first' twice"),
        ("?", r"cases\[1\]: found '\?'\. Expected `object`"),
    ],
)
def test_what_is_no_case_is_named_with_place_and_finding(case: Any, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        parse_cases([{"prompt": "?", "name": "first"}, case])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("top_p", -0.1),
        ("top_k", 0),
        ("max_output_tokens", 0),
        ("stop_sequences", ["a"] * 6),
        ("stop_sequences", [""]),
        ("seed", 2**31),
        ("frequency_penalty", 2.0),
        ("response_mime_type", "text/html"),
        ("tempreature", 1.0),
    ],
)
def test_generation_settings_have_limits(field: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"cases\[0\]\.generation_config.*{field}"):
        parse_cases([{"prompt": "?", "generation_config": {field: value}}])


FIELDS = ("name", "prompt", "turns", "equals", "contains", "matches", "json_schema", "min_length", "finish_reason")
NESTED = ("generation_config", "temperature", "thinking_config", "role", "text", "parts", "type", "pattern", "$ref")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "user", "[", "object", "#/x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS + NESTED) | st.integers(), inner)
    ),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS + NESTED), ANYTHING) | ANYTHING, max_size=3) | ANYTHING)
def test_whatever_the_file_says_is_a_case_or_a_configuration_error(cases: Any) -> None:
    try:
        parse_cases(cases)
    except ConfigurationError as error:
        assert "smoke_test.cases" in str(error)  # noqa: PT017 - either is right


def test_every_case_has_a_name_of_its_own() -> None:
    prompts = [{"prompt": "Where is it?"}, {"prompt": "Where  is\nit?"}, {"prompt": "Where is it? (2)"}]
    named = parse_cases([*prompts, {"prompt": "x" * 100}, {"prompt": "?", "name": "Where is it?"}])
    names = [case.name for case in named]
    assert names == ["Where is it? (2)", "Where is it? (3)", "Where is it? (2) (2)", "x" * 59 + "…", "Where is it?"]


@given(st.lists(st.sampled_from(["a", "a (2)", "b", " "]).map(lambda prompt: {"prompt": prompt})))
def test_names_are_unique_and_stay(cases: list[dict[str, Any]]) -> None:
    names = [case.name for case in parse_cases(cases)]
    assert len(set(names)) == len(cases)
    assert names == [case.name for case in parse_cases(cases)]


def test_a_conversation_is_asked_turn_by_turn() -> None:
    turns = [{"text": "Hi."}, {"role": "model", "text": "Hello."}]
    with_prompt, without = parse_cases([{"turns": turns, "prompt": "Bye."}, {"turns": [*turns, {"text": "Bye."}]}])
    assert with_prompt.contents() == without.contents()
    assert [turn["role"] for turn in without.contents()] == ["user", "model", "user"]
    assert with_prompt.question == without.question == "Bye."


def content(role: str, *texts: str) -> Content:
    return Content(role, [Part(text=text) for text in texts])


def test_an_example_becomes_a_case_with_its_earlier_turns() -> None:
    turns = [content("user", "hi"), content("MODEL", "hello"), content("USER", "good", "bye"), content("model", "bye")]
    case = case_of(Row(turns, content("system", "Be kind.")))
    assert (case.question, case.equals, case.system_instruction) == ("goodbye", "bye", "Be kind.")
    assert [turn["role"] for turn in case.contents()] == ["user", "model", "user"]
    assert case.contents()[2]["parts"] == [{"text": "good"}, {"text": "bye"}]


def test_examples_that_cannot_be_compared_are_left_out() -> None:
    image = Content("user", [Part(file_data={"fileUri": "gs://b/i.png", "mimeType": "image/png"})])
    call = Content("model", [Part(function_call={"name": "f"})])
    right = content("model", "cat")
    rows = [Row([]), Row([right]), Row([image, call]), Row([Content("user"), right]), Row([image, right])]
    [case] = sample_cases(rows)
    assert (case.name, case.equals) == ("sample 1", "cat")
    assert case.contents()[0]["parts"] == [{"fileData": {"fileUri": "gs://b/i.png", "mimeType": "image/png"}}]


def test_answers_are_counted_and_their_values_named() -> None:
    cases = [answered(latency=number / 10) for number in range(1, 20)] + [answered("wrong", latency=9.0)]
    assert summarize(cases).passed == 19
    assert values_of(cases, [answered("wrong")]) == {
        "smoke.pass_share": 0.95,
        "sample.exact_share": 0.0,
        "smoke.latency_p95": 1.9,
    }
    assert values_of([], []) == {}
    assert values_of([answered()], []) == {"smoke.pass_share": 1.0, "smoke.latency_p95": 1.0}
    assert pass_share([]) is None


def test_long_texts_are_cut_for_xcom() -> None:
    cut = answered(problem="x" * 501, answer="y" * 5000).cut()
    assert {len(cut.problem), len(cut.answer)} == {500}
    assert cut.answer.endswith("…")
    assert msgspec.structs.asdict(cut)["name"] == "n"


def test_an_example_is_asked_with_all_that_it_trains_on() -> None:
    """Also in the other spelling of its fields, and with a turn that names no role."""
    tools = [{"functionDeclarations": [{"name": "weather"}]}]
    row = {
        "system_instruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}]},
            {"parts": [{"text": "Hello"}]},
            {"role": "user", "parts": [{"file_data": {"mime_type": "image/png", "file_uri": "gs://b/a.png"}}]},
            {"role": "model", "parts": [{"text": "A lamp."}]},
        ],
        "tools": tools,
        "generation_config": {"media_resolution": "MEDIA_RESOLUTION_LOW"},
    }
    case = case_of(parse_row(msgspec.json.encode(row)))
    assert [turn["role"] for turn in case.contents()] == ["user", "model", "user"]
    assert case.contents()[2]["parts"] == [{"fileData": {"mimeType": "image/png", "fileUri": "gs://b/a.png"}}]
    config = case.config()
    assert (config["system_instruction"], config["tools"]) == ("Be brief.", tools)
    assert config["media_resolution"] == "MEDIA_RESOLUTION_LOW"
    GenerateContentConfig.model_validate(config)
