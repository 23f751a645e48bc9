"""The nearest known name for one that is not known. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that someone may have meant."""
    by_lower = {one.lower(): one for one in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.55)
    return by_lower[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence: the nearest name, or all of them when none is near."""
    listed = list(known)
    near = nearest(name, listed)
    return f"did you mean `{near}`?" if near else f"expected one of {', '.join(listed)}."
