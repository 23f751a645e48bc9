"""Prompts a tuned model must answer well before anyone uses it. Pure: asking is the hook's part."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from vertex_tuning.datasets import Content, Row
from vertex_tuning.exceptions import ConfigurationError

GREEDY: Final = {"temperature": 0.0, "max_output_tokens": 256}
"""How cases are asked unless they say otherwise: always the same answer."""


class SmokeCase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One prompt and what its answer must be.

    :param prompt: the user's turn
    :param equals: the whole answer, compared without surrounding space
    :param one_of: answers that will do
    :param contains: a text the answer must have in it
    :param system_instruction: sent with the prompt; should be the one the model was tuned with
    :param generation_config: sampling settings, e.g. `{"temperature": 0.2, "top_p": 0.9}`
    :param turns: what was said before the prompt, as `contents`
    """

    prompt: str
    equals: str | None = None
    one_of: list[str] | None = None
    contains: str | None = None
    system_instruction: str | None = None
    generation_config: dict[str, Any] = msgspec.field(default_factory=dict)
    turns: list[dict[str, Any]] = msgspec.field(default_factory=list)

    def contents(self) -> list[dict[str, Any]]:
        """The request's turns."""
        return [*self.turns, {"role": "user", "parts": [{"text": self.prompt}]}]

    def config(self) -> dict[str, Any]:
        """The request's settings."""
        instruction = {"system_instruction": self.system_instruction} if self.system_instruction else {}
        return {**GREEDY, **self.generation_config, **instruction}

    def problem(self, answer: str) -> str:
        """What is wrong with an answer; empty when nothing is. Without expectation, any answer but none will do."""
        text = answer.strip()
        if not text:
            return "no answer"
        if self.equals is not None and text != self.equals.strip():
            return f"expected {self.equals!r}"
        if self.one_of is not None and text not in self.one_of:
            return f"expected one of {', '.join(map(repr, self.one_of))}"
        if self.contains is not None and self.contains not in text:
            return f"expected {self.contains!r} in it"
        return ""


class SmokeAnswer(msgspec.Struct, frozen=True):
    """What became of a case. `problem` is empty when it passed; `latency` is in seconds."""

    prompt: str
    answer: str
    problem: str
    latency: float
    tokens: int


def parse_cases(cases: list[dict[str, Any]]) -> list[SmokeCase]:
    """:raises ConfigurationError: names the case and the field"""
    try:
        return msgspec.convert(cases, list[SmokeCase])
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"smoke_test: {error}.") from error


def case_of(row: Row) -> SmokeCase:
    """A dataset's example as a case: its own answer is expected."""
    *before, question, answer = row.contents
    return SmokeCase(
        prompt=_text(question),
        equals=_text(answer),
        system_instruction=_text(row.system_instruction) if row.system_instruction else None,
        turns=[{"role": (turn.role or "user").lower(), "parts": [{"text": _text(turn)}]} for turn in before],
    )


def _text(content: Content) -> str:
    return "".join(part.text or "" for part in content.parts)
