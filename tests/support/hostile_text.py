"""Text of others that could do harm in a log, on a page or in a database."""

from __future__ import annotations

from vertex_tuning.text.plain_text import plain

HOSTILE = {
    "terminal escape": "\x1b[1A\x1b[2Kgone",
    "8-bit control": "\x9b1A",
    "line of a log": "x\n[2026-01-01T00:00:00Z] INFO - Marking task as SUCCESS",
    "carriage return": "right\rwrong",
    "NEL": "a\x85b",
    "line separator": "a\u2028b\u2029c",
    "NUL": "a\0b",
    "lone surrogate": "a\ud83d",
    "right to left": "\u202egnp.exe\u2069",
    "zero width": "a\u200bb\u200d\u2060\ufeff\u00ad",
    "tags": "a\U000e0068\U000e0069",
    "filler": "\u3164\u115f",
}


def is_plain(text: str) -> bool:
    return len(text.splitlines()) <= 1 and plain(text, len(text) + 1) == text
