"""Error messages for YAML that msgspec cannot read. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from vertex_tuning.evaluation.expectations import FOUND_SHOWN
from vertex_tuning.text.plain_text import plain


def explain(error: msgspec.ValidationError, field: str, value: Any) -> str:
    """Add the field and its value to msgspec's message, which names only the path.

    :param field: name of the field that has the value
    :param value: the value that msgspec could not convert
    """
    expected, _, path = str(error).partition(" - at `$")
    found = value
    for index, key in re.findall(r"\[(\d+)\]|\.(\w+)", path):
        found = found[int(index)] if index else found[key]
    return f"{field}{path.rstrip('`')}: found {plain(repr(found), FOUND_SHOWN)}. {plain(expected)}."
