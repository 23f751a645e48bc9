"""Rules that each row must keep, with the value found and what is expected. Pure.

The documented rules come from the guide to preparing data (URLs in `rows`). The service itself reports bad rows late or
drops them without a message. Keys without documentation cause a warning, because their effect is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from vertex_tuning.datasets.findings import Problem, describe, key_of
from vertex_tuning.datasets.limits import MAX_EXAMPLE_TOKENS
from vertex_tuning.datasets.rows import has_response, roles_of

RowRule = Iterator[Problem]

_ROLES: Final = ("user", "model")
_SYSTEM: Final = ("systemInstruction", "system_instruction")
_SETTINGS: Final = ("generationConfig", "generation_config")
_ROW_KEYS: Final = {"contents", "tools", *_SYSTEM, *_SETTINGS}
PREFERENCE_KEY: Final = "completions"
"""Key that all rows of preference tuning have."""
PREFERENCE_FOUND: Final = "preference rows"
PREFERENCE_EXPECTED: Final = "supervised rows; this product makes supervised tuning jobs"
_SINGLE_TURN: Final = 2
"""Contents of a conversation of a single turn: a prompt and its response. Only longer ones must say who speaks."""
_TURN_KEYS: Final = {"role", "parts"}
_PART_KINDS: Final = {
    "text": "text",
    "fileData": "fileData",
    "file_data": "fileData",
    "functionCall": "functionCall",
    "function_call": "functionCall",
    "functionResponse": "functionResponse",
    "function_response": "functionResponse",
}
_PART_KEYS: Final = {*_PART_KINDS, "mediaResolution", "media_resolution", "videoMetadata", "video_metadata"}
NOT_A_TEXT: Final = frozenset({"nan", "NaN", "NAN", "Nan", "NaT", "<NA>"})
"""What pandas and NumPy write for a missing value."""
_URI_SCHEMES: Final = ("gs://", "https://", "http://")


def problems(row: object) -> RowRule:
    """All problems of a decoded row, in the order of its keys.

    :param row: decoded JSON without `null` fields
    """
    if not isinstance(row, dict):
        yield Problem("type", "", describe(row), "an object")
        return
    if PREFERENCE_KEY in row:
        yield Problem("preference", f".{PREFERENCE_KEY}", PREFERENCE_FOUND, PREFERENCE_EXPECTED)
        return
    yield from _unknown_keys(row, _ROW_KEYS, "")
    yield from _system(row)
    yield from _turns(row)
    if "tools" in row:
        yield from _each(row["tools"], ".tools", _tool)
    for name in _SETTINGS:
        if name in row and not isinstance(row[name], dict):
            yield Problem("type", f".{name}", describe(row[name]), "an object")


def too_long(tokens: int) -> RowRule:
    """Check the length of an example.

    :param tokens: estimated tokens of the whole example
    """
    if tokens > MAX_EXAMPLE_TOKENS:
        yield Problem(
            "tokens", "", f"about {tokens} tokens", f"at most {MAX_EXAMPLE_TOKENS}, input and output together"
        )


def _unknown_keys(value: dict[str, Any], known: set[str], path: str) -> RowRule:
    for key in value:
        if key not in known:
            listed = ", ".join(sorted(name for name in known if "_" not in name))
            yield Problem("unknown_key", path + key_of(key), describe(value[key]), f"only {listed}", warning=True)


def _system(row: dict[str, Any]) -> RowRule:
    given = [name for name in _SYSTEM if name in row]
    if len(given) > 1:
        yield Problem("system", ".system_instruction", "it and systemInstruction", "only one of the two")
    for name in given:
        turn, path = row[name], f".{name}"
        if isinstance(turn, dict):
            yield from _unknown_keys(turn, _TURN_KEYS, path)
            yield from _parts(turn, path, text_only=True)
            if not isinstance(turn.get("role", ""), str):
                yield Problem("type", f"{path}.role", describe(turn["role"]), "a text or nothing")
        else:
            yield Problem("type", path, describe(turn), "an object with parts")


def _turns(row: dict[str, Any]) -> RowRule:
    contents = row.get("contents")
    if "contents" not in row:
        yield Problem("missing", ".contents", "none", "a list of turns")
    elif not isinstance(contents, list):
        yield Problem("type", ".contents", describe(contents), "a list of turns")
    elif not contents:
        yield Problem("empty", ".contents", "an empty list", "at least one turn")
    else:
        roles = roles_of(contents)
        for index, (turn, role) in enumerate(zip(contents, roles, strict=True)):
            yield from _turn(turn, role, f".contents[{index}]")
        yield from _missing_roles(contents)
        yield from _order(roles)


def _missing_roles(contents: list[Any]) -> RowRule:
    """Warn about a turn without a role, except where Google's guide or samples have none."""
    if len(contents) <= _SINGLE_TURN:
        return
    for index, turn in enumerate(contents):
        if isinstance(turn, dict) and "role" not in turn and not has_response(turn):
            yield Problem("role", f".contents[{index}].role", "none", "'user' or 'model' on each turn", warning=True)


def _order(roles: list[str]) -> RowRule:
    """Check that turns alternate and the last turn is the model's. Unknown roles are reported by another rule."""
    if not set(roles) <= set(_ROLES):
        return
    for index in range(1, len(roles)):
        if roles[index] == roles[index - 1]:
            other = "model" if roles[index] == "user" else "user"
            yield Problem("turns", f".contents[{index}].role", f"{roles[index]!r} twice in a row", repr(other))
    if roles[-1] != "model":
        yield Problem("turns", f".contents[{len(roles) - 1}].role", repr(roles[-1]), "'model' for the last turn")
    elif roles == ["model"]:
        yield Problem("turns", ".contents", "an answer only", "a user turn before it")
    elif roles[0] == "model":
        yield Problem("first_turn", ".contents[0].role", "'model'", "'user', as in every sample", warning=True)


