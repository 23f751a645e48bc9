"""Detect Jinja templates in configuration before Airflow renders them, and read the rendered values. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from vertex_tuning.exceptions import ConfigurationError

MARKS: Final = ("{{", "{%", "{#")


def template_mark(text: str) -> str:
    """The first of `MARKS` that occurs in a text; empty if the text is not a template."""
    return next((mark for mark in MARKS if mark in text), "")


def template_place(value: object) -> str | None:
    """The place of the first template in a value, e.g. `[0].prompt`; None if the value has no template.

    :param value: text, or mappings and lists of texts; the place is empty for a text or for a key of the value itself
    """
    if isinstance(value, str):
        return "" if template_mark(value) else None
    if isinstance(value, Mapping):
        parts = [(f".{key}", part) for key, part in value.items()]
        if any(template_mark(str(key)) for key in value):
            return ""
    elif isinstance(value, list | tuple):
        parts = [(f"[{index}]", part) for index, part in enumerate(value)]
    else:
        return None
    places = ((step, template_place(part)) for step, part in parts)
    return next((f"{step}{place}" for step, place in places if place is not None), None)


def is_run_value(value: object) -> bool:
    """Whether only a run knows a value: a template, or the result of another task as Airflow resolves it."""
    if isinstance(value, str):
        return bool(template_mark(value))
    return hasattr(value, "iter_references") and hasattr(value, "resolve")


def is_known_now(value: object) -> bool:
    """Whether a value is known before the run: it has no template and no result of a task."""
    if isinstance(value, Mapping):
        return all(is_known_now(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple):
        return all(map(is_known_now, value))
    return not is_run_value(value)


def rendered(value: Any) -> Any:
    """A value after rendering; None for a template that found nothing, rendered as empty text or as `None`."""
    return None if isinstance(value, str) and value.strip() in ("", "None") else value


def parse_rendered(name: str, value: Any, kind: Any, expected: str) -> Any:
    """A value as an argument or a template gives it: as it is, or as a text (a number or JSON).

    :param name: the argument, for the error
    :param kind: type to convert to
    :param expected: what the argument can be, in words
    :returns: None when nothing was given
    :raises ConfigurationError: the value is not of this kind
    """
    found = rendered(value)
    try:
        if isinstance(found, str) and found.lstrip()[:1] in ("[", "{"):
            found = json.loads(found)
        return None if found is None else msgspec.convert(found, kind, strict=False)
    except ValueError as error:  # msgspec's and json's errors are such
        raise ConfigurationError(f"{name}: found {value!r:.200}, expected {expected}.") from error


def without_templates(value: Any) -> None:
    """Check that a value has no template, for fields that Airflow does not render.

    :param value: text, or mappings and lists of texts
    :raises ConfigurationError: the value has a template; the message gives its place
    """
    place = template_place(value)
    if place is not None:
        where = f" in {place.removeprefix('.')}" if place else ""
        raise ConfigurationError(f"which has a template{where}; expected plain text.")
