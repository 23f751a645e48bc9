"""From what the tasks of a run returned to a report. Any of them may have returned nothing."""

from __future__ import annotations

from typing import Final

import msgspec

from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.plain_text import storable_json
from vertex_tuning.report import content as to
from vertex_tuning.report import parts
from vertex_tuning.report.material import Json, Material
from vertex_tuning.report.run_links import links_of
from vertex_tuning.report.verdict import NO_STEP, NOT_STARTED, ROLES, verdict_of

NAMES: Final = {
    "upload": "Dataset",
    "create": "Tuning job",
    "wait": "Training",
    "metrics": "Metrics",
    "previous": "Previous model",
    "smoke": "Smoke test",
    "evaluation": "Evaluation",
    "approval": "Approval",
    "promotion": "Promotion",
    "rollback": "Rollback",
}

NO_JOB: Final = frozenset({"skipped", "upstream_failed", "removed", NOT_STARTED})
"""States of the task that creates the job, of which there is then none."""


def outcome(given: Material) -> to.RunVerdict:
    """How the run ended."""
    return verdict_of({role: _step(given, role) for role in ROLES}, given.evaluation, given.decision)


def build(given: Material) -> to.Report:
    """The report of a run."""
    job = TuningJob.parse(given.job) if given.job else None
    steps = {role: _step(given, role) for role in ROLES}
    report = to.Report(
        title=given.title,
        dag_id=given.dag_id,
        run_id=given.run_id,
        created=given.created,
        verdict=outcome(given),
        steps=list(steps.values()),
        dataset=parts.dataset(given.upload, _statistics(given), job) if given.upload else None,
        settings=parts.settings(job) if job else [],
        metrics=parts.metrics(given.metrics, given.series or {}) if given.metrics else None,
        gates=parts.gates(given.evaluation) if given.evaluation else None,
        smoke=parts.answers((given.smoke or {}).get("cases")),
        sample=parts.answers((given.smoke or {}).get("sample")),
        comparison=parts.comparison(given.evaluation) if given.evaluation else None,
        decision=given.decision,
        cost=parts.cost(
            given.upload or {}, given.metrics or {}, job_created=bool(job) or steps["create"].state not in NO_JOB
        ),
        rollback=parts.rollback(given.previous) if given.previous else None,
        links=links_of(given, job),
    )
    return _storable(report)


def _statistics(given: Material) -> Json:
    return msgspec.structs.asdict(given.dataset_report) if given.dataset_report else {}


def _storable(report: to.Report) -> to.Report:
    """Without half surrogate pairs, as a cut emoji leaves them: a str may hold one, no file can."""
    return msgspec.convert(storable_json(msgspec.to_builtins(report)), to.Report)


def _step(given: Material, role: str) -> to.Step:
    task_id = given.tasks.get(role, "")
    state = (given.states[task_id] or NOT_STARTED) if task_id in given.states else NO_STEP
    url = f"{given.run_url}/tasks/{task_id}" if given.run_url and state != NO_STEP else None
    if role == "approval" and state == "success" and given.decision and given.decision.answer != "approved":
        state = given.decision.answer
    return to.Step(NAMES[role], task_id, state, given.errors.get(role) if state == "failed" else None, url)
