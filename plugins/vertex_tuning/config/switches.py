"""Parse switches (true or false) that people and templates write as text. Pure."""

from __future__ import annotations

from typing import Final

from vertex_tuning.exceptions import ConfigurationError

_ON: Final = frozenset({"true", "yes", "on", "1"})
_OFF: Final = frozenset({"false", "no", "off", "0"})

PATTERN: Final = r"^\s*(?:{})\s*$".format(
    "|".join("".join(f"[{letter.upper()}{letter}]" for letter in word) for word in sorted(_ON | _OFF))
)
"""Regular expression that matches a switch in upper or lower case, for a JSON schema, which has no flags."""


def parse_switch(name: str, value: object) -> bool:
    """Whether a switch is on: `true`, `yes`, `on` or `1`, in upper or lower case.

    :param name: name of the switch, for the error message
    :param value: text, boolean or number
    :raises ConfigurationError: the value is neither on nor off
    """
    text = str(value).strip().lower()
    if text in _ON or text in _OFF:
        return text in _ON
    raise ConfigurationError(f"{name}: found {value!r}, expected true or false.")
