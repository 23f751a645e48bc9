"""Names of the values that gates and rules can speak of, as far as they are known before a job runs. Pure."""

from __future__ import annotations

from typing import Final

from vertex_tuning.metrics.summary import VALUES_OF_SERIES
from vertex_tuning.suggestions import did_you_mean

SERIES: Final = ("total_loss", "fraction_of_correct_next_step_preds", "num_predictions")
"""What supervised tuning measures of training (`train_…`) and of validation data (`eval_…`); guide to supervised
tuning, "Tuning and validation metrics"."""

OF_JOB: Final = ("overfitting", "overfitting_epoch", "billed_tokens", "duration_seconds", "queue_seconds")
OF_ANSWERS: Final = ("smoke.pass_share", "smoke.latency_p95", "sample.exact_share")

KNOWN: Final = (
    *(f"{side}_{series}.{value}" for side in ("train", "eval") for series in SERIES for value in VALUES_OF_SERIES),
    *OF_JOB,
    *OF_ANSWERS,
)


def unknown_value(field: str, name: str) -> str:
    """What is wrong with the name of a value; empty when it is known."""
    if name in KNOWN:
        return ""
    return f"{field}: found {name!r}, {did_you_mean(name, KNOWN)}"


def needs_validation(name: str) -> bool:
    """Whether a value is measured on validation data."""
    return name.startswith(("eval_", "overfitting"))


def needs_sample(name: str) -> bool:
    """Whether a value is measured on the examples of the validation data that the smoke test asks."""
    return name.startswith("sample.")
