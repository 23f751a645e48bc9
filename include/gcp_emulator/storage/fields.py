"""Partial responses: the parameter `fields`, such as `items(name,size),nextPageToken` or `items/name`.

https://cloud.google.com/storage/docs/json_api/v1/how-tos/performance#partial-response
"""

from __future__ import annotations

import re
from typing import Any

from .rules import RefusedError, invalid

_TOKEN = re.compile(r"[A-Za-z0-9_*-]+|[(),/]")

Mask = dict[str, Any]  # the fields to show of each field; an empty mask shows all


def select(resource: Any, fields: str | None) -> Any:
    """The fields of a resource that `fields` selects; all of them without the parameter."""
    return _apply(resource, parse(fields)) if fields else resource


def parse(fields: str) -> Mask:
    """Parse the parameter `fields`.

    :raises RefusedError: 400: the selection cannot be read
    """
    tokens = _TOKEN.findall(fields)
    if "".join(tokens) != fields:
        raise _unreadable(fields)
    root: Mask = {}
    open_masks, level, last, previous = [], root, root, ","
    here = root
    for part in tokens:
        name_expected = previous in "(,/"
        if name_expected == (part in "(),/"):
            raise _unreadable(fields)
        if part == "(":
            open_masks.append(level)
            level = here = last
        elif part == ")":
            if not open_masks:
                raise _unreadable(fields)
            level = here = open_masks.pop()
        elif part == ",":
            here = level
        elif part == "/":
            here = last
        else:
            last = here.setdefault(part, {})
        previous = part
    if open_masks or previous in "(,/":
        raise _unreadable(fields)
    return root


def _apply(value: Any, mask: Mask) -> Any:
    if not mask:
        return value
    if isinstance(value, list):
        return [_apply(item, mask) for item in value]
    if isinstance(value, dict):
        kept = {name: mask.get(name, mask.get("*")) for name in value}
        return {name: _apply(value[name], inner) for name, inner in kept.items() if inner is not None}
    return value


def _unreadable(fields: str) -> RefusedError:
    return invalid(f"Invalid field selection {fields[:200]}", "invalidParameter")
