"""Switches as people and templates write them. Pure."""

from __future__ import annotations

from typing import Final

from vertex_tuning.exceptions import ConfigurationError

_ON: Final = frozenset({"true", "yes", "on", "1"})
_OFF: Final = frozenset({"false", "no", "off", "0"})

PATTERN: Final = r"^\s*(?:{})\s*$".format(
    "|".join("".join(f"[{letter.upper()}{letter}]" for letter in word) for word in sorted(_ON | _OFF))
)
"""Fits the texts that are switches, in either case; for a JSON schema, which has no flags."""


def parse_switch(name: str, value: object) -> bool:
    """Whether a switch is on: `true`, `yes`, `on` or 1, in either case, as a text or not.

    :param name: of the switch, for the error
    :raises ConfigurationError: the value is no switch
    """
    text = str(value).strip().lower()
    if text in _ON or text in _OFF:
        return text in _ON
    raise ConfigurationError(f"{name}: found {value!r}, expected true or false.")
