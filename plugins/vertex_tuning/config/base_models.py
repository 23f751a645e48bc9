"""Base models: which can be tuned, and which have been or are to be retired. What the service takes, it says itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.suggestions import did_you_mean

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

RETIRING_TAG: Final = "retiring-base-model"
"""On the DAG of a tuning whose base model is retired, or will be."""

_VERSION: Final = re.compile(r"-\d{3}")
_GONE: Final = re.compile(rf"({'|'.join(map(re.escape, GONE))})[a-z0-9.@-]*")
_TUNED_MODEL: Final = re.compile(r"projects/[\w.:-]+/locations/[\w-]+/models/[\w-]+@[\w-]+", re.ASCII)


def check_base_model(model: str) -> str:
    """
    :raises ConfigurationError: the model is no Gemini model that is known, and no version of a tuned model
    """
    known = dict.fromkeys((*TUNABLE_MODELS, *RETIREMENT))
    family = model[:-4] if _VERSION.fullmatch(model[-4:]) else model
    if family in known or _GONE.fullmatch(model) or _TUNED_MODEL.fullmatch(model):
        return model
    if "/" in model:
        raise ConfigurationError("expected a tuned model as projects/PROJECT/locations/LOCATION/models/ID@VERSION.")
    raise ConfigurationError(
        f"no known base model: {did_you_mean(model, known)} A newer model is added to TUNABLE_MODELS in {__name__}."
    )


def retirement_note(model: str) -> str:
    """What to know before paying for a job on this model; empty when there is nothing."""
    if model.startswith(GONE):
        return f"{model} has been retired; the service will hardly tune it."
    # The longest name first: gemini-2.5-flash-lite is not a version of gemini-2.5-flash.
    for family in sorted(RETIREMENT, key=len, reverse=True):
        if model == family or model.startswith(f"{family}-"):
            return f"{model}: retirement was announced for {RETIREMENT[family]}; a tuned model retires with its base."
    return ""
