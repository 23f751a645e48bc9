"""Display names and labels, as every Vertex AI resource limits them (field documentation in the discovery document)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..errors import InvalidArgument, bad_request

MAX_DISPLAY_NAME: Final = 128
MAX_LABEL: Final = 64
MAX_LABELS: Final = 64


def check_display_name(name: str, field: str = "display_name") -> None:
    """Check the length of a display name.

    :raises InvalidArgument: the name is longer than 128 characters
    """
    if len(name) > MAX_DISPLAY_NAME:
        text = f"{field} must be at most {MAX_DISPLAY_NAME} characters long, but has {len(name)}."
        raise InvalidArgument(text, details=[bad_request(field, text)])


def check_labels(labels: Mapping[str, str], field: str = "labels") -> None:
    """Lower-case letters, digits, `_` and `-`, at most 64 characters each; keys begin with a letter.

    :raises InvalidArgument: a label is wrong
    """
    if len(labels) > MAX_LABELS:
        _refuse(field, f"at most {MAX_LABELS} labels are allowed, but there are {len(labels)}.")
    for key, value in labels.items():
        if not key or not _allowed(key) or not key[0].isalpha():
            _refuse(field, f"invalid label key {key[:80]!r}.")
        if not _allowed(value):
            _refuse(field, f"invalid value {value[:80]!r} of label {key!r}.")


def _allowed(text: str) -> bool:
    return len(text) <= MAX_LABEL and all(char in "_-" or (char.isalnum() and not char.isupper()) for char in text)


def _refuse(field: str, why: str) -> None:
    rule = "Lowercase letters, digits, underscores and dashes, at most 64 characters; keys begin with a letter."
    text = f"{field}: {why} {rule}"
    raise InvalidArgument(text, details=[bad_request(field, text)])
