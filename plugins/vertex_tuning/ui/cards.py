"""The cards of the overview, one for each tuning. Its JSON has exactly these fields."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote

import msgspec

from vertex_tuning.costs.budget import CostTotals
from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.jobs.job import TuningJob, describe_progress, total_epochs, total_steps
from vertex_tuning.report.names import value_label
from vertex_tuning.resources.resource_urls import job_url, model_url, object_url
from vertex_tuning.ui.airflow_runs import WAITS_FOR_PERSON, ActiveRun
from vertex_tuning.ui.google_reads import Addresses
from vertex_tuning.ui.score_chart import ScorePicture, comparable, score_text, sparkline
from vertex_tuning.ui.tuning_files import TuningFile
from vertex_tuning.ui.tuning_state import ModelInUse, TuningState, age_text

SPARK_RUNS: Final = 10
TASKS_SHOWN: Final = 3
CARD_REASONS: Final = 2


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The model in use.

    :param age: how long it has been in use, in words; empty if that is not known
    :param note: why this may be wrong; empty if the Model Registry says it
    """

    name: str
    version: str
    since: str
    age: str
    note: str
    url: str


class JobFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A tuning job that has not ended.

    :param progress: state, step and epoch in words
    :param ends: when it ends at its present speed; None before its first step
    """

    name: str
    progress: str
    step: int | None
    steps: int | None
    epoch: int | None
    epochs: int | None
    ends: str | None
    url: str


class ActiveFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has not ended.

    :param doing: its state and the tasks that it is at
    :param decision_url: page on which a person decides; empty if none must
    """

    run_id: str
    doing: str
    url: str
    decision_url: str


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended.

    :param score: the new model's value of the rule, with its interval, in words
    :param value: this value's label
    """

    run_id: str
    kind: str
    ended: str
    outcome: str
    title: str
    reasons: list[str]
    score: str
    value: str
    url: str
    report_url: str


class CostFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Costs of 30 days.

    :param limit: `max_cost_per_30_days`; None without a limit
    :param notes: what the amount leaves out or only estimates
    """

    amount: float
    currency: str
    limit: float | None
    notes: list[str]

    @property
    def share(self) -> float | None:
        """Share of the limit, at most 1."""
        return min(self.amount / self.limit, 1.0) if self.limit else None


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A tuning at a glance. URLs without a scheme are relative to the base URL of Airflow.

    :param scored_run: the last run that has a score
    :param warnings: what needs the owner: a retirement, a paused DAG
    :param notices: what of this is old or missing, and why
    """

    tuning: str
    dag_id: str
    description: str
    url: str
    dag_url: str
    rollback_url: str
    is_paused: bool
    next_run: str
    model: ModelFacts | None
    last_run: RunFacts | None
    scored_run: RunFacts | None
    active: list[ActiveFacts]
    jobs: list[JobFacts]
    cost: CostFacts | None
    warnings: list[str]
    notices: list[str]


def build_card(state: TuningState) -> Card:
    """The card of a tuning."""
    file, dag = state.file, state.dag
    recent = state.summary.recent
    scored = next((record for record in recent if record.score), None)
    return Card(
        tuning=file.name,
        dag_id=file.dag_id,
        description=file.description,
        url=f"plugin/tunings/{quote(file.dag_id)}",
        dag_url=_dag_url(file.dag_id),
        rollback_url=_dag_url(file.rollback_dag_id) if state.rollback else "",
        is_paused=bool(dag and dag.is_paused),
        next_run=_iso(dag.next_run if dag else None),
        model=_model(state.model_in_use(), state),
        last_run=run_facts(recent[0], file, state.addresses) if recent else None,
        scored_run=run_facts(scored, file, state.addresses) if scored else None,
        active=[_active(run) for run in state.active],
        jobs=[job_facts(job, state.addresses, state.now) for job in (state.own_jobs.live if state.own_jobs else ())],
        cost=_cost(state),
        warnings=list(_warnings(state)),
        notices=state.notices(),
    )


def card_chart(state: TuningState) -> ScorePicture | None:
    """The sparkline of a card."""
    return sparkline(comparable(state.summary.recent)[-SPARK_RUNS:])


def run_facts(record: RunRecord, file: TuningFile, addresses: Addresses) -> RunFacts:
    """A run of the history. Its links are made here: a record may come from anywhere."""
    return RunFacts(
        run_id=record.run_id,
        kind=record.kind,
        ended=record.ended,
        outcome=record.outcome,
        title=record.outcome_title,
        reasons=record.reasons[:CARD_REASONS],
        score=score_text(record),
        value=value_label(record.value) if record.score else "",
        url=run_url(record, file),
        report_url=own_object_url(record.report_uri, file, addresses),
    )


def run_url(record: RunRecord, file: TuningFile) -> str:
    """The run's page in Airflow; empty for a DAG that is not the tuning's."""
    is_own = record.dag_id in (file.dag_id, file.rollback_dag_id)
    return _run_url(record.dag_id, record.run_id) if is_own and record.run_id else ""


def own_object_url(uri: str, file: TuningFile, addresses: Addresses) -> str:
    """URL of an object in the tuning's own bucket; empty for another bucket."""
    return object_url(uri, addresses.storage) if is_in_bucket(uri, file) else ""


