"""Make text from outside (data, models, jobs, Google's responses) safe to show and store. Pure.

Such text may contain terminal escapes, forged log lines or reordered text. PostgreSQL stores neither NUL nor lone
surrogates. Text for comparison or training is not changed; text that is logged, raised or returned to Airflow is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

TEXT_SHOWN: Final = 500
"""Most characters of a text that is shown, by default."""
NAME_SHOWN: Final = 128
"""Most characters of a name; the service allows the same number in a display name."""
MESSAGE_SHOWN: Final = 2000
"""Most characters of an error message."""

_UNUSUAL: Final = re.compile(r"[^ -~]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0d\uffa0\U000e0100-\U000e01ef]"
)
"""Zero-width letters and marks, by Unicode's `Default_Ignorable_Code_Point`. The others with this property are control
or format characters, except U+FE0E and U+FE0F: they choose between the two forms of an emoji, and stay."""

SEARCHED: Final = 2**16
"""Most characters of a text that are searched for secrets; every message is shorter."""

_WORD: Final = re.compile(r"[^\s'\"<>]+")
_ENCODED_URL: Final = re.compile(r"(?i)(%(?:25)*3a(?:%(?:25)*2f){2}).*")
_WEB: Final = re.compile(r"(?i)https?://")
_MARKS: Final = re.compile("[?&;#]")
"""Where a query, a fragment or parameters of a path begin."""
_HOST_AND_PORT: Final = re.compile(r"(?:[^:\[]*|\[[\da-fA-F:.]*\])(?::\d*)?")


def plain(text: str, limit: int = TEXT_SHOWN) -> str:
    r"""A text on one line, with control, bidirectional and zero-width characters as escapes such as `\x1b`.

    A second call changes nothing.

    :param limit: most characters of the result
    """
    return shorten(_UNUSUAL.sub(_escaped, text[: limit + 1]), limit)


def plain_lines(text: str, limit: int) -> str:
    """Escape a text as `plain` does, but keep its line ends.

    :param limit: most characters of the result
    """
    return shorten("\n".join(plain(line, limit) for line in text[: limit + 1].split("\n")), limit)


def control_character(text: str) -> str:
    r"""The first control character except tab and newline, or lone surrogate, as an escape such as `\x00`; else empty.

    Users write such characters only by mistake, and neither UTF-8 nor PostgreSQL stores all of them.
    """
    found = _CONTROL.search(text)
    return found[0].encode("unicode_escape").decode() if found else ""


def shorten(text: str, limit: int) -> str:
    """Shorten a text to at most `limit` characters, with `…` at its end."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def first_lines(lines: Sequence[str], most: int) -> list[str]:
    """The first lines, and a line with the number of the others."""
    return [*lines[:most], *([f"… and {len(lines) - most} more"] if len(lines) > most else [])]


def storable(text: str) -> str:
    """Remove lone surrogates and NUL, which UTF-8 or PostgreSQL's JSON cannot store."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def storable_json(value: Any) -> Any:
    """A JSON value whose texts and keys are all storable."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable_json(key): storable_json(item) for key, item in value.items()}
    return [storable_json(item) for item in value] if isinstance(value, list) else value


def without_secrets(text: str) -> str:
    """Remove user, password and query from the URLs of a text: the query of an upload URL gives access to the upload.

    The time is proportional to the length of the text. Text after `SEARCHED` characters is left out.
    """
    if len(text) > SEARCHED:
        # A URL that is cut may have a secret without the character that ends it.
        whole, last = text[:SEARCHED], re.split(r"[\s'\"<>]", text[:SEARCHED])[-1]
        text = (whole.removesuffix(last) if "://" in last else whole) + "…"
    return _WORD.sub(_without_secret, text)


def _without_secret(found: re.Match[str]) -> str:
    """Remove the secrets of all URLs from a word, i.e. from consecutive characters of a URL."""
    word = _ENCODED_URL.sub(r"\1…", found[0])
    before, *urls = word.split("://")
    word = "://".join([before, *map(_without_user, urls)])
    query = _query_start(word)
    if query is None:
        return word
    return f"{word[: query + 1]}…{')' if word.endswith(')') else ''}"


def _without_user(url: str) -> str:
    """Remove the user from a URL.

    :param url: text after `://`, up to the next `://`
    """
    authority = re.split("[/?#]", url, maxsplit=1)[0]
    name, _, parameters = authority.partition(";")
    if "=" in parameters and "@" not in name and _HOST_AND_PORT.fullmatch(name):
        return url  # `host;id=KEY@x`: the text from the parameters on is removed later
    user, has_user, host = authority.rpartition("@")
    if has_user:
        url = url[len(user) + 1 :]
    # A password that contains /, ? or # ends the part that a parser takes for the host.
    before, at, after = url.rpartition("@")
    if not at or not (has_user or ":" in authority):
        # This may be a password after # or ?, or a query with an @.
        return "…" if re.match("[^/]*:[^/]*@", url) else url
    return url if _HOST_AND_PORT.fullmatch(host) and _is_of_path(before, after) else after


def _is_of_path(before: str, after: str) -> bool:
    """Whether an @ after a host and port is part of a path, as in `host:80/models/1@2`, not the end of a password."""
    name = _MARKS.split(after, maxsplit=1)[0].rstrip(".,:)]}")
    return "=" in before.partition("?")[2] or not set(name) & set("./")


def _query_start(word: str) -> int | None:
    """Where a query, a fragment or parameters with values begin; None if the URL has nothing of that kind."""
    web = _WEB.search(word)
    question = word.find("?", web.end()) if web else -1
    mark = _MARKS.search(word)
    starts = [question] if 0 <= question < len(word) - 1 else []
    if mark and mark.start() < word.rfind("="):
        starts.append(mark.start())
    return min(starts, default=None)


def moment(text: str) -> str:
    """An RFC 3339 time to the second, in UTC; any other text is not changed."""
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
