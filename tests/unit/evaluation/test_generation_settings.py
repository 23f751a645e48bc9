"""Settings of prompts: their defaults by base model, and what a tuning or a case changes."""

from __future__ import annotations

from typing import Any

import pytest
from vertex_tuning.evaluation.cases import parse_cases
from vertex_tuning.evaluation.generation_settings import GenerationSettings, default_settings, parse_settings
from vertex_tuning.exceptions import ConfigurationError


@pytest.mark.parametrize(
    ("base_model", "temperature", "thinking"),
    [
        ("gemini-3.5-flash", None, {"thinking_level": "MINIMAL"}),
        ("gemini-3.1-flash-lite", None, {"thinking_level": "MINIMAL"}),
        ("gemini-3.1-pro", None, {"thinking_level": "LOW"}),
        ("gemini-2.5-flash", 0.0, {"thinking_budget": 0}),
        ("gemini-2.5-flash-lite-001", 0.0, {"thinking_budget": 0}),
        ("gemini-2.5-pro", 0.0, {"thinking_budget": 128}),
        ("gemini-2.0-flash", 0.0, None),
        ("", 0.0, None),
        ("projects/p/locations/l/models/1@1", 0.0, None),
    ],
)
def test_defaults_follow_the_generation(base_model: str, temperature: float | None, thinking: Any) -> None:
    [case] = parse_cases([{"prompt": "?"}])
    config = case.under(default_settings(base_model)).config()
    found = config.get("thinking_config")
    assert config.get("temperature") == temperature
    assert (found and {name: value for name, value in found.items() if value is not None}) == thinking
    assert config["max_output_tokens"] == 1024


def test_the_case_goes_before_the_tuning_and_the_tuning_before_the_default() -> None:
    settings = parse_settings({"temperature": 0.3, "max_output_tokens": 50}).over(default_settings("gemini-2.0-flash"))
    usual, other = parse_cases(
        [{"prompt": "?"}, {"prompt": "?", "generation_config": {"temperature": 1.5, "top_k": 3}}]
    )
    assert usual.under(settings).config() == {"temperature": 0.3, "max_output_tokens": 50}
    assert other.under(settings).config() == {"temperature": 1.5, "top_k": 3, "max_output_tokens": 50}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 3}, r"generation_config.temperature: found 3. Expected `float` <= 2.0."),
        ({"heat": 1}, "generation_config: found .*unknown field `heat`"),
        (
            {"thinking_config": {"thinking_level": "SOME"}},
            "thinking_config.thinking_level: found 'SOME'",
        ),
        ("hot", "generation_config: found 'hot'"),
    ],
)
def test_a_mistake_names_the_field(settings: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_settings(settings)


def test_nothing_given_changes_nothing() -> None:
    assert parse_settings(None) == GenerationSettings()
    assert parse_settings({}).over(default_settings("gemini-2.5-flash")) == default_settings("gemini-2.5-flash")
