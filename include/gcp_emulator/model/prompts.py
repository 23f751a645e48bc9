"""Gemini contents as plain text: prompts and answers of the small language model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .tokens import Ids, clean, features

EARLIER_TURNS = 6
ANSWERS_PER_ROW = 4
# How much the last turn, the turns before it and the system instruction weigh in a prompt.
_WEIGHTS = (1.0, 0.5, 0.3)


class RowError(ValueError):
    """A dataset row cannot be trained on; the message says why."""


class Turn(NamedTuple):
    """One entry of `contents`; the role in lower case, `user` if it is missing."""

    role: str
    text: str


class Prompt(NamedTuple):
    """A system instruction and the turns so far."""

    system: str
    turns: tuple[Turn, ...]

    def features(self) -> tuple[Ids, NDArray[np.float32]]:
        """Hashed features and their weights. The weights of a group do not depend on the length of its text."""
        last = self.turns[-1].text if self.turns else ""
        earlier = "\n".join(turn.text for turn in self.turns[-1 - EARLIER_TURNS : -1])
        groups = [features(text, salt) for salt, text in enumerate((last, earlier, self.system))]
        weights = [
            np.full(len(ids), weight / max(len(ids), 1) ** 0.5, np.float32)
            for ids, weight in zip(groups, _WEIGHTS, strict=True)
        ]
        return np.concatenate(groups), np.concatenate(weights)


class Preference(NamedTuple):
    """A prompt with the answer that is preferred to another."""

    prompt: Prompt
    chosen: str
    rejected: str


def as_list(value: Any) -> list[Any]:
    """A repeated field; the service also accepts a single value."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def text_of(content: Any) -> str:
    """The text of a Content's parts; a part that is not text (a function call, a file) as its JSON.

    :raises RowError: the value is not a Content
    """
    if not isinstance(content, dict):
        raise RowError(f"a content must be an object, not {type(content).__name__}.")
    return "".join(_part_text(part) for part in as_list(content.get("parts")))


def _part_text(part: Any) -> str:
    if not isinstance(part, dict):
        raise RowError(f"a part must be an object, not {type(part).__name__}.")
    text = part.get("text")
    return clean(text if isinstance(text, str) else json.dumps(part, sort_keys=True))


def turns_of(contents: Any) -> tuple[Turn, ...]:
    """The turns of `contents`.

    :raises RowError: an item is not a Content
    """
    turns = as_list(contents)
    texts = [text_of(turn) for turn in turns]
    return tuple(Turn(str(turn.get("role") or "user").lower(), text) for turn, text in zip(turns, texts, strict=True))


def _prompt(row: Any) -> Prompt:
    if not isinstance(row, dict):
        raise RowError("a row must be an object.")
    if not row.get("contents"):
        raise RowError("Missing required 'contents' field.")
    system = row.get("systemInstruction") or row.get("system_instruction")
    return Prompt(text_of(system) if system else "", turns_of(row["contents"]))


def supervised_row(row: Any) -> list[tuple[Prompt, str]]:
    """The last :data:`ANSWERS_PER_ROW` model turns of a row, each with the turns before it.

    :raises RowError: the row has no model turn
    """
    system, turns = _prompt(row)
    places = [place for place, turn in enumerate(turns) if turn.role == "model"][-ANSWERS_PER_ROW:]
    if not places:
        raise RowError("The contents have no turn with the role 'model'.")
    return [(Prompt(system, turns[:place]), turns[place].text) for place in places]


def preference_row(row: Any) -> Preference:
    """A row of a preference dataset, its completion with the higher score first.

    :raises RowError: the row does not have two completions with different scores
    """
    prompt = _prompt(row)
    completions = row.get("completions")
    if not isinstance(completions, list) or len(completions) != 2:
        raise RowError("There must be exactly two 'completions'.")
    scored = sorted((_completion(item) for item in completions), reverse=True)
    if scored[0][0] == scored[1][0]:
        raise RowError("The two 'completions' must have different scores.")
    return Preference(prompt, scored[0][1], scored[1][1])


def _completion(item: Any) -> tuple[float, str]:
    if not isinstance(item, dict) or not isinstance(item.get("score"), int | float):
        raise RowError("Each of the 'completions' must have a 'score' and a 'completion'.")
    return float(item["score"]), text_of(item.get("completion"))


def answers_of(rows: Sequence[tuple[Prompt, str]] | Preference) -> list[str]:
    """The texts a row teaches the model to write."""
    return [rows.chosen, rows.rejected] if isinstance(rows, Preference) else [answer for _, answer in rows]
