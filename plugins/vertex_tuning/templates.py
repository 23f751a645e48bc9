"""Jinja templates in what people write, told before Airflow renders them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vertex_tuning.exceptions import ConfigurationError

MARKS: Final = ("{{", "{%", "{#")


def template_mark(text: str) -> str:
    """The first mark of a template in a text; empty when there is none."""
    return next((mark for mark in MARKS if mark in text), "")


def template_place(value: object) -> str | None:
    """Where in a value, as `[0].prompt`, the first template is; None when there is none."""
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


def is_known_now(value: object) -> bool:
    """Whether a value is plain data: no template, and no result of a task, which only a run knows."""
    if isinstance(value, Mapping):
        return all(is_known_now(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple):
        return all(map(is_known_now, value))
    return value is None or (isinstance(value, str | int | float) and template_place(value) is None)


def without_templates(given: Any) -> None:
    """
    :raises ConfigurationError: there is a template where Airflow renders none, or must not
    """
    place = template_place(given)
    if place is not None:
        where = f" in {place.removeprefix('.')}" if place else ""
        raise ConfigurationError(f"which has a template{where}; expected plain text.")
