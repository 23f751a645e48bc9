"""Text from outside (data, models, jobs, Google's responses) as it may be shown and stored. Pure.

Anybody can put terminal escapes, forged log lines or reordered text into it, and PostgreSQL stores neither NUL nor lone
surrogates. What is compared or trained on stays as it is; what is logged, raised or returned to Airflow passes here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

TEXT_SHOWN: Final = 500
"""Characters of a text that are shown, unless somewhere else says otherwise."""
NAME_SHOWN: Final = 128
"""Characters of a name; the service allows as many in a display name."""
MESSAGE_SHOWN: Final = 2000
"""Characters of an error message."""

_UNUSUAL: Final = re.compile(r"[^ -~]")
_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]"
)
"""Zero-width letters and marks, by Unicode's `Default_Ignorable_Code_Point`. All others of that property are control or
format characters, but for U+FE0E and U+FE0F: they choose between the two forms of an emoji, and are left."""

_QUERY: Final = re.compile(r"(https?://[^\s?'\"<>]*)\?[^\s'\"<>)]+|\?[^\s'\"<>)=]*=[^\s'\"<>)]*")
_USER: Final = re.compile(r"://(?:[^\s/?#'\"<>]*|[^\s/?#@'\"<>]*:(?!\d+[/\s])[^\s?#@'\"<>]*)@")
"""The second form: a secret key with a slash in it ends what a parser takes for the host."""


def plain(text: str, limit: int = TEXT_SHOWN) -> str:
    """A text on one line, with control, bidirectional and zero-width characters as escapes such as `\\x1b`.

    A second call changes nothing.

    :param limit: most characters of the result
    """
    return shorten(_UNUSUAL.sub(_escaped, text[: limit + 1]), limit)


def plain_lines(text: str, limit: int) -> str:
    """As `plain`, for a text whose lines are its own: line ends stay.

    :param limit: most characters of the result
    """
    return shorten("\n".join(plain(line, limit) for line in text[: limit + 1].split("\n")), limit)


def shorten(text: str, limit: int) -> str:
    """At most so many characters, and `…` when that is not all."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def first_lines(lines: Sequence[str], most: int) -> list[str]:
    """So many lines at most, and one that says how many there are besides."""
    return [*lines[:most], *([f"… and {len(lines) - most} more"] if len(lines) > most else [])]


def storable(text: str) -> str:
    """A text without what neither UTF-8 nor PostgreSQL's JSON can hold: lone surrogates and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def storable_json(value: Any) -> Any:
    """A JSON value whose texts and keys are all storable."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable_json(key): storable_json(item) for key, item in value.items()}
    return [storable_json(item) for item in value] if isinstance(value, list) else value


def without_secrets(text: str) -> str:
    """A text whose URLs have neither user, password nor query: the query of an upload session's URL is a key to it."""
    return _QUERY.sub(r"\1?…", _USER.sub("://", text))


def moment(text: str) -> str:
    """An RFC 3339 time to the second, in UTC; anything else as it is."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except ValueError:
        return text


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    visible = character.isprintable() or unicodedata.category(character) == "Zs"
    if visible and not _INVISIBLE.match(character):
        return character
    return character.encode("unicode_escape").decode()
