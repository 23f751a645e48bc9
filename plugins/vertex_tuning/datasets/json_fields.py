"""JSON of a row as Protocol Buffers read it: a field that is `null` is not set, and a name has two spellings. Pure.

Source: https://protobuf.dev/programming-guides/json/.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from vertex_tuning.datasets.findings import key_of

_ANY_VALUES: Final = {"default", "example", "additionalProperties", "parametersJsonSchema", "responseJsonSchema"}
"""Fields that hold any JSON value. In them `null` is a value."""
_MAPS: Final = {"properties", "defs", "labels"}
"""Fields whose keys are the user's own."""


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    """Copy a row without its fields that are `null`: google-genai's `model_dump()` writes all fields it knows."""
    copied: dict[str, Any] = _copied(row, "", rename=False)
    return copied


def camel_case(row: dict[str, Any]) -> dict[str, Any]:
    """Copy a row without its fields that are `null`, with all field names in camel case."""
    copied: dict[str, Any] = _copied(row, "", rename=True)
    return copied


def _copied(value: Any, field: str, *, rename: bool) -> Any:
    """Copy a value.

    :param field: name of the field that holds the value, in camel case
    """
    if isinstance(value, list):
        return [_copied(item, field, rename=rename) for item in value]
    if not isinstance(value, dict):
        return value
    if field in _MAPS:
        return {key: _copied(item, "", rename=rename) for key, item in value.items()}
    copied = {}
    for key, item in value.items():
        name = _camel(key)
        if item is not None or name in _ANY_VALUES:
            copied[name if rename else key] = item if _is_opaque(name, field) else _copied(item, name, rename=rename)
    return copied


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in others) if first else name


def _is_opaque(name: str, message: str) -> bool:
    """Whether the fields inside a field are the user's own.

    :param message: the field that holds it
    """
    return name in _ANY_VALUES or name == "args" or (name == "response" and message == "functionResponse")


def repeated_key(line: bytes) -> str:
    """Path of the first key that an object of a row has twice; empty if all keys are unique.

    :param line: valid JSON
    """
    # Numbers stay text: the values are not used, and Python refuses to convert very long numbers.
    row = json.loads(line, object_pairs_hook=_object, parse_int=str, parse_float=str)
    return next(_repeated(row, ""), "")


class _Repeated(dict[str, Any]):
    """An object with a key that occurs twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.key = next(name for name, times in Counter(name for name, _ in pairs).items() if times > 1)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else _Repeated(pairs)


def _repeated(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Repeated):
        yield path + key_of(value.key)
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _repeated(item, path + key_of(key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _repeated(item, f"{path}[{index}]")
