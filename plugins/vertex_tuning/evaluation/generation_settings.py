"""How a response is sampled: settings of a request, and their defaults by base model. Pure."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec

from vertex_tuning.evaluation.expectations import NonEmpty
from vertex_tuning.evaluation.mistakes import explain
from vertex_tuning.exceptions import ConfigurationError

MAX_OUTPUT_TOKENS: Final = 1024
"""Default of this project: longer responses of a model that repeats itself cost money."""

FIRST_WITH_LEVELS: Final = 3
"""First generation of Gemini whose thinking has levels instead of a budget in tokens."""

LEAST_BUDGET_OF_PRO: Final = 128
"""Smallest thinking budget of Gemini 2.5 Pro, which cannot be switched off.

Source: https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/capabilities/thinking
"""

_GEMINI: Final = re.compile(r"gemini-(?P<major>\d+)\.(?P<minor>\d+)-(?P<size>[a-z]+)", re.ASCII)


class Thinking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much a model thinks first: 2.5 models take a budget in tokens (-1: dynamic), 3.x models take a level."""

    thinking_budget: Annotated[int, msgspec.Meta(ge=-1, le=32_768)] | None = None
    thinking_level: Literal["MINIMAL", "LOW", "MEDIUM", "HIGH"] | None = None


class GenerationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of a request. A field without a value is left to the evaluation's settings, or to the service.

    The fields are those of the service; limits: https://docs.cloud.google.com/gemini-enterprise-agent-platform/reference/models/inference
    """

    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1, le=65_536)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, msgspec.Meta(ge=1, lt=2**31)] | None = None
    seed: Annotated[int, msgspec.Meta(ge=-(2**31), lt=2**31)] | None = None
    stop_sequences: Annotated[list[NonEmpty], msgspec.Meta(max_length=5)] | None = None
    presence_penalty: Annotated[float, msgspec.Meta(ge=-2, lt=2)] | None = None
    frequency_penalty: Annotated[float, msgspec.Meta(ge=-2, lt=2)] | None = None
    response_mime_type: Literal["text/plain", "application/json"] | None = None
    response_json_schema: dict[str, Any] | None = None
    thinking_config: Thinking | None = None
    media_resolution: Literal["MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_MEDIUM", "MEDIA_RESOLUTION_HIGH"] | None = None

    def over(self, others: GenerationSettings) -> GenerationSettings:
        """These settings, completed by others."""
        return msgspec.structs.replace(others, **self.given())

    def given(self) -> dict[str, Any]:
        """The settings that are not None, by name."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}


def default_settings(base_model: str) -> GenerationSettings:
    """Settings of the prompts to a tuned model, unless its tuning says otherwise.

    Thinking is at its lowest, as Google's tuning guide advises: budget 0 up to generation 2.5, level MINIMAL from
    generation 3 on. Before generation 3 the response is greedy (temperature 0), so that it is the same each time. From
    generation 3 on no temperature is sent: Google advises against less than the default of 1.0.

    Sources: https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/supervised-tuning,
    https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/start/gemini-3-prompting-guide

    :param base_model: id of a Gemini model; for any other text the response is greedy, without a thinking setting
    """
    gemini = _GEMINI.match(base_model)
    if gemini is None:
        return GenerationSettings(temperature=0.0, max_output_tokens=MAX_OUTPUT_TOKENS)
    major, minor = int(gemini["major"]), int(gemini["minor"])
    if major >= FIRST_WITH_LEVELS:
        level: Literal["MINIMAL", "LOW"] = "LOW" if gemini["size"] == "pro" else "MINIMAL"
        return GenerationSettings(max_output_tokens=MAX_OUTPUT_TOKENS, thinking_config=Thinking(thinking_level=level))
    budget = LEAST_BUDGET_OF_PRO if gemini["size"] == "pro" else 0
    thinks = (major, minor) >= (2, 5)
    return GenerationSettings(
        temperature=0.0,
        max_output_tokens=MAX_OUTPUT_TOKENS,
        thinking_config=Thinking(thinking_budget=budget) if thinks else None,
    )


def parse_settings(settings: Any) -> GenerationSettings:
    """Parse the settings of an evaluation.

    :param settings: mapping of the fields of `GenerationSettings`; None for no settings
    :raises ConfigurationError: names the field, the value found and what is expected
    """
    try:
        return msgspec.convert(settings or {}, GenerationSettings)
    except msgspec.ValidationError as error:
        raise ConfigurationError(explain(error, "generation_config", settings)) from error
