"""Rows in other forms than Gemini's, and what becomes of them. Pure.

`messages`: the rows of Gemini 1.0, roles system, user and model. `chat`: chat-completion rows, roles system or
developer, user and assistant. Both have `{"messages": [{"role": …, "content": …}]}`. `csv`: a column for the prompt,
one for the response. `fields`: JSON objects with a field for each.
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
    """A row cannot be converted.

    :param problem: why
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.kind)
        self.problem = problem


def recognise(
    lines: Iterable[bytes], prompt: str = "prompt", response: str = "response"
) -> Format | Literal["preference"]:
    """The form of a JSON-lines file by its first rows; Gemini's when nothing says otherwise.

    `preference` is recognised for the sake of its error.

    :param prompt: field of the prompt, in rows that have one; `response` likewise
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
    """A Gemini row from a `messages` row.

    :param instruction: system instruction of rows that have none
    :raises ConversionError: for anything that would get lost, and for turns in a wrong order
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
        raise _error("unknown_key", key_of(key), row[key], "messages alone, as nothing else can be converted")
    made = gemini_row(contents, "\n".join(system) or instruction)
    _require_valid(made, places)
    return made


def _require_valid(made: dict[str, Any], places: list[str]) -> None:
    """
    :param places: where in the original each turn stands
    :raises ConversionError: by the original's place
    """
    for problem in problems(made):
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
            raise _error("part", path + key_of(key), message[key], "content alone, as nothing else can be converted")
    return role.lower(), _content(message.get("content"), f"{path}.content")


def _content(content: object, path: str) -> str:
    """A message's text, given as it is or as a list of text parts."""
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
    """A Gemini row from an object that has prompt and response as fields; its other fields are left out.

    :raises ConversionError: one of the two is missing or no text
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
    """A row with its system instruction, if any, before the turns."""
    system = {"systemInstruction": {"parts": [{"text": instruction}]}} if instruction else {}
    return {**system, "contents": contents}


def from_texts(prompt: str, response: str, instruction: str | None) -> dict[str, Any]:
    """A Gemini row of two turns."""
    turns = (("user", prompt), ("model", response))
    return gemini_row([{"role": role, "parts": [{"text": text}]} for role, text in turns], instruction)


def _error(kind: str, path: str, found: object, expected: str) -> ConversionError:
    return ConversionError(Problem(kind, path, "none" if found is None else describe(found), expected))
