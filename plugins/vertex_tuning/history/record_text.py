"""The numbers of a record as short texts. Pure."""

from __future__ import annotations

from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.report.names import is_share, value_text
from vertex_tuning.report.rule_text import signed_number


def recorded_score(record: RunRecord) -> str:
    """The new model's score with its confidence interval: `94.2 % (92.2 to 96.2)`; empty without a score."""
    score = record.score
    if score is None:
        return ""
    text = value_text(record.value, score.value)
    if score.lower is None or score.upper is None:
        return text
    lower, upper = (_number(record.value, bound) for bound in (score.lower, score.upper))
    return f"{text} ({lower} to {upper})"


def recorded_gain(record: RunRecord) -> str:
    """The gain with its bounds, in percentage points for shares: `+3 (+1.2 to +4.8)`; empty without a gain."""
    gain = record.gain
    if gain is None:
        return ""
    observed, lower, upper = (signed_number(record.value, part) for part in (gain.observed, gain.lower, gain.upper))
    return f"{observed} ({lower} to {upper})"


def _number(name: str, value: float) -> str:
    return f"{value * 100:.1f}" if is_share(name) else f"{value:.3g}"
