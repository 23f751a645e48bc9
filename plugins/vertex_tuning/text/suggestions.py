"""Find the known name that is most similar to an unknown name. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar to a name; None if no known name is similar."""
    by_lower = {known_name.lower(): known_name for known_name in known}
    matches = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.55)
    return by_lower[matches[0]] if matches else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message: the most similar known name, or all known names if no name is similar."""
    listed = list(known)
    near = nearest(name, listed)
    return f"did you mean `{near}`?" if near else f"expected one of {', '.join(listed)}."
