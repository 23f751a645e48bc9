from __future__ import annotations

from typing import Any

import pytest
from vertex_tuning.datasets import Content, Part, Row
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.smoke import SmokeCase, case_of, parse_cases


@pytest.mark.parametrize(
    ("expectation", "answer", "passes"),
    [
        ({"equals": "billing"}, " billing\n", True),
        ({"equals": "billing"}, "Billing", False),
        ({"one_of": ["a", "b"]}, "b", True),
        ({"one_of": ["a", "b"]}, "c", False),
        ({"contains": "refund"}, "a refund is due", True),
        ({"contains": "refund"}, "no", False),
        ({}, "anything", True),
        ({}, "  ", False),
    ],
)
def test_expectations(expectation: dict[str, Any], answer: str, passes: bool) -> None:
    assert bool(SmokeCase(prompt="?", **expectation).problem(answer)) is not passes


def test_cases_are_asked_greedily_unless_they_say_otherwise() -> None:
    assert SmokeCase(prompt="?").config()["temperature"] == 0
    assert SmokeCase(prompt="?", generation_config={"temperature": 1.5}).config()["temperature"] == 1.5


def test_an_unknown_field_of_a_case_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"`equal`.*\$\[1\]"):
        parse_cases([{"prompt": "?"}, {"prompt": "?", "equal": "x"}])


def test_an_example_becomes_a_case_with_its_earlier_turns() -> None:
    turns = [("user", "hi"), ("model", "hello"), ("user", "bye"), ("model", "see you")]
    contents = [Content(role, [Part(text=text)]) for role, text in turns]
    case = case_of(Row(contents, Content(parts=[Part(text="Be kind.")])))
    assert (case.prompt, case.equals, case.system_instruction) == ("bye", "see you", "Be kind.")
    assert [turn["role"] for turn in case.contents()] == ["user", "model", "user"]
