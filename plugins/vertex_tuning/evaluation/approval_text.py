"""The text of the approval request for a new model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from vertex_tuning.evaluation.comparison import VERDICTS
from vertex_tuning.report.names import value_label, value_text
from vertex_tuning.report.rule_text import gain_text, wanted_gain
from vertex_tuning.results import ComparisonResult, EvaluationResult, GateResult, ModelValues
from vertex_tuning.text.plain_text import MESSAGE_SHOWN, plain

MAX_REASONS: Final = 20
"""Most reasons, and most gates, in the text; the report has all."""

ANSWERS: Final = ("smoke.", "sample.")
"""Prefixes of the values that are measured by predictions."""

_PUNCTUATION: Final = re.compile(r"([!-/:-@\[-`{-~])")
"""All ASCII punctuation: https://spec.commonmark.org/0.31.2/#backslash-escapes"""

_ADDRESS: Final = re.compile(r"(?i)(https?:|www|[-.\w+]@)(?=//|\.|[-\w]+\.)")
"""Text that Airflow's UI turns into a link, escaped or not (seen in 3.3.2), as GitHub's Markdown does."""
_WORD_JOINER: Final = "\u2060"


def approval_text(evaluation: EvaluationResult, values: Mapping[str, float]) -> str:
    """The text of the approval request, as Markdown.

    :param values: values of the new model; without a model to compare with, the text shows those measured by
        predictions
    """
    champion, comparison = evaluation.champion, evaluation.comparison
    alone = {name: ModelValues(None, value) for name, value in values.items() if name.startswith(ANSWERS)}
    lines = [
        f"**{VERDICTS[evaluation.verdict]}**",
        f"New model: {markdown(evaluation.model)}",
        f"Model in use: {markdown(champion.model)}" if champion else "There is no model in use.",
        f"Base model, not tuned: {markdown(evaluation.baseline)}" if evaluation.baseline else "",
        *(f"- {markdown(reason)}" for reason in evaluation.reasons[:MAX_REASONS]),
        "\n".join(_values(_models(evaluation), comparison.values if champion or evaluation.baseline else alone)),
        _gain(comparison) if champion else "",
        "\n".join(_gates(evaluation.gates)),
        *(markdown(note) for note in comparison.notes),
        "Approve: the new model is put into use. Reject: nothing is changed.",
    ]
    return "\n\n".join(line for line in lines if line)


def _gain(comparison: ComparisonResult) -> str:
    """The gain with its bounds, and what the rule requires; empty without a model in use."""
    if comparison.rule is None or not comparison.values:
        return ""
    wanted = wanted_gain(comparison.rule, bounded=comparison.gain is not None)
    if comparison.gain is None:
        return markdown(f"The bare numbers are compared, without a confidence bound. {wanted}")
    return markdown(f"{gain_text(comparison.rule.value, comparison.gain)}. {wanted}")


def markdown(text: object) -> str:
    """Escape a text, so that it creates no mark-up, no link and no line."""
    line = _ADDRESS.sub(rf"\1{_WORD_JOINER}", plain(" ".join(str(text).split()), MESSAGE_SHOWN))
    return _PUNCTUATION.sub(r"\\\1", line)


def _models(evaluation: EvaluationResult) -> dict[str, str]:
    """Headings of the compared models, by the field of `ModelValues`."""
    base = {"baseline": "base model"} if evaluation.baseline else {}
    in_use = {"champion": "model in use"} if evaluation.champion else {}
    return {**base, **in_use, "challenger": "new model"}


def _values(models: Mapping[str, str], values: Mapping[str, ModelValues]) -> Iterator[str]:
    if values:
        yield f"| value | {' | '.join(models.values())} |"
        yield "|---" * (len(models) + 1) + "|"
    for name, found in values.items():
        yield f"| {_name(name)} | {' | '.join(_value(name, getattr(found, model)) for model in models)} |"


def _gates(gates: list[GateResult]) -> Iterator[str]:
    if gates:
        yield from ("| gate | found | limit | verdict |", "|---|---|---|---|")
    for gate in gates[:MAX_REASONS]:
        found = _value(gate.value, gate.found)
        yield f"| {_name(gate.value)} | {found} | {markdown(gate.limit)} | {gate.verdict} |"


def _name(name: str) -> str:
    return markdown(f"{value_label(name)} ({name})")


def _value(name: str, value: float | None) -> str:
    return markdown(value_text(name, value))
