"""Check the labels of a tuning job by Google's rules. Pure.

https://docs.cloud.google.com/resource-manager/docs/labels-overview#requirements
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from vertex_tuning.text.templates import is_known_now

MAX_USER_LABELS: Final = 50
"""Most labels that a user can set. Google allows 64; this package sets some labels of each job."""

RESERVED: Final = ("airflow-", "goog")
"""Prefixes of labels that this package or Google sets."""

_KEY: Final = re.compile(r"[^\W\d_][\w-]{0,62}")
_VALUE: Final = re.compile(r"[\w-]{0,63}")


def label_mistakes(labels: Mapping[str, str]) -> Iterator[str]:
    """Describe the mistake in each label, e.g. `labels.KEY: found …`. Templates are checked in the run."""
    if len(labels) > MAX_USER_LABELS:
        yield f"labels: found {len(labels)}, expected at most {MAX_USER_LABELS}."
    for key, value in labels.items():
        if not _KEY.fullmatch(key) or key != key.lower():
            yield (
                f"labels: found the key {key[:80]!r}, expected a lower-case letter, then lower-case letters, digits, "
                "_ and -, at most 63 characters."
            )
        elif key.startswith(RESERVED):
            reserved = " or ".join(RESERVED)
            yield f"labels.{key}: found a reserved key, expected a key that does not begin with {reserved}."
        elif is_known_now(value) and (not _VALUE.fullmatch(value) or value != value.lower()):
            yield (
                f"labels.{key}: found {value[:80]!r}, expected lower-case letters, digits, _ and -, at most 63 "
                "characters."
            )
