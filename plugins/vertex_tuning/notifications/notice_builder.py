"""Make messages from the record of a run. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from vertex_tuning.config.notify import Event
from vertex_tuning.costs.budget import format_money
from vertex_tuning.history.run_record import ModelScore, RunRecord
from vertex_tuning.notifications.notice import Notice
from vertex_tuning.report.content import RunOutcome
from vertex_tuning.report.names import value_label, value_text
from vertex_tuning.report.rule_text import gain_text
from vertex_tuning.text.plain_text import TEXT_SHOWN, plain

OUTCOME_EVENTS: Final[Mapping[RunOutcome, Event]] = {
    "promoted": "promoted",
    "first": "promoted",
    "refused": "refused",
    "rejected": "refused",
    "undecided": "undecided",
    "failed": "failed",
}
"""The event of each outcome. A run that is skipped, or that puts no model into use, is no event."""


def end_events(record: RunRecord) -> list[Event]:
    """The events of the end of a run, the most precise first: a run over its budget may have failed as well."""
    outcome = OUTCOME_EVENTS.get(record.outcome)
    return [*(["budget"] if record.over_budget else []), *([outcome] if outcome else [])]  # type: ignore[list-item]


def run_notice(record: RunRecord, event: Event, approval_url: str = "") -> Notice:
    """The message about a run.

    :param approval_url: page on which a person decides, for the event `approval_waiting`
    """
    return Notice(
        event=event,
        tuning=record.tuning,
        dag_id=record.dag_id,
        run_id=record.run_id,
        title=record.title,
        sentence=record.sentence,
        reasons=record.reasons,
        warnings=record.warnings,
        gain=gain_text(record.value, record.gain).removeprefix("Gain ") if record.gain else "",
        score="; ".join(_scores(record)),
        cost=_cost(record),
        model=record.model,
        report_url=record.report_url,
        run_url=record.run_url,
        approval_url=approval_url,
    )


def retirement_notice(record: RunRecord, note: str) -> Notice:
    """The message that Google retires a base model.

    :param note: which model, when, and what to do
    """
    return Notice(
        event="retiring",
        tuning=record.tuning,
        dag_id=record.dag_id,
        run_id=record.run_id,
        title="Retirement of a base model",
        sentence=plain(note, TEXT_SHOWN),
        report_url=record.report_url,
        run_url=record.run_url,
    )


def _scores(record: RunRecord) -> Iterator[str]:
    """The value by which the rule decides, of each model."""
    models = {
        value_label(record.value): record.score,
        "model in use": record.champion_score,
        "base model": record.baseline_score,
    }
    for name, score in models.items():
        if score:
            yield f"{name} {_score(record.value, score)}"


def _score(value: str, score: ModelScore) -> str:
    if score.lower is None or score.upper is None:
        return value_text(value, score.value)
    return f"{value_text(value, score.value)} ({value_text(value, score.lower)} to {value_text(value, score.upper)})"


def _cost(record: RunRecord) -> str:
    if record.cost is None:
        return ""
    return f"{format_money(record.cost, record.currency)}{', estimated' if record.is_estimate else ''}"
