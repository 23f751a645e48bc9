"""Names of values for gates and promotion rules, as far as they are known before a job runs. Pure."""

from __future__ import annotations

from typing import Final

from vertex_tuning.evaluation.sample_metrics import METRIC_VALUES
from vertex_tuning.metrics.summary import VALUES_OF_SERIES
from vertex_tuning.scores import WIN_RATE
from vertex_tuning.text.suggestions import did_you_mean

SERIES: Final = ("total_loss", "fraction_of_correct_next_step_preds", "num_predictions")
"""Metrics of supervised tuning, with the prefix `train_` for training data and `eval_` for validation data.

Source: Google's guide to supervised tuning, "Tuning and validation metrics".
"""

OF_JOB: Final = ("overfitting", "overfitting_epoch", "billed_tokens", "duration_seconds", "queue_seconds")
SAMPLE: Final = "sample."
"""Prefix of values that are measured on the sample."""
BASELINE: Final = "baseline."
"""Prefix of the same values of the base model."""
GAIN_OVER_BASE: Final = "sample.gain_over_base"
"""Gain of the new model over the base model, by the value of the promotion rule."""

EXACT_SHARE: Final = "sample.exact_share"
"""Share of the sample's examples whose response is exactly the expected one."""

EXACT_MATCH: Final = "sample.exact_match"
"""The same share, by the name of the metric."""

JUDGE: Final = "judge."
"""Prefix of values that a judge model gives."""

BASELINE_VALUES: Final = tuple(
    f"{BASELINE}{name.partition('.')[2]}" for name in (EXACT_SHARE, *METRIC_VALUES) if name != WIN_RATE
)
OF_ANSWERS: Final = ("smoke.pass_share", "smoke.latency_p95", EXACT_SHARE, GAIN_OVER_BASE)

KNOWN: Final = (
    *(f"{side}_{series}.{value}" for side in ("train", "eval") for series in SERIES for value in VALUES_OF_SERIES),
    *OF_JOB,
    *OF_ANSWERS,
    *METRIC_VALUES,
    *BASELINE_VALUES,
)


_FROM_0_TO_1: Final = frozenset(
    {
        "overfitting", "smoke.pass_share", EXACT_SHARE, *METRIC_VALUES, *BASELINE_VALUES,
        *(f"{side}_fraction_of_correct_next_step_preds.{value}"
          for side in ("train", "eval") for value in VALUES_OF_SERIES if value != "best_step"),
    }
)  # fmt: skip


def unknown_value(field: str, name: str) -> str:
    """Return the error message for an unknown name of a value; empty if the name is known.

    :param field: field of the configuration that has the name, for the message
    :param name: name of a value, e.g. `eval_total_loss.last`
    """
    if name in KNOWN:
        return ""
    return f"{field}: found {name!r}, {did_you_mean(name, KNOWN)}"


def impossible_limit(field: str, name: str, limit: float, *, is_change: bool = False) -> str:
    """Error message for a limit that every model keeps, or no model; empty if the limit is possible.

    :param is_change: whether it limits the difference of two values
    """
    if name == GAIN_OVER_BASE:
        return "" if -1 <= limit <= 1 else f"{field}: found {limit:g}, expected a number from -1 to 1."
    least = -1 if is_change else 0
    if name in _FROM_0_TO_1 and not least <= limit <= 1:
        return f"{field}: found {limit:g}, expected a number from {least} to 1: {name} is from 0 to 1."
    if name in KNOWN and not is_change and limit < 0:
        return f"{field}: found {limit:g}, expected 0 or more: {name} is never less."
    return ""


def needs_validation(name: str) -> bool:
    """Whether the service measures a value on validation data."""
    return name.startswith(("eval_", "overfitting"))


def needs_sample(name: str) -> bool:
    """Whether a value is measured by predictions for the examples of the sample."""
    return name.startswith((SAMPLE, BASELINE, JUDGE))


def metric_of(name: str) -> str:
    """The value of the metric that a value needs; empty for values that every sample has, or that need none.

    :param name: name of a value, e.g. `baseline.bleu`, which needs `sample.bleu`
    """
    if name in METRIC_VALUES:
        return name
    own = name.removeprefix(BASELINE)
    if own == name or f"{BASELINE}{own}" not in BASELINE_VALUES or own == "exact_share":
        return ""
    return next(value for value in METRIC_VALUES if value.partition(".")[2] == own)


def needs_baseline(name: str) -> bool:
    """Whether a value is measured by predictions of the base model."""
    return name.startswith(BASELINE) or name == GAIN_OVER_BASE
