"""Build a report from the results of the tasks of a run. Any result may be missing."""

from __future__ import annotations

from typing import Final

import msgspec

from vertex_tuning.report import content as to
from vertex_tuning.report import evidence, parts
from vertex_tuning.report.candidates import CandidateTable, candidates
from vertex_tuning.report.material import Material
from vertex_tuning.report.run_links import links_of
from vertex_tuning.report.verdict import NO_STEP, NOT_STARTED, UNDECIDED, verdict_of
from vertex_tuning.results import Role
from vertex_tuning.text.plain_text import storable_json

NO_JOB: Final = frozenset({"skipped", "upstream_failed", "removed", NOT_STARTED})
"""States of the create task in which there is no job."""


def outcome(given: Material) -> to.RunVerdict:
    """How the run ended."""
    return verdict_of(_steps(given), given.evaluation, given.decision, given.over_budget)


def build(given: Material) -> to.Report:
    """The report of a run."""
    job, steps = given.job, _steps(given)
    report = to.Report(
        title=given.title,
        dag_id=given.dag_id,
        run_id=given.run_id,
        created=given.created,
        verdict=outcome(given),
        steps=list(steps.values()),
        dataset=parts.dataset(given.upload, given.dataset_report, job) if given.upload else None,
        settings=parts.settings(job) if job else [],
        metrics=parts.metrics(given.metrics, given.series) if given.metrics else None,
        candidates=_candidates(given),
        gates=evidence.gates(given.evaluation) if given.evaluation else None,
        smoke=parts.answers(given.smoke.cases, given.smoke.result_uri) if given.smoke else None,
        sample=_sample(given),
        comparison=evidence.comparison(given.evaluation) if given.evaluation else None,
        labels=evidence.labels(given.evaluation) if given.evaluation else None,
        decision=given.decision,
        cost=parts.cost(
            given.upload,
            given.selection or given.metrics,
            job_created=bool(job) or steps[Role.CREATE].state not in NO_JOB,
        ),
        rollback=parts.rollback(given.previous) if given.previous else None,
        links=links_of(given),
    )
    return _storable(report)


def _candidates(given: Material) -> CandidateTable | None:
    epochs = given.upload.epoch_count if given.upload else None
    return candidates(given.selection, epochs, given.vertex_endpoint) if given.selection else None


def _sample(given: Material) -> to.AnswerList | None:
    """The new model's answers to the sample, from the smoke test or from the evaluation."""
    smoke, evaluation = given.smoke, given.evaluation
    by_smoke_test = parts.answers(smoke.sample, smoke.result_uri) if smoke else None
    return by_smoke_test or (evidence.sample_answers(evaluation) if evaluation else None)


def _storable(report: to.Report) -> to.Report:
    """Remove lone surrogates, e.g. of a cut emoji: a file in UTF-8 cannot have them."""
    return msgspec.convert(storable_json(msgspec.to_builtins(report)), to.Report)


def _steps(given: Material) -> dict[Role, to.Step]:
    return {role: _step(given, role) for role in Role}


def _step(given: Material, role: Role) -> to.Step:
    task_id = given.tasks.get(role, "")
    state = (given.states[task_id] or NOT_STARTED) if task_id in given.states else NO_STEP
    url = f"{given.run_url}/tasks/{task_id}" if given.run_url and state != NO_STEP else None
    if role is Role.APPROVAL and state == "success" and given.decision and given.decision.answer != "approved":
        state = given.decision.answer
    if role is Role.EVALUATION and state == "skipped" and given.evaluation and given.evaluation.verdict == UNDECIDED:
        state = UNDECIDED
    return to.Step(role.label, task_id, state, given.errors.get(role) if state == "failed" else None, url)
