"""Asking a person before a new model is put into use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from vertex_tuning.plain_text import MESSAGE_SHOWN, plain

if TYPE_CHECKING:
    from airflow.providers.standard.operators.hitl import ApprovalOperator

MAX_REASONS: Final = 20
"""Lines of a kind that are shown to whoever decides; the report has them all."""

ANSWERS: Final = ("smoke.", "sample.")
"""How values of what a model answered begin."""

_PUNCTUATION: Final = re.compile(r"([!-/:-@\[-`{-~])")
"""All of ASCII's: https://spec.commonmark.org/0.31.2/#backslash-escapes"""

_ADDRESS: Final = re.compile(r"(?i)(https?:|www|[-.\w+]@)(?=//|\.|[-\w]+\.)")
"""Where Airflow's UI would make a link of an address, escaped or not (seen in 3.3.2): as GitHub's Markdown does."""
_WORD_JOINER: Final = "\u2060"


def approval_task(
    *, evaluated_by: str, deadline: timedelta, task_id: str = "approve_model", **arguments: Any
) -> ApprovalOperator:
    """A task that waits, without a worker, until somebody approves of the new model in Airflow's UI.

    Who rejects it, or lets the deadline pass, has the promotion skipped; the model in use stays.

    :param evaluated_by: task id of the :class:`~vertex_tuning.operators.evaluation.EvaluateModelOperator`
    :param deadline: for the answer, from when the question is asked
    :param arguments: further ones of `ApprovalOperator`
    """
    from airflow.providers.standard.operators.hitl import ApprovalOperator

    return ApprovalOperator(
        task_id=task_id,
        subject="Put the new model into use?",
        body=f"{{{{ ti.xcom_pull(task_ids='{evaluated_by}', key='summary', map_indexes=ti.map_index) }}}}",
        response_timeout=deadline,
        # Without a default the task would fail at the deadline, and ask again with each of its retries.
        defaults=ApprovalOperator.REJECT,
        **arguments,
    )


def approval_text(evaluation: Mapping[str, Any], values: Mapping[str, float]) -> str:
    """What there is to know, as Markdown.

    :param evaluation: the result of `evaluate_model`
    :param values: all that is known of the new model; those of its answers are shown when it stands alone
    """
    champion = evaluation["champion"]
    alone = {name: value for name, value in values.items() if name.startswith(ANSWERS)}
    lines = [
        f"**Verdict: {evaluation['verdict']}**",
        f"New model: {markdown(evaluation['model'])}",
        f"In use: {markdown(champion['model'])}" if champion else "There is no model in use.",
        *(f"- {markdown(reason)}" for reason in evaluation["reasons"][:MAX_REASONS]),
        "\n".join(_values(evaluation["comparison"]["values"]) if champion else _alone(alone)),
        "\n".join(_gates(evaluation["gates"])),
        *(markdown(note) for note in evaluation["comparison"]["notes"]),
        "Approving puts the new model into use. Rejecting leaves everything as it is.",
    ]
    return "\n\n".join(line for line in lines if line)


def markdown(text: object) -> str:
    """A text as it is, whatever it holds: no mark-up, link or line of its own comes out of it."""
    line = _ADDRESS.sub(rf"\1{_WORD_JOINER}", plain(" ".join(str(text).split()), MESSAGE_SHOWN))
    return _PUNCTUATION.sub(r"\\\1", line)


def _values(values: Mapping[str, Mapping[str, float | None]]) -> Iterator[str]:
    if values:
        yield from ("| value | in use | new |", "|---|---|---|")
    for name, both in values.items():
        yield f"| {markdown(name)} | {_number(both['champion'])} | {_number(both['challenger'])} |"


def _alone(values: Mapping[str, float]) -> Iterator[str]:
    if values:
        yield from ("| value | new |", "|---|---|")
    for name, value in values.items():
        yield f"| {markdown(name)} | {_number(value)} |"


def _gates(gates: list[dict[str, Any]]) -> Iterator[str]:
    if gates:
        yield from ("| gate | found | limit | verdict |", "|---|---|---|---|")
    for gate in gates[:MAX_REASONS]:
        cells = (markdown(gate["value"]), _number(gate["found"]), markdown(gate["limit"]), gate["verdict"])
        yield f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "unknown" if value is None else markdown(f"{value:.4g}")
