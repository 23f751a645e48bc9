"""Examples: the rows the tuning service takes, and what a pass over many of them keeps of each. Pure.

Shapes: https://docs.cloud.google.com/gemini-enterprise-agent-platform/models/tuning/supervised-tuning/prepare-data.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from vertex_tuning.costs.token_estimate import estimate_tokens
from vertex_tuning.datasets.json_fields import camel_case

LABEL_LENGTH: Final = 60
"""Most characters of a response that may be a label."""

Measured = tuple[int, int, int, int, int, str]
"""Hash of the prompt, hash of the answer, input tokens, output tokens, turns, the answer if it is short (else "").
The hashes are Python's own: they tell texts apart within one process, or several with the same `PYTHONHASHSEED`."""

UNREADABLE_ROW: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""Errors of decoding invalid or hostile JSON. msgspec refuses NaN, Infinity and lone surrogates."""


class Part(msgspec.Struct, rename="camel"):
    """A part of a turn: text, or a file or function part, which are not changed."""

    text: str | None = None
    file_data: dict[str, Any] | None = None
    function_call: dict[str, Any] | None = None
    function_response: dict[str, Any] | None = None
    media_resolution: Any = None
    video_metadata: dict[str, Any] | None = None


class Content(msgspec.Struct):
    """A turn of a conversation."""

    role: str | None = None
    parts: list[Part] = msgspec.field(default_factory=list)


class Row(msgspec.Struct, rename="camel"):
    """An example: a conversation whose last turn is the response to learn."""

    contents: list[Content]
    system_instruction: Content | None = None
    tools: list[dict[str, Any]] | None = None
    generation_config: dict[str, Any] | None = None


def parse_row(line: bytes) -> Row:
    """Read a valid row, in either spelling of its fields. Each of its turns gets its role.

    :raises msgspec.DecodeError: the line is not such a row
    """
    decoded = msgspec.json.decode(line)
    fields = camel_case(decoded) if isinstance(decoded, dict) else decoded
    row = msgspec.convert(fields, Row)
    for turn, role in zip(row.contents, roles_of(fields["contents"]), strict=True):
        turn.role = role
    return row


def prompt_texts(row: dict[str, Any]) -> list[str]:
    """The texts of the prompt: the system instruction (empty if missing) and each turn except the response.

    :param row: row of valid shape, as in all functions of this module
    """
    return [turn_text(system_of(row)), *map(turn_text, row["contents"][:-1])]


def answer_text(row: dict[str, Any]) -> str:
    """The response that the model learns."""
    return turn_text(row["contents"][-1])


def system_of(row: dict[str, Any]) -> dict[str, Any]:
    """The system instruction; an empty turn if it is missing."""
    return row.get("systemInstruction") or row.get("system_instruction") or {"parts": []}


def turn_text(turn: dict[str, Any]) -> str:
    """All texts of a turn, joined; a file or function part counts as its JSON with sorted keys."""
    return "".join(part["text"] if "text" in part else _canonical(part) for part in turn["parts"])


def roles_of(contents: list[Any]) -> list[str]:
    """The role of each turn, in lower case; empty for a value that is no role.

    A turn without a role gets the role it can only have: a function's response is the user's, and turns alternate.
    """
    roles: list[str] = []
    for turn in contents:
        role = turn.get("role") if isinstance(turn, dict) else ""
        if role is None:
            role = "model" if roles[-1:] == ["user"] and not has_response(turn) else "user"
        roles.append(role.lower() if isinstance(role, str) else "")
    return roles


def has_response(turn: dict[str, Any]) -> bool:
    """Whether a turn has the response of a function."""
    parts = turn.get("parts")
    return any(
        isinstance(part, dict) and ("functionResponse" in part or "function_response" in part)
        for part in (parts if isinstance(parts, list) else [])
    )


def measure(row: dict[str, Any], file_tokens: int = 0) -> Measured:
    """Measurements of a valid row, which are kept instead of the row.

    :param file_tokens: tokens of its files, at least
    """
    prompt, answer = prompt_texts(row), answer_text(row)
    turns = [(turn, role == "model") for turn, role in zip(row["contents"], roles_of(row["contents"]), strict=True)]
    # The same turns with other tools or settings are another example.
    settings = {key: value for key, value in row.items() if key not in _CONVERSATION}
    if settings:
        prompt.append(_canonical(settings))
    return (
        hash(tuple(prompt)),
        hash(answer),
        sum(_turn_tokens(turn) for turn, output in [*turns, (system_of(row), False)] if not output)
        + _tool_tokens(row)
        + file_tokens,
        sum(_turn_tokens(turn) for turn, output in turns if output),
        len(row["contents"]),
        answer if len(answer) <= LABEL_LENGTH else "",
    )


_CONVERSATION: Final = {"contents", "systemInstruction", "system_instruction"}


def _turn_tokens(turn: dict[str, Any]) -> int:
    texts = [part["text"] for part in turn["parts"] if "text" in part]
    others = (part for part in turn["parts"] if "text" not in part)
    return estimate_tokens("".join(texts)) + sum(map(_part_tokens, others))


def _part_tokens(part: dict[str, Any]) -> int:
    return 0 if "fileData" in part or "file_data" in part else estimate_tokens(_canonical(part))


def _tool_tokens(row: dict[str, Any]) -> int:
    return estimate_tokens(_canonical(row["tools"])) if row.get("tools") else 0


def _canonical(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