def is_in_bucket(uri: str, file: TuningFile) -> bool:
    """Whether an object is in the tuning's bucket. A record must not name any other for the API server to read."""
    return bool(file.bucket) and uri.startswith(f"gs://{file.bucket}/")


def job_facts(job: TuningJob, addresses: Addresses, now: datetime) -> JobFacts:
    """A job that runs, with the time at which it ends if that can be known."""
    done = job.tuning_job_metadata
    return JobFacts(
        name=job.name,
        progress=describe_progress(job),
        step=done.completed_step_count if done else None,
        steps=total_steps(job),
        epoch=done.completed_epoch_count if done else None,
        epochs=total_epochs(job),
        ends=_iso(_end_of(job, now)) or None,
        url=job_url(job.name, addresses.vertex),
    )


def _end_of(job: TuningJob, now: datetime) -> datetime | None:
    """The end of a job, if it goes on as fast as until now; None before its first step."""
    steps, done = total_steps(job), job.tuning_job_metadata
    completed = done.completed_step_count if done else None
    if not (job.start_time and steps and completed and completed < steps):
        return None
    elapsed = (now - datetime.fromisoformat(job.start_time)).total_seconds()
    return now + timedelta(seconds=elapsed / completed * (steps - completed)) if elapsed > 0 else None


def _model(found: ModelInUse | None, state: TuningState) -> ModelFacts | None:
    if found is None:
        return None
    age = age_text((state.now - datetime.fromisoformat(found.since)).total_seconds()) if found.since else ""
    url = model_url(found.name, state.addresses.vertex) if "/models/" in found.name else ""
    return ModelFacts(name=found.name, version=found.version, since=found.since, age=age, note=found.note, url=url)


def _active(run: ActiveRun) -> ActiveFacts:
    url = _run_url(run.dag_id, run.run_id)
    waiting = next((task for task in run.tasks if task.state == WAITS_FOR_PERSON), None)
    tasks = ", ".join(f"{task.task_id} {task.state.replace('_', ' ')}" for task in run.tasks[:TASKS_SHOWN])
    return ActiveFacts(
        run_id=run.run_id,
        doing=tasks or run.state,
        url=url,
        decision_url=f"{url}/tasks/{quote(waiting.task_id, safe='')}/required_actions" if waiting else "",
    )


def _cost(state: TuningState) -> CostFacts | None:
    """By the list of jobs, or else by the history."""
    limit = state.file.budget
    if state.jobs and state.jobs.value is not None:
        own = state.own_jobs
        if own is None:
            return CostFacts(amount=0.0, currency=state.summary.currency, limit=limit, notes=[])
        return CostFacts(
            amount=own.totals.amount, currency=own.currency, limit=limit, notes=list(_cost_notes(own.totals))
        )
    summary = state.summary
    if not summary.recent:
        return None
    notes = ["By the history: runs that still train are not counted."]
    return CostFacts(amount=summary.cost, currency=summary.currency, limit=limit, notes=notes)


def _cost_notes(totals: CostTotals) -> Iterable[str]:
    if totals.estimates:
        yield f"{_jobs(totals.estimates)} with an estimate."
    if totals.unknown:
        yield f"{_jobs(totals.unknown)} not counted: tokens or price are not known."


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"


def _warnings(state: TuningState) -> Iterable[str]:
    if state.file.retirement:
        yield state.file.retirement
    if state.dag is None:
        yield "Airflow does not have the DAG of this tuning."
    elif state.dag.is_paused:
        yield "The DAG is paused: nothing runs on schedule."


def _dag_url(dag_id: str) -> str:
    return f"dags/{quote(dag_id, safe='')}"


def _run_url(dag_id: str, run_id: str) -> str:
    return f"{_dag_url(dag_id)}/runs/{quote(run_id, safe='')}"


def _iso(time: datetime | None) -> str:
    return time.isoformat(timespec="seconds") if time else ""
