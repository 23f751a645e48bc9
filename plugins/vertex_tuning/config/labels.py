"""Labels of a tuning job, by Google's rules. Pure.

https://docs.cloud.google.com/resource-manager/docs/labels-overview#requirements
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from vertex_tuning.templates import is_known_now

MAX_USER_LABELS: Final = 50
"""Google takes 64, of which a job needs some itself."""

RESERVED: Final = ("airflow-", "goog")
"""How labels begin that this package or Google set."""

_KEY: Final = re.compile(r"[^\W\d_][\w-]{0,62}")
_VALUE: Final = re.compile(r"[\w-]{0,63}")


def label_mistakes(labels: Mapping[str, str]) -> Iterator[str]:
    """What is wrong with each label, as `labels.KEY: found …`; a value that is a template is left for the run."""
    if len(labels) > MAX_USER_LABELS:
        yield f"labels: found {len(labels)}, expected at most {MAX_USER_LABELS}."
    for key, value in labels.items():
        if not _KEY.fullmatch(key) or key != key.lower():
            yield (
                f"labels: found the key {key[:80]!r}, expected a lower-case letter, then lower-case letters, digits, "
                "_ and -, at most 63 characters."
            )
        elif key.startswith(RESERVED):
            yield f"labels.{key}: found a key that is reserved, expected one that begins otherwise."
        elif is_known_now(value) and (not _VALUE.fullmatch(value) or value != value.lower()):
            yield (
                f"labels.{key}: found {value[:80]!r}, expected lower-case letters, digits, _ and -, at most 63 "
                "characters."
            )
