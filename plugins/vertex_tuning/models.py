"""Base models: which can be tuned, and which have been or are to be retired. What the service takes, it says itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TUNABLE_MODELS: Final = (
    "gemini-3.5-flash",
    "gemini-3.1-flash-lite",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.5-flash-lite",
)
"""Models the guide to supervised tuning lists (October 2026)."""

RETIREMENT: Final[Mapping[str, str]] = {
    "gemini-2.5-pro": "2026-10-20",
    "gemini-2.5-flash": "2026-10-20",
    "gemini-2.5-flash-lite": "2026-10-20",
    "gemini-2.0-flash": "2026-06-01",
    "gemini-2.0-flash-lite": "2026-06-01",
}
"""Retirement dates by family, from the guide's page on model versions (August 2026). A tuned model retires with its
base; whether a family still takes new jobs after its date is not known."""

GONE: Final = ("gemini-1.", "text-bison", "chat-bison")
"""Families that were retired before those."""


def retirement_note(model: str) -> str:
    """What to know before paying for a job on this model; empty when there is nothing."""
    if model.startswith(GONE):
        return f"{model} has been retired; the service will hardly tune it."
    # The longest name first: gemini-2.5-flash-lite is not a version of gemini-2.5-flash.
    for family in sorted(RETIREMENT, key=len, reverse=True):
        if model == family or model.startswith(f"{family}-"):
            return f"{model}: retirement was announced for {RETIREMENT[family]}; a tuned model retires with its base."
    return ""
