"""How the page calls things, and writes numbers."""

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
    "sample.exact_share": "Exact answers on the validation sample",
}
_DISTRIBUTIONS: Final = {
    "userInputTokenDistribution": "Input tokens",
    "userOutputTokenDistribution": "Output tokens",
    "userMessagePerExampleDistribution": "Turns",
}
"""As the service calls them."""
_PARTS: Final = {"first": "first", "last": "last", "best": "best", "best_step": "step of the best"}


def series_kind(name: str) -> str:
    """`training` or `validation`: which data a series is measured on."""
    found = _SERIES.match(name)
    return "validation" if found and found["kind"] == "eval" else "training"


def series_metric(name: str) -> str:
    """What a series measures: `Loss` for `/train_total_loss` and `/eval_total_loss`."""
    found = _SERIES.match(name)
    metric = found["metric"] if found else name.strip("/")
    return words(_METRICS.get(metric, metric))


def series_rank(name: str) -> tuple[str, bool, bool, str]:
    """Sorts series: training before validation, loss before accuracy before whatever else there is."""
    return series_kind(name), *metric_rank(series_metric(name))


def metric_rank(metric: str) -> tuple[bool, bool, str]:
    return "loss" not in metric.lower(), "accuracy" not in metric.lower(), metric


def series_label(name: str) -> str:
    """`Validation loss` for `/eval_total_loss`."""
    return f"{series_kind(name).capitalize()} {series_metric(name).lower()}"


def value_label(name: str) -> str:
    """A value gates speak of, in words: `Validation loss, last` for `eval_total_loss.last`."""
    if name in _VALUES:
        return _VALUES[name]
    series, _, part = name.rpartition(".")
    return f"{series_label(series)}, {_PARTS[part]}" if part in _PARTS and _SERIES.match(series) else words(name)


def is_share(name: str) -> bool:
    """Whether a value that gates speak of is a part of a whole, from 0 to 1."""
    series, _, part = name.rpartition(".")
    return part.endswith("_share") or ("fraction" in series and part != "best_step")


def value_text(name: str, value: float | None) -> str:
    """A value that gates speak of, for people: `61 %`, `0.42`; `unknown` when it is."""
    if value is None or not math.isfinite(value):
        return "unknown"
    return f"{value * 100:.4g} %" if is_share(name) else f"{value:.4g}"


def value_texts(name: str, one: float, other: float) -> tuple[str, str]:
    """Two values with as many digits as it takes to tell them apart."""
    short = value_text(name, one), value_text(name, other)
    if one == other or short[0] != short[1]:
        return short
    return (f"{one * 100!r} %", f"{other * 100!r} %") if is_share(name) else (repr(one), repr(other))


def change_text(name: str, value: float) -> str:
    """How far two values are apart: `2 percentage points`, `0.02`."""
    if not is_share(name):
        return f"{value:.4g}"
    points = f"{value * 100:.4g}"
    return f"{points} percentage point{'' if points == '1' else 's'}"


def distribution_label(name: str) -> str:
    return _DISTRIBUTIONS.get(name, words(name))


def words(name: str) -> str:
    """A field's name as words."""
    if name == "sha256":
        return "SHA-256"
    text = re.sub(r"[_.]+", " ", name).strip()
    return text[:1].upper() + text[1:]


def number_text(value: Any) -> str:
    """A number for people, and anything else as it is; a dash for nothing."""
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
    """A length of time: `1 h 02 min`, `3 min 20 s`, `0.42 s`."""
    if value is None:
        return DASH
    if value < 60:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def share_text(part: float, whole: float) -> str:
    """`5 of 6`, and in percent."""
    return f"{part:,} of {whole:,} ({part / whole:.0%})" if whole else f"{part:,} of {whole:,}"


def size(count: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"
