"""Dataset rows: which the tuning service accepts, refuses and drops.

Shapes: https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/supervised-tuning/prepare-data and
…/models/tuning/preference-tuning/prepare-data. Rows are numbered from 0 in refusals, from 1 in the statistics, as the
service does. Unknown keys are left out; the service's behaviour is not documented.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from ..model.engine import count_tokens
from ..state import Resource

ROLES: Final = ("user", "model")
FILE_TOKENS: Final = 258
"""Tokens of an image or file part: Gemini's count for one image tile."""
_DATA_KEYS: Final = ("text", "fileData", "inlineData", "functionCall", "functionResponse")
_SNAKE: Final = {
    "file_data": "fileData",
    "inline_data": "inlineData",
    "function_call": "functionCall",
    "function_response": "functionResponse",
}


class RowError(Exception):
    """A row is refused, with the service's message."""


class Row(NamedTuple):
    """A row in canonical form, and the figures for the statistics.

    :param scores: scores of the completions of a preference row
    """

    body: Resource
    input_tokens: int
    output_tokens: int
    characters: int
    messages: int
    scores: tuple[float, ...] = ()

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def decode(line: bytes, *, legacy: bool = False) -> Resource:
    """Decode a line of a dataset.

    :param legacy: whether rows in the `messages` form of Gemini 1.0 are accepted
    :raises RowError: the line is not a JSON object in UTF-8
    """
    try:
        row = msgspec.json.decode(line)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RowError(f"Not valid JSON: {error}") from None
    if not isinstance(row, dict):
        raise RowError("Must be a JSON object.")
    return _from_messages(row) if legacy and "messages" in row and "contents" not in row else row


def _from_messages(row: Resource) -> Resource:
    if not isinstance(row["messages"], list):
        raise RowError("'messages' must be a list.")
    turns = [
        {"role": m.get("role"), "parts": [{"text": m.get("content")}]} for m in row["messages"] if isinstance(m, dict)
    ]
    system = [turn for turn in turns if turn["role"] == "system"]
    contents = [turn for turn in turns if turn["role"] != "system"]
    return {"contents": contents} | ({"systemInstruction": system[0]} if system else {})


def supervised(row: Resource) -> Row:
    """Parse a row of supervised tuning.

    :raises RowError: the row cannot be trained on
    """
    contents = _contents(row)
    if contents[-1]["role"] != "model":
        raise RowError("The last entry of 'contents' must have the role 'model'.")
    system = _system(row)
    inputs = [*system, *(turn for turn in contents if turn["role"] != "model")]
    outputs = [turn for turn in contents if turn["role"] == "model"]
    return _row({"contents": contents}, system, inputs, outputs, len(contents))


def preference(row: Resource) -> Row:
    """Parse a row of preference tuning.

    :raises RowError: the row cannot be trained on
    """
    contents = _contents(row)
    if contents[-1]["role"] != "user":
        raise RowError("The last entry of 'contents' must have the role 'user'.")
    completions = _completions(row)
    system = _system(row)
    outputs = [item["completion"] for item in completions]
    made = _row(
        {"contents": contents, "completions": completions}, system, [*system, *contents], outputs, len(contents)
    )
    return made._replace(scores=tuple(item["score"] for item in completions))


CHECKS: Final[dict[str, Callable[[Resource], Row]]] = {"supervised": supervised, "preference": preference}


def _row(body: Resource, system: list[Resource], inputs: list[Resource], outputs: list[Resource], messages: int) -> Row:
    if system:
        body["systemInstruction"] = system[0]
    characters = sum(len(part.get("text", "")) for turn in [*inputs, *outputs] for part in turn["parts"])
    return Row(body, _tokens(inputs), _tokens(outputs), characters, messages)


def _tokens(turns: list[Resource]) -> int:
    return sum(_part_tokens(part) for turn in turns for part in turn["parts"])


def _part_tokens(part: Resource) -> int:
    if "text" in part:
        return count_tokens(part["text"])
    if "fileData" in part or "inlineData" in part:
        return FILE_TOKENS
    return count_tokens(msgspec.json.encode(part).decode())


def _contents(row: Resource) -> list[Resource]:
    contents = row.get("contents")
    if not contents:
        raise RowError("Missing required 'contents' field.")
    if not isinstance(contents, list):
        raise RowError("'contents' must be a list.")
    return [_turn(turn, f"contents[{i}]") for i, turn in enumerate(contents)]


def _system(row: Resource) -> list[Resource]:
    """The system instruction's turn; None if it is missing. Its role is ignored."""
    system = row.get("systemInstruction", row.get("system_instruction"))
    if system is None:
        return []
    if not isinstance(system, dict):
        raise RowError("'systemInstruction' must be an object.")
    return [{"parts": _parts(system, "systemInstruction")}]


def _turn(turn: Any, where: str) -> Resource:
    if not isinstance(turn, dict):
        raise RowError(f"{where} must be an object.")
    role = turn.get("role", "user")
    if not isinstance(role, str) or role.lower() not in ROLES:
        raise RowError(f"Invalid role {_quote(role)} in {where}; valid roles are 'user' and 'model'.")
    return {"role": role.lower(), "parts": _parts(turn, where)}


def _parts(turn: Resource, where: str) -> list[Resource]:
    parts = turn.get("parts")
    parts = [parts] if isinstance(parts, dict) else parts
    if not isinstance(parts, list) or not parts:
        raise RowError(f"{where} must have at least one entry in 'parts'.")
    return [_part(part, f"{where}.parts[{i}]") for i, part in enumerate(parts)]


def _part(part: Any, where: str) -> Resource:
    if not isinstance(part, dict):
        raise RowError(f"{where} must be an object.")
    part = {_SNAKE.get(key, key): value for key, value in part.items()}
    data = [key for key in _DATA_KEYS if part.get(key) is not None]
    if len(data) != 1:
        raise RowError(f"{where} must have exactly one of {', '.join(_DATA_KEYS)}.")
    expected = str if data[0] == "text" else dict
    if not isinstance(part[data[0]], expected):
        raise RowError(f"{where}.{data[0]} has the wrong type.")
    return {data[0]: part[data[0]]}


def _completions(row: Resource) -> list[Resource]:
    completions = row.get("completions")
    if not isinstance(completions, list) or len(completions) != 2:
        raise RowError("'completions' must have exactly two entries.")
    made = [_completion(item, f"completions[{i}]") for i, item in enumerate(completions)]
    if {item["score"] for item in made} != {0.0, 1.0}:
        raise RowError("'completions' must have one entry with score 1 and one with score 0.")
    return made


def _completion(item: Any, where: str) -> Resource:
    score = item.get("score") if isinstance(item, dict) else None
    if isinstance(score, bool) or not isinstance(score, (int, float)):
        raise RowError(f"{where} must have a number as 'score'.")
    turn = _turn(item.get("completion"), f"{where}.completion")
    if turn["role"] != "model":
        raise RowError(f"{where}.completion must have the role 'model'.")
    return {"score": float(score), "completion": turn}


def _quote(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 60 else repr(value)[:60] + "…"
