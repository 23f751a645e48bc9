"""Formats of rows other than Gemini's: how to recognise them, and how rows of prompt and response convert. Pure.

- `messages`: rows of Gemini 1.0, with the roles system, user and model.
- `chat`: chat completions, with the roles system or developer, user, assistant and tool.
- `sharegpt`: `{"conversations": [{"from": …, "value": …}]}` with human and gpt.
- `alpaca`: `{"instruction": …, "input": …, "output": …}`.
- `ai_studio`: `{"text_input": …, "output": …}`.
- `prompt_completion`: `{"prompt": …, "completion": …}`, of open models.
- `palm`: `{"input_text": …, "output_text": …}`, of Vertex AI's models before Gemini.
- `csv`: a column with the prompt and a column with the response.
- `fields`: JSON objects with a field for the prompt and a field for the response.

Rows of `messages` and `chat` have the form `{"messages": [{"role": …, "content": …}]}`; `conversations` converts them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from vertex_tuning.datasets.choices import Format
from vertex_tuning.datasets.findings import Problem, describe, key_of
from vertex_tuning.datasets.row_rules import PREFERENCE_KEY
from vertex_tuning.datasets.rows import UNREADABLE_ROW

Recognised = Format | Literal["preference"]
"""`preference` is not a format that is read. It is recognised for its error message."""

PAIR_FIELDS: Final[Mapping[Format, tuple[str, str]]] = {
    "ai_studio": ("text_input", "output"),
    "prompt_completion": ("prompt", "completion"),
    "palm": ("input_text", "output_text"),
    "alpaca": ("instruction", "output"),
}
"""Fields with the prompt and the response."""
FORMAT_LABELS: Final[Mapping[Recognised, str]] = {
    "gemini": "Gemini",
    "messages": "messages (Gemini 1.0)",
    "chat": "chat completions",
    "csv": "CSV",
    "fields": "prompt and response fields",
    "sharegpt": "ShareGPT",
    "alpaca": "Alpaca",
    "ai_studio": "AI Studio (text_input and output)",
    "prompt_completion": "prompt and completion",
    "palm": "PaLM (input_text and output_text)",
    "preference": "preference tuning",
}
NOTES: Final = frozenset({"id", "metadata"})
"""Fields of a row that say nothing to a model. They are left out."""

_PREFERENCES: Final = (
    {"contents", PREFERENCE_KEY},
    {"chosen", "rejected"},
    {"preferred_output", "non_preferred_output"},
)
"""Fields of preference rows: Gemini's, those of open models, and OpenAI's."""
_CHAT_ONLY: Final = {"assistant", "developer", "tool", "function"}
_LOOKED_AT: Final = 100


class ConversionError(Exception):
    """A row cannot be converted to Gemini's format.

    :param problem: the reason, with its path in the row
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.kind)
        self.problem = problem


class Converted(NamedTuple):
    """A row in Gemini's format.

    :param warnings: what was left out, with its path in the original row
    """

    row: dict[str, Any]
    warnings: list[Problem]


def recognise(lines: Iterable[bytes], prompt: str = "prompt", response: str = "response") -> Recognised | None:
    """Recognise the format of a JSON-lines file by the first of its rows that is an object; None if it is unknown.

    :param lines: lines of the file
    :param prompt: name of the field with the prompt, for the format `fields`
    :param response: name of the field with the response, for the format `fields`
    """
    for _, line in zip(range(_LOOKED_AT), lines, strict=False):
        row = _decode(line)
        if isinstance(row, dict):
            return row_format(row, prompt, response)
    return None


def row_format(row: object, prompt: str = "prompt", response: str = "response") -> Recognised | None:
    """Recognise the format of a row; None if it is unknown. The parameters are those of `recognise`."""
    if not isinstance(row, dict):
        return None
    names = {name for name, value in row.items() if value is not None}
    if any(names >= fields for fields in _PREFERENCES):
        return "preference"
    if "contents" in names:
        return "gemini"
    if "messages" in names:
        return _messages_format(row["messages"])
    if "conversations" in names:
        return "sharegpt"
    if names >= {prompt, response}:
        return "fields"
    return next((form for form, fields in PAIR_FIELDS.items() if names >= {*fields}), None)


def _messages_format(messages: object) -> Format:
    items = messages if isinstance(messages, list) else []
    roles = {item.get("role") for item in items if isinstance(item, dict) and isinstance(item.get("role"), str)}
    return "chat" if roles & _CHAT_ONLY else "messages"


def _decode(line: bytes) -> object:
    try:
        return msgspec.json.decode(line)
    except UNREADABLE_ROW:
        return None


