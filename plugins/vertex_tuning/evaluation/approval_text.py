"""The text of the question whether a new model is put into use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from vertex_tuning.evaluation.comparison import VERDICTS
from vertex_tuning.plain_text import MESSAGE_SHOWN, plain
from vertex_tuning.report.names import value_label, value_text
from vertex_tuning.results import BothValues, EvaluationResult, GateResult

MAX_REASONS: Final = 20
"""Lines of a kind that are shown to whoever decides; the report has them all."""

ANSWERS: Final = ("smoke.", "sample.")
"""How values of what a model answered begin."""

_PUNCTUATION: Final = re.compile(r"([!-/:-@\[-`{-~])")
"""All of ASCII's: https://spec.commonmark.org/0.31.2/#backslash-escapes"""

_ADDRESS: Final = re.compile(r"(?i)(https?:|www|[-.\w+]@)(?=//|\.|[-\w]+\.)")
"""Where Airflow's UI would make a link of an address, escaped or not (seen in 3.3.2): as GitHub's Markdown does."""
_WORD_JOINER: Final = "\u2060"


def approval_text(evaluation: EvaluationResult, values: Mapping[str, float]) -> str:
    """What there is to know, as Markdown.

    :param values: all that is known of the new model; those of its answers are shown when it stands alone
    """
    champion, comparison = evaluation.champion, evaluation.comparison
    alone = {name: value for name, value in values.items() if name.startswith(ANSWERS)}
    lines = [
        f"**{VERDICTS[evaluation.verdict]}**",
        f"New model: {markdown(evaluation.model)}",
        f"Model in use: {markdown(champion.model)}" if champion else "There is no model in use.",
        *(f"- {markdown(reason)}" for reason in evaluation.reasons[:MAX_REASONS]),
        "\n".join(_values(comparison.values) if champion else _alone(alone)),
        "\n".join(_gates(evaluation.gates)),
        *(markdown(note) for note in comparison.notes),
        "Approve: the new model is put into use. Reject: nothing is changed.",
    ]
    return "\n\n".join(line for line in lines if line)


def markdown(text: object) -> str:
    """A text as it is, whatever it holds: no mark-up, link or line of its own comes out of it."""
    line = _ADDRESS.sub(rf"\1{_WORD_JOINER}", plain(" ".join(str(text).split()), MESSAGE_SHOWN))
    return _PUNCTUATION.sub(r"\\\1", line)


def _values(values: Mapping[str, BothValues]) -> Iterator[str]:
    if values:
        yield from ("| value | model in use | new model |", "|---|---|---|")
    for name, both in values.items():
        yield f"| {_name(name)} | {_value(name, both.champion)} | {_value(name, both.challenger)} |"


def _alone(values: Mapping[str, float]) -> Iterator[str]:
    if values:
        yield from ("| value | new model |", "|---|---|")
    for name, value in values.items():
        yield f"| {_name(name)} | {_value(name, value)} |"


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
