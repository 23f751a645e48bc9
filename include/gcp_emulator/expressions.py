"""Regular expressions of users, in linear time: a slow expression would stop the event loop, and all clients.

The engine is Rust's crate regex, as jsonschema-rs has it: https://docs.rs/regex/#syntax
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import jsonschema_rs

MAX_LENGTH: Final = 1000
"""Largest number of characters of an expression."""
MAX_COMPILED: Final = 2**18
"""Bytes of a compiled expression; `a{1000}` is short and grows. Matching takes at most this times the text's length."""
_LIMITS: Final = jsonschema_rs.RegexOptions(size_limit=MAX_COMPILED, dfa_size_limit=MAX_COMPILED)


def check_expression(field: str, expression: str) -> None:
    """Check a regular expression of a request.

    :param field: field that holds the expression, for the message
    :raises ValueError: the expression is wrong or too large
    """
    if not _is_valid(expression):
        raise ValueError(
            f"{field}: found {expression[:100]!r}, expected a regular expression without look-around and "
            f"backreferences, of at most {MAX_LENGTH} characters and {MAX_COMPILED // 1024} KiB when compiled"
        )


def search(expression: str, text: str) -> bool:
    """Whether the expression matches some part of the text."""
    return _compiled(expression).is_valid(text)


def fullmatch(expression: str, text: str) -> bool:
    """Whether the expression matches the whole text."""
    return search(_whole(expression), text)


def _is_valid(expression: str) -> bool:
    if len(expression) > MAX_LENGTH:
        return False
    try:
        _compiled(expression)
        _compiled(_whole(expression))
    except ValueError:
        return False
    return True


def _whole(expression: str) -> str:
    return f"^(?:{expression})$"


@lru_cache(maxsize=256)
def _compiled(expression: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for({"pattern": expression}, pattern_options=_LIMITS, offline=True)