def mixed_formats(found: Recognised, expected: Recognised) -> Problem:
    """The problem of a row that has another format than the rows before it."""
    return Problem(
        "mixed_formats",
        "",
        f"a row of another format ({FORMAT_LABELS[found]}) here and maybe on later lines",
        f"one format in a file, as on the lines before ({FORMAT_LABELS[expected]}). Write each format to its own file",
    )


def from_fields(row: object, prompt: str, response: str, instruction: str | None) -> Converted:
    """Convert an object with the fields prompt and response to Gemini's format. Other fields are left out.

    :param row: decoded JSON
    :param prompt: name of the field with the prompt
    :param response: name of the field with the response
    :param instruction: system instruction; None to leave it out
    :raises ConversionError: a field is missing, or is not a non-empty text
    """
    if not isinstance(row, dict):
        raise conversion_error(
            "type", "", row, f"an object with the fields {describe(prompt)} and {describe(response)}"
        )
    return Converted(from_texts(_text_of(row, prompt), _text_of(row, response), instruction), [])


def from_pair(row: object, form: Format, instruction: str | None) -> Converted:
    """Convert a row of a format of `PAIR_FIELDS` to Gemini's format.

    :param row: decoded JSON
    :param instruction: system instruction; None to leave it out
    :raises ConversionError: a field is missing, is not a non-empty text, or would be lost
    """
    prompt, response = PAIR_FIELDS[form]
    if not isinstance(row, dict):
        raise conversion_error(
            "type", "", row, f"an object with the fields {describe(prompt)} and {describe(response)}"
        )
    texts = _text_of(row, prompt), _text_of(row, response)
    if form == "alpaca":
        return Converted(_from_alpaca(row, *texts, instruction), [])
    require_known(row, {prompt, response, *NOTES}, "")
    return Converted(from_texts(*texts, instruction), [])


def _from_alpaca(row: dict[str, Any], prompt: str, response: str, instruction: str | None) -> dict[str, Any]:
    known = {"instruction", "input", "output", "system", "history", *NOTES}
    # Stanford's file repeats the whole example in `text`.
    text = row.get("text")
    is_copy = isinstance(text, str) and prompt in text and response in text
    require_known(row, {*known, "text"} if is_copy else known, "")
    if row.get("input"):
        prompt = f"{prompt}\n\n{_text_of(row, 'input')}"
    if row.get("system"):
        instruction = _text_of(row, "system")
    turns = [*_alpaca_history(row.get("history") or []), prompt, response]
    contents = [turn(("user", "model")[index % 2], text) for index, text in enumerate(turns)]
    return gemini_row(contents, instruction)


def _alpaca_history(history: object) -> list[str]:
    if not isinstance(history, list):
        raise conversion_error("type", ".history", history, "a list of pairs of texts")
    for index, pair in enumerate(history):
        if not isinstance(pair, list) or len(pair) != len(("prompt", "response")) or not all(map(_is_text, pair)):
            raise conversion_error("type", f".history[{index}]", pair, "a pair of texts")
    return [text for pair in history for text in pair]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _text_of(row: dict[str, Any], field: str) -> str:
    text = row.get(field)
    if not isinstance(text, str) or not text:
        kind = "empty" if text == "" else "type" if text is not None else "missing"
        raise conversion_error(kind, key_of(field), text, "a text")
    return text


def require_known(value: dict[str, Any], known: Collection[str], path: str) -> None:
    """Check that nothing gets lost: an object has only fields that are known, or that are not set.

    :raises ConversionError: it has another field
    """
    for key, found in value.items():
        if key not in known and found not in (None, [], {}):
            listed = ", ".join(sorted(set(known) - NOTES))
            raise conversion_error("unknown_key", path + key_of(key), found, f"only {listed}, as nothing else converts")


def gemini_row(contents: list[dict[str, Any]], instruction: str | None) -> dict[str, Any]:
    """A row of Gemini's format: the system instruction, unless it is missing or empty, and the turns."""
    system = {"systemInstruction": {"parts": [{"text": instruction}]}} if instruction else {}
    return {**system, "contents": contents}


def from_texts(prompt: str, response: str, instruction: str | None) -> dict[str, Any]:
    """A row of Gemini's format with two turns: prompt and response."""
    return gemini_row([turn("user", prompt), turn("model", response)], instruction)


def turn(role: str, text: str) -> dict[str, Any]:
    """A turn of Gemini's format with a text."""
    return {"role": role, "parts": [{"text": text}]}


def conversion_error(kind: str, path: str, found: object, expected: str) -> ConversionError:
    """The error of a row that cannot be converted.

    :param path: JSON path in the row
    :param found: the value found; None for none
    """
    return ConversionError(Problem(kind, path, "none" if found is None else describe(found), expected))
