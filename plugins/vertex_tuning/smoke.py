"""Prompts a tuned model must answer well before anyone uses it. Pure: asking is the hook's part."""

from __future__ import annotations

from typing import Any

import msgspec

from vertex_tuning.exceptions import ConfigurationError

GREEDY = {"temperature": 0.0, "max_output_tokens": 64}
"""How cases are asked unless they say otherwise: always the same answer."""


class SmokeCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One prompt and what its answer must be.

    :param prompt: the user's turn
    :param equals: the whole answer, compared without surrounding space
    :param one_of: answers that will do
    :param contains: a text the answer must have in it
    :param system_instruction: sent with the prompt; should be the one the model was tuned with
    :param generation_config: sampling settings, e.g. `{"temperature": 0.2, "top_p": 0.9}`
    """

    prompt: str
    equals: str | None = None
    one_of: list[str] | None = None
    contains: str | None = None
    system_instruction: str | None = None
    generation_config: dict[str, Any] = msgspec.field(default_factory=dict)

    def config(self) -> dict[str, Any]:
        """The request's settings."""
        instruction = {"system_instruction": self.system_instruction} if self.system_instruction else {}
        return {**GREEDY, **self.generation_config, **instruction}

    def problem(self, answer: str | None) -> str | None:
        """What is wrong with an answer, or None. No expectation means any answer but an empty one."""
        text = (answer or "").strip()
        if not text:
            return "no answer"
        if self.equals is not None and text != self.equals.strip():
            return f"expected {self.equals!r}"
        if self.one_of is not None and text not in self.one_of:
            return f"expected one of {', '.join(map(repr, self.one_of))}"
        if self.contains is not None and self.contains not in text:
            return f"expected {self.contains!r} in it"
        return None


class SmokeAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a case. `problem` is empty when it passed; `latency` is in seconds."""

    prompt: str
    answer: str
    problem: str = ""
    latency: float = 0.0
    tokens: int = 0


def parse_cases(cases: list[dict[str, Any]]) -> list[SmokeCase]:
    """:raises ConfigurationError: names the case and the field"""
    try:
        return msgspec.convert(cases, list[SmokeCase])
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"smoke_test: {error}.") from error
