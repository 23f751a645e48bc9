"""Labels and number formats of the report."""

from __future__ import annotations

import math
import re
from typing import Any, Final

DASH: Final = "\N{EN DASH}"

_SERIES: Final = re.compile(r"^/?(?P<method>.*?)_?(?P<kind>train|eval)_(?P<metric>.+)$")
_METRICS: Final = {
    "total_loss": "loss",
    "fraction_of_correct_next_step_preds": "token accuracy",
    "num_predictions": "predictions",
}
_VALUES: Final = {
    "overfitting": "Over-fitting",
    "overfitting_epoch": "Over-fitting starts in epoch",
    "billed_tokens": "Billed tokens",
    "duration_seconds": "Duration of the job (s)",
    "queue_seconds": "Time in the queue (s)",
    "smoke.pass_share": "Smoke cases passed",
    "smoke.latency_p95": "Latency, 95th percentile (s)",
    "sample.exact_share": "Exact answers on the sample",
    "sample.gain_over_base": "Gain over the base model",
    "baseline.exact_share": "Exact answers of the base model",
}
_DISTRIBUTIONS: Final = {
    "userInputTokenDistribution": "Input tokens",
    "userOutputTokenDistribution": "Output tokens",
    "userMessagePerExampleDistribution": "Turns",
}
"""Labels of the service's distributions, by the service's names."""
_PARTS: Final = {"first": "first", "last": "last", "best": "best", "best_step": "step of the best"}


def series_kind(name: str) -> str:
    """The data on which a series is measured: `training` or `validation`."""
    match = _SERIES.match(name)
    return "validation" if match and match["kind"] == "eval" else "training"


def series_metric(name: str) -> str:
    """The metric of a series: `Loss` for `/train_total_loss` and `/eval_total_loss`."""
    match = _SERIES.match(name)
    metric = match["metric"] if match else name.strip("/")
    return words(_METRICS.get(metric, metric))


def series_rank(name: str) -> tuple[str, bool, bool, str]:
    """Sort key of a series: training before validation, then by `metric_rank`."""
    return series_kind(name), *metric_rank(series_metric(name))


def metric_rank(metric: str) -> tuple[bool, bool, str]:
    """Sort key of a metric: losses, then accuracies, then other metrics."""
    return "loss" not in metric.lower(), "accuracy" not in metric.lower(), metric


def series_label(name: str) -> str:
    """The label of a series: `Validation loss` for `/eval_total_loss`."""
    return f"{series_kind(name).capitalize()} {series_metric(name).lower()}"


def value_label(name: str) -> str:
    """The label of a value of gates: `Validation loss, last` for `eval_total_loss.last`."""
    if name in _VALUES:
        return _VALUES[name]
    series, _, part = name.rpartition(".")
    return f"{series_label(series)}, {_PARTS[part]}" if part in _PARTS and _SERIES.match(series) else words(name)


def is_share(name: str) -> bool:
    """Whether a value of gates is a share, from 0 to 1."""
    series, _, part = name.rpartition(".")
    return part.endswith(("_share", "gain_over_base")) or ("fraction" in series and part != "best_step")


def value_text(name: str, value: float | None) -> str:
    """A value of gates as text: `61 %`, `0.42`, or `unknown`.

    :param name: name of the value, e.g. `sample.exact_share`
    :param value: the value; a share from 0 to 1 is shown in percent
    """
    if value is None or not math.isfinite(value):
        return "unknown"
    return f"{value * 100:.4g} %" if is_share(name) else f"{value:.4g}"


def value_texts(name: str, first: float, second: float) -> tuple[str, str]:
    """Two values as texts, with enough digits to differ if the values differ.

    :param name: name of both values, e.g. `sample.exact_share`
    """
    short = value_text(name, first), value_text(name, second)
    if first == second or short[0] != short[1]:
        return short
    return (f"{first * 100!r} %", f"{second * 100!r} %") if is_share(name) else (repr(first), repr(second))


def change_text(name: str, value: float) -> str:
    """A difference of two values as text: `2 percentage points`, `0.02`.

    :param name: name of the values, e.g. `sample.exact_share`
    :param value: the difference
    """
    if not is_share(name):
        return f"{value:.4g}"
    points = f"{value * 100:.4g}"
    return f"{points} percentage point{'' if points == '1' else 's'}"


def distribution_label(name: str) -> str:
    """The label of a distribution: `Input tokens` for `userInputTokenDistribution`."""
    return _DISTRIBUTIONS.get(name, words(name))


def words(name: str) -> str:
    """The name of a field as words: `Epoch count` for `epoch_count`."""
    if name == "sha256":
        return "SHA-256"
    text = re.sub(r"[_.]+", " ", name).strip()
    return text[:1].upper() + text[1:]


def number_text(value: Any) -> str:
    """A number as text; a dash for None and for empty text; other values unchanged."""
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 1e15):
        return f"{value:,.0f}"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)


def seconds(value: float | None) -> str:
    """A duration in seconds as text: `1 h 02 min`, `3 min 20 s`, `0.42 s`."""
    if value is None:
        return DASH
    if value < 60:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def share_text(part: float, whole: float) -> str:
    """A share as text: `5 of 6 (83%)`."""
    return f"{part:,} of {whole:,} ({part / whole:.0%})" if whole else f"{part:,} of {whole:,}"


def size(count: float) -> str:
    """A number of bytes as text: `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"
