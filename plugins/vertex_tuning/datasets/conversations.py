"""Convert conversations of other formats to Gemini's: chat completions, messages of Gemini 1.0, ShareGPT. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final, NamedTuple

import msgspec

from vertex_tuning.datasets.choices import ConsecutiveTurns, Format
from vertex_tuning.datasets.findings import Problem, describe, key_of
from vertex_tuning.datasets.formats import (
    NOTES,
    ConversionError,
    Converted,
    conversion_error,
    gemini_row,
    require_known,
)
from vertex_tuning.datasets.function_calls import Call, call_part, read_calls, read_tools, response_part
from vertex_tuning.datasets.row_rules import problems

_SYSTEM: Final = "system"
_TOOL: Final = "tool"
_LEFT_OUT: Final = {"name": "the name of who speaks", "parallel_tool_calls": "a setting"}
"""Fields that convert to nothing, with what they hold. Each causes a warning."""
_DEPRECATED: Final = ("functions", "function_call")


class _Dialect(NamedTuple):
    """How a format writes conversations.

    :param messages: field with the messages
    :param role: field of a message with its role
    :param content: field of a message with its text
    :param roles: Gemini's role, `system` or `tool` by the format's role
    """

    messages: str
    role: str
    content: str
    roles: Mapping[str, str]


_MESSAGES: Final = _Dialect(
    "messages",
    "role",
    "content",
    {"system": _SYSTEM, "developer": _SYSTEM, "user": "user", "model": "model", "assistant": "model", "tool": _TOOL},
)
_SHAREGPT: Final = _Dialect(
    "conversations",
    "from",
    "value",
    {"system": _SYSTEM, "human": "user", "user": "user", "gpt": "model", "assistant": "model", "model": "model"},
)


def from_conversation(
    row: object, form: Format, instruction: str | None = None, consecutive_turns: ConsecutiveTurns = "refuse"
) -> Converted:
    """Convert a row of the format `messages`, `chat` or `sharegpt` to Gemini's format.

    :param row: decoded JSON
    :param instruction: system instruction for a row without a system instruction; None to leave it out
    :raises ConversionError: a part of the row would be lost, or the turns have a wrong order
    """
    dialect = _SHAREGPT if form == "sharegpt" else _MESSAGES
    if not isinstance(row, dict):
        raise conversion_error("type", "", row, f"an object with {dialect.messages}")
    if dialect.messages not in row:
        raise conversion_error("missing", f".{dialect.messages}", None, "a list of messages")
    messages = row[dialect.messages]
    if not isinstance(messages, list):
        raise conversion_error("type", f".{dialect.messages}", messages, "a list of messages")
    if form == "sharegpt" and all(isinstance(message, dict) and "role" in message for message in messages):
        dialect = _MESSAGES._replace(messages=dialect.messages)
    reader = _Reader(dialect)
    for index, message in enumerate(messages):
        reader.read(message, f".{dialect.messages}[{index}]")
    reader.end_responses()
    return _converted(row, dialect, reader, instruction, consecutive_turns)


def _converted(
    row: dict[str, Any],
    dialect: _Dialect,
    reader: _Reader,
    instruction: str | None,
    consecutive_turns: ConsecutiveTurns,
) -> Converted:
    for field in _DEPRECATED:
        if row.get(field):
            raise conversion_error("part", f".{field}", row[field], "tools, which replaced it")
    require_known(row, {dialect.messages, "tools", _SYSTEM, *_LEFT_OUT, *NOTES}, "")
    if row.get(_SYSTEM):
        reader.system.insert(0, _text(row[_SYSTEM], f".{_SYSTEM}"))
    contents, places = reader.contents, reader.places
    if consecutive_turns == "join":
        contents, places = _joined(contents, places)
    converted = gemini_row(contents, "\n".join(reader.system) or instruction)
    if row.get("tools"):
        converted["tools"] = read_tools(row["tools"], ".tools")
    _require_valid(converted, places, dialect)
    return Converted(converted, [*_left_out(row, ""), *reader.warnings])


class _Reader:
    """Reads the messages of a conversation in their order.

    :param places: JSON path of each turn in the original row
    """

    def __init__(self, dialect: _Dialect) -> None:
        self._dialect = dialect
        self._unanswered: list[Call] = []
        self._responses: dict[str, dict[str, Any]] = {}
        self._response_path = ""
        self.contents: list[dict[str, Any]] = []
        self.places: list[str] = []
        self.system: list[str] = []
        self.warnings: list[Problem] = []

    def read(self, message: object, path: str) -> None:
        """Read the next message.

        :raises ConversionError: it cannot be converted
        """
        dialect = self._dialect
        if not isinstance(message, dict):
            raise conversion_error("type", path, message, f"an object with {dialect.role} and {dialect.content}")
        role = self._role(message, path)
        if role == _TOOL:
            self._read_response(message, path)
            return
        self.end_responses()
        if role == _SYSTEM:
            self._read_system(message, path)
            return
        self._require_convertible(message, path, {"tool_calls"} if role == "model" else set())
        calls = read_calls(message["tool_calls"], path) if message.get("tool_calls") else []
        content = message.get(dialect.content)
        texts = [] if calls and not content else [{"text": _text(content, f"{path}.{dialect.content}")}]
        self._unanswered = calls
        self._add(role, [*texts, *map(call_part, calls)], path)

    def end_responses(self) -> None:
        """Write the responses to the calls of the last turn as one turn, in the order of the calls.

        :raises ConversionError: a call has no response
        """
        if not self._responses:
            return
        for call in self._unanswered:
            if call.id not in self._responses:
                expected = "a response to each call of the message before"
                raise ConversionError(
                    Problem("function", self.places[-1], f"no response to {describe(call.id)}", expected)
                )
        self._add("user", [self._responses[call.id] for call in self._unanswered], self._response_path)
        self._responses = {}

    def _add(self, role: str, parts: list[dict[str, Any]], path: str) -> None:
        self.contents.append({"role": role, "parts": parts})
        self.places.append(path)

    def _role(self, message: dict[str, Any], path: str) -> str:
        role, roles = message.get(self._dialect.role), self._dialect.roles
        if not isinstance(role, str) or role.lower() not in roles:
            raise conversion_error("role", f"{path}.{self._dialect.role}", role, f"one of {', '.join(roles)}")
        return roles[role.lower()]

    def _read_system(self, message: dict[str, Any], path: str) -> None:
        if self.contents:
            expected = "it before the first turn: Gemini has one instruction, for all turns of the example"
            raise ConversionError(Problem("system", path, "a system message after the first turn", expected))
        self._require_convertible(message, path, set())
        self.system.append(_text(message.get(self._dialect.content), f"{path}.{self._dialect.content}"))

    def _read_response(self, message: dict[str, Any], path: str) -> None:
        calls = {call.id: call.name for call in self._unanswered}
        if not calls:
            raise conversion_error("role", f"{path}.{self._dialect.role}", _TOOL, "tool_calls in the message before it")
        call = message.get("tool_call_id")
        if not isinstance(call, str) or call not in calls or call in self._responses:
            raise conversion_error(
                "function", f"{path}.tool_call_id", call, "the id of a call of the message before it"
            )
        require_known(message, {"role", "content", "name", "tool_call_id", *NOTES}, path)
        if message.get("name") not in (None, calls[call]):
            raise conversion_error("function", f"{path}.name", message["name"], describe(calls[call]))
        self._response_path = path
        self._responses[call] = response_part(calls[call], _text(message.get("content"), f"{path}.content"))

    def _require_convertible(self, message: dict[str, Any], path: str, further: set[str]) -> None:
        """Check that nothing of a message gets lost, and note what is left out."""
        weight = message.get("weight")
        if weight is not None and (weight != 1 or isinstance(weight, bool)):
            raise conversion_error(
                "part", f"{path}.weight", weight, "1 or none: Gemini learns from each turn of a model"
            )
        if message.get("function_call"):
            raise conversion_error(
                "part", f"{path}.function_call", message["function_call"], "tool_calls, which replaced it"
            )
        known = {self._dialect.role, self._dialect.content, "weight", "name", *further, *NOTES}
        require_known(message, known, path)
        self.warnings += _left_out(message, path)


def _left_out(value: dict[str, Any], path: str) -> list[Problem]:
    return [
        Problem(
            "left_out", path + key_of(field), describe(value[field]), f"no {field}: {words} is left out", warning=True
        )
        for field, words in _LEFT_OUT.items()
        if value.get(field) is not None
    ]


def _text(content: object, path: str) -> str:
    """The text of a message, which is a text or a list of text parts."""
    if isinstance(content, str) and content:
        return content
    if isinstance(content, list) and content:
        return "".join(_content_part(part, f"{path}[{index}]") for index, part in enumerate(content))
    raise conversion_error("empty" if content in ("", []) else "type", path, content, "a text")


def _content_part(part: object, path: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) and part["text"]:
        return str(part["text"])
    raise conversion_error("part", path, part, 'a part {"type": "text", "text": …}')


def _joined(contents: list[dict[str, Any]], places: list[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Join turns of the same role. Texts that meet have a line end between them."""
    kept = [index for index, turn in enumerate(contents) if not index or turn["role"] != contents[index - 1]["role"]]
    groups = [contents[start:end] for start, end in pairwise([*kept, len(contents)])]
    turns = [{"role": group[0]["role"], "parts": _joined_parts(group)} for group in groups]
    return turns, [places[index] for index in kept]


def _joined_parts(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    joined: list[dict[str, Any]] = []
    for part in (part for turn in turns for part in turn["parts"]):
        if joined and "text" in part and "text" in joined[-1]:
            joined[-1] = {"text": f"{joined[-1]['text']}\n{part['text']}"}
        else:
            joined.append(part)
    return joined


def _require_valid(converted: dict[str, Any], places: list[str], dialect: _Dialect) -> None:
    """Check a converted row by the rules of Gemini's format.

    :param places: JSON path of each turn in the original row
    :raises ConversionError: the row is invalid; the path is that of the original row
    """
    for problem in problems(converted):
        if not problem.warning:
            index = re.match(r"\.contents\[(\d+)\]", problem.path)
            path = f"{places[int(index[1])]}.{dialect.role}" if index else f".{dialect.messages}"
            expected = problem.expected
            if "twice in a row" in problem.found:
                expected += ". To join such turns, set consecutive_turns: join"
            raise ConversionError(msgspec.structs.replace(problem, path=path, expected=expected))
