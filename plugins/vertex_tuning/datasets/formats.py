"""Formats of rows other than Gemini's, and their conversion to Gemini's format. Pure.

- `messages`: rows of Gemini 1.0, with the roles system, user and model.
- `chat`: chat-completion rows, with the roles system or developer, user and assistant.
- `csv`: a column with the prompt and a column with the response.
- `fields`: JSON objects with a field for the prompt and a field for the response.

Rows of `messages` and `chat` have the form `{"messages": [{"role": …, "content": …}]}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from vertex_tuning.datasets.findings import Problem, describe, key_of
from vertex_tuning.datasets.row_rules import PREFERENCE_KEY, problems
from vertex_tuning.datasets.rows import UNREADABLE_ROW

Format = Literal["gemini", "messages", "chat", "csv", "fields"]

_SYSTEM_ROLES: Final = ("system", "developer")
_ROLES: Final = {"user": "user", "model": "model", "assistant": "model"}
_CHAT_ONLY: Final = {"assistant", "developer", "tool", "function"}
_LOOKED_AT: Final = 100


class ConversionError(Exception):
    """A row cannot be converted to Gemini's format.

    :param problem: the reason, with its path in the row
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.kind)
        self.problem = problem


def recognise(
    lines: Iterable[bytes], prompt: str = "prompt", response: str = "response"
) -> Format | Literal["preference"]:
    """Recognise the format of a JSON-lines file by its first rows; Gemini's format by default.

    `preference` is not a format that is read. It is recognised for its error message.

    :param lines: lines of the file
    :param prompt: name of the field with the prompt, for the format `fields`
    :param response: name of the field with the response, for the format `fields`
    """
    for _, line in zip(range(_LOOKED_AT), lines, strict=False):
        row = _decode(line)
        if isinstance(row, dict):
            if PREFERENCE_KEY in row and "contents" in row:
                return "preference"
            if "messages" in row and "contents" not in row:
                return _messages_format(row["messages"])
            return "fields" if row.keys() >= {prompt, response} and "contents" not in row else "gemini"
    return "gemini"


def _messages_format(messages: object) -> Format:
    items = messages if isinstance(messages, list) else []
    roles = {item.get("role") for item in items if isinstance(item, dict) and isinstance(item.get("role"), str)}
    return "chat" if roles & _CHAT_ONLY else "messages"


def _decode(line: bytes) -> object:
    try:
        return msgspec.json.decode(line)
    except UNREADABLE_ROW:
        return None


def from_messages(row: object, instruction: str | None = None) -> dict[str, Any]:
    """Convert a row of the format `messages` or `chat` to Gemini's format.

    :param row: decoded JSON
    :param instruction: system instruction for a row without a system instruction; None to leave it out
    :raises ConversionError: a part of the row would be lost, or the turns have a wrong order
    """
    if not isinstance(row, dict):
        raise _error("type", "", row, "an object with messages")
    if "messages" not in row:
        raise _error("missing", ".messages", None, "a list of messages")
    messages = row["messages"]
    if not isinstance(messages, list):
        raise _error("type", ".messages", messages, "a list of messages")
    contents, places, system = [], [], []
    for index, message in enumerate(messages):
        role, text = _message(message, f".messages[{index}]")
        if role in _SYSTEM_ROLES:
            system.append(text)
        else:
            contents.append({"role": _ROLES[role], "parts": [{"text": text}]})
            places.append(f".messages[{index}]")
    for key in row.keys() - {"messages"}:
        raise _error("unknown_key", key_of(key), row[key], "only messages, as nothing else can be converted")
    converted = gemini_row(contents, "\n".join(system) or instruction)
    _require_valid(converted, places)
    return converted


def _require_valid(converted: dict[str, Any], places: list[str]) -> None:
    """Check a converted row by the rules of Gemini's format.

    :param places: JSON path of each turn in the original row
    :raises ConversionError: the row is invalid; the path is that of the original row
    """
    for problem in problems(converted):
        if not problem.warning:
            index = re.match(r"\.contents\[(\d+)\]", problem.path)
            path = f"{places[int(index[1])]}.role" if index else ".messages"
            raise ConversionError(msgspec.structs.replace(problem, path=path))


def _message(message: object, path: str) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise _error("type", path, message, "an object with role and content")
    role = message.get("role")
    if not isinstance(role, str) or role.lower() not in (*_SYSTEM_ROLES, *_ROLES):
        raise _error("role", f"{path}.role", role, f"one of {', '.join((*_SYSTEM_ROLES, *_ROLES))}")
    for key in message.keys() - {"role", "content", "name"}:
        if message[key] is not None:
            raise _error("part", path + key_of(key), message[key], "only content, as nothing else can be converted")
    return role.lower(), _content(message.get("content"), f"{path}.content")


def _content(content: object, path: str) -> str:
    """The text of a message, which is a text or a list of text parts."""
    if isinstance(content, str) and content:
        return content
    if isinstance(content, list) and content:
        return "".join(_content_part(part, f"{path}[{index}]") for index, part in enumerate(content))
    raise _error("empty" if content in ("", []) else "type", path, content, "a text")


def _content_part(part: object, path: str) -> str:
    if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str) and part["text"]:
        return str(part["text"])
    raise _error("part", path, part, 'a part {"type": "text", "text": …}')


def from_fields(row: object, prompt: str, response: str, instruction: str | None) -> dict[str, Any]:
    """Convert an object with the fields prompt and response to Gemini's format. Other fields are left out.

    :param row: decoded JSON
    :param prompt: name of the field with the prompt
    :param response: name of the field with the response
    :param instruction: system instruction; None to leave it out
    :raises ConversionError: a field is missing, or is not a non-empty text
    """
    if not isinstance(row, dict):
        raise _error("type", "", row, f"an object with the fields {describe(prompt)} and {describe(response)}")
    for field in (prompt, response):
        text = row.get(field)
        if not isinstance(text, str) or not text:
            kind = "empty" if text == "" else "type" if field in row else "missing"
            raise _error(kind, key_of(field), text, "a text")
    return from_texts(row[prompt], row[response], instruction)


def gemini_row(contents: list[dict[str, Any]], instruction: str | None) -> dict[str, Any]:
    """A row of Gemini's format: the system instruction, unless it is missing or empty, and the turns."""
    system = {"systemInstruction": {"parts": [{"text": instruction}]}} if instruction else {}
    return {**system, "contents": contents}


def from_texts(prompt: str, response: str, instruction: str | None) -> dict[str, Any]:
    """A row of Gemini's format with two turns: prompt and response."""
    turns = (("user", prompt), ("model", response))
    return gemini_row([{"role": role, "parts": [{"text": text}]} for role, text in turns], instruction)


def _error(kind: str, path: str, found: object, expected: str) -> ConversionError:
    return ConversionError(Problem(kind, path, "none" if found is None else describe(found), expected))