def _turn(turn: object, role: str, path: str) -> RowRule:
    if not isinstance(turn, dict):
        yield Problem("type", path, describe(turn), "an object with role and parts")
        return
    yield from _unknown_keys(turn, _TURN_KEYS, path)
    if role not in _ROLES:
        yield Problem("role", f"{path}.role", describe(turn["role"]), "'user' or 'model'")
    yield from _parts(turn, path, text_only=False)


def _parts(turn: dict[str, Any], path: str, *, text_only: bool) -> RowRule:
    parts = turn.get("parts")
    if "parts" not in turn:
        yield Problem("missing", f"{path}.parts", "none", "a list of parts")
    elif parts == []:
        yield Problem("empty", f"{path}.parts", "an empty list", "at least one part")
    else:
        yield from _each(parts, f"{path}.parts", _text_part if text_only else _part)
        if isinstance(parts, list):
            yield from _words(_joined_texts(parts), f"{path}.parts")


def _words(text: str, path: str) -> RowRule:
    """Warn about a turn of text without words."""
    if text.isspace():
        yield Problem("blank_text", path, "only spaces", "words", warning=True)
    elif text in NOT_A_TEXT:
        yield Problem("nan", path, f"{describe(text)}, which a table has for a missing value", "a text", warning=True)


def _joined_texts(parts: list[Any]) -> str:
    """The texts of a turn; empty if it has other parts."""
    texts = [part.get("text") for part in parts if isinstance(part, dict)]
    return "".join(map(str, texts)) if all(isinstance(text, str) for text in texts) else ""


def _each(values: object, path: str, rule: Callable[[Any, str], RowRule]) -> RowRule:
    """Apply a rule to every object of a list."""
    if not isinstance(values, list):
        yield Problem("type", path, describe(values), "a list")
        return
    for index, value in enumerate(values):
        if isinstance(value, dict):
            yield from rule(value, f"{path}[{index}]")
        else:
            yield Problem("type", f"{path}[{index}]", describe(value), "an object")


def _text_part(part: dict[str, Any], path: str) -> RowRule:
    if "text" in part or not _PART_KINDS.keys() & part.keys():
        yield from _part(part, path)
    else:
        yield Problem("part", path, f"a part with {_names(part)}", "text")


def _part(part: dict[str, Any], path: str) -> RowRule:
    yield from _unknown_keys(part, _PART_KEYS, path)
    given = [key for key in part if key in _PART_KINDS]
    if len(given) != 1:
        found = f"a part with {_names(part)}" if part else "an empty object"
        yield Problem("part", path, found, "one of text, fileData, functionCall, functionResponse")
        return
    key = given[0]
    yield from _PART_RULES[_PART_KINDS[key]](part[key], f"{path}.{key}")


def _names(part: dict[str, Any]) -> str:
    return " and ".join(describe(key) for key in list(part)[:3])


def _text(value: object, path: str) -> RowRule:
    if not isinstance(value, str):
        yield Problem("type", path, describe(value), "a text")
    elif not value:
        yield Problem("empty", path, "an empty text", "a text")


def _file(value: object, path: str) -> RowRule:
    if not isinstance(value, dict):
        yield Problem("type", path, describe(value), "an object with mimeType and fileUri")
        return
    mime = value.get("mimeType", value.get("mime_type"))
    if not isinstance(mime, str) or "/" not in mime:
        yield Problem("file", f"{path}.mimeType", _found(mime), "a MIME type such as image/png")
    uri = value.get("fileUri", value.get("file_uri"))
    if not isinstance(uri, str) or not uri.startswith(_URI_SCHEMES) or uri in _URI_SCHEMES:
        yield Problem("uri", f"{path}.fileUri", _found(uri), "gs://bucket/name or an http(s) address")


def _call(value: object, path: str) -> RowRule:
    yield from _named(value, path, "args", required=False)


def _response(value: object, path: str) -> RowRule:
    yield from _named(value, path, "response", required=True)


def _named(value: object, path: str, field: str, *, required: bool) -> RowRule:
    """Check a function part: the name of the function, and an object of values."""
    if not isinstance(value, dict):
        yield Problem("type", path, describe(value), f"an object with name and {field}")
        return
    yield from _name(value, path)
    values = value.get(field)
    if not isinstance(values, dict) and (required or values is not None):
        yield Problem("function", f"{path}.{field}", _found(values), "an object")


def _name(value: dict[str, Any], path: str) -> RowRule:
    name = value.get("name")
    if not isinstance(name, str) or not name:
        yield Problem("function", f"{path}.name", _found(name), "the function's name")


def _tool(tool: dict[str, Any], path: str) -> RowRule:
    declarations = tool.get("functionDeclarations", tool.get("function_declarations"))
    if declarations is None:
        yield Problem("tools", path, f"an object with {_names(tool) or 'nothing'}", "functionDeclarations")
    else:
        yield from _each(declarations, f"{path}.functionDeclarations", _name)


def _found(value: object) -> str:
    return "none" if value is None else describe(value)


_PART_RULES: Final = {"text": _text, "fileData": _file, "functionCall": _call, "functionResponse": _response}
