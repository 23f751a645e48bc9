"""Describe the outcome of a run by the states and results of its tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vertex_tuning.report.content import RunVerdict, Step
from vertex_tuning.results import Decision, EvaluationResult, Role

NO_STEP: Final = "not in this run"
NOT_STARTED: Final = "not started"
UNDECIDED: Final = "undecided"
"""State of an evaluation that skipped itself because the sample cannot tell."""

UNANSWERED: Final = frozenset(
    {
        NOT_STARTED,
        "scheduled",
        "queued",
        "running",
        "restarting",
        "awaiting_input",
        "deferred",
        "up_for_retry",
        "up_for_reschedule",
    }
)
"""States of an approval task without a decision yet."""

IN_REGISTRY: Final = "The Model Registry shows which model is in use."


def verdict_of(
    steps: Mapping[Role, Step],
    evaluation: EvaluationResult | None = None,
    decision: Decision | None = None,
    over_budget: str = "",
) -> RunVerdict:
    """The outcome of a run: title, sentence and reasons.

    :param steps: steps of the run by their role; all roles are there
    :param evaluation: result of the evaluation task; None if the task did not succeed
    :param decision: decision of a person about the promotion; None if the run needs no approval
    :param over_budget: why the budget of 30 days has no room for the job; empty if it has
    """
    reasons = [*_decided(decision), *(evaluation.reasons if evaluation else [])]
    judged = _judged(steps, evaluation, reasons) or (_not_approved(decision, evaluation, reasons) if decision else None)
    if over_budget and not judged:
        return _over_budget(steps, over_budget)
    return judged or _unjudged(steps, evaluation, reasons)


def _judged(steps: Mapping[Role, Step], evaluation: EvaluationResult | None, reasons: list[str]) -> RunVerdict | None:
    """The outcome of a run whose model is in use now or was refused; None for other runs."""
    if steps[Role.ROLLBACK].state == "success":
        sentence = (
            "The previous model is in use again. The model it replaces has the alias 'rolled-back' now, and is not "
            "promoted again while it has this alias."
        )
        return RunVerdict("rolled_back", "Rolled back", sentence, reasons)
    verdict = evaluation and evaluation.verdict
    if verdict == "unchanged":
        return RunVerdict("passed", "Unchanged", "The new model is the model in use already.", reasons)
    if steps[Role.PROMOTION].state == "success":
        return _promoted(evaluation, reasons)
    if verdict == "refused":
        return RunVerdict("refused", "Refused", _stays(evaluation), reasons)
    if steps[Role.EVALUATION].state == UNDECIDED:
        sentence = f"The sample cannot show whether the new model is good enough. {_stays(evaluation)}"
        return RunVerdict("undecided", "Undecided", sentence, reasons)
    return None


def _not_approved(decision: Decision, evaluation: EvaluationResult | None, reasons: list[str]) -> RunVerdict | None:
    sentence = f"{decision} {_stays(evaluation)}"
    if decision.answer == "rejected":
        return RunVerdict("rejected", "Rejected", sentence, reasons[1:])
    return RunVerdict("undecided", "No answer", sentence, reasons[1:]) if decision.answer == "undecided" else None


def _unjudged(steps: Mapping[Role, Step], evaluation: EvaluationResult | None, reasons: list[str]) -> RunVerdict:
    """The outcome of a run that ended without a verdict on its model."""
    if failed := _first(steps, "failed"):
        return _failed(failed, evaluation, reasons)
    if skipped := _first(steps, "skipped"):
        return _skipped(steps, skipped, evaluation, reasons)
    if steps[Role.EVALUATION].state == "success" and steps[Role.APPROVAL].state in UNANSWERED:
        sentence = "A person decides whether the new model is put into use."
        return RunVerdict("waiting", "Waiting for approval", sentence, reasons)
    if unfinished := next((step for step in steps.values() if step.state not in ("success", NO_STEP)), None):
        sentence = f"The run ended before {unfinished.task_id} was done. {_stays(evaluation)}"
        return RunVerdict("failed", "Not finished", sentence, reasons)
    return RunVerdict("passed", "Passed", "The new model passed. This run puts no model into use.", reasons)


def _over_budget(steps: Mapping[Role, Step], why: str) -> RunVerdict:
    sentence = f"The budget of 30 days has no room for the tuning job of this run. {_stays(None)}"
    return RunVerdict("failed" if _first(steps, "failed") else "skipped", "Over the budget", sentence, why.splitlines())


def _decided(decision: Decision | None) -> list[str]:
    if decision is None:
        return []
    return [str(decision), *([f"Reason given: {decision.reason}"] if decision.reason else [])]


def _promoted(evaluation: EvaluationResult | None, reasons: list[str]) -> RunVerdict:
    verdict = evaluation and evaluation.verdict
    if verdict == "first":
        sentence = "The new model is in use. There was no model in use to compare it with."
        return RunVerdict("first", "First model", sentence, reasons)
    if verdict == "equal":
        sentence = "The new model is as good as the model in use and has taken its place."
        return RunVerdict("promoted", "Promoted", sentence, reasons)
    if verdict == "undecided":
        sentence = (
            "The sample could not tell, and the new model has taken the place of the model in use (on_undecided)."
        )
        return RunVerdict("promoted", "Promoted", sentence, reasons)
    sentence = "The new model is better than the model in use and has taken its place."
    return RunVerdict("promoted", "Promoted", sentence, reasons)


def _failed(step: Step, evaluation: EvaluationResult | None, reasons: list[str]) -> RunVerdict:
    after = IN_REGISTRY if step.name in (Role.PROMOTION.label, Role.ROLLBACK.label) else _stays(evaluation)
    error = step.error or "The task's log says why."
    return RunVerdict("failed", "Failed", f"{step.name} failed ({step.task_id}). {after}", [*reasons, error])


def _skipped(
    steps: Mapping[Role, Step], step: Step, evaluation: EvaluationResult | None, reasons: list[str]
) -> RunVerdict:
    if step is steps[Role.EVALUATION]:
        sentence = "Evaluation was skipped because this data does not belong to the tuning's smoke test. " + _stays(
            evaluation
        )
        return RunVerdict("skipped", "Trained and tested only", sentence, reasons)
    if step is steps[Role.SMOKE]:
        sentence = "Too few answers of the new model were as expected. " + _stays(evaluation)
        return RunVerdict("refused", "Refused", sentence, reasons)
    if step in (steps[Role.CREATE], steps[Role.SELECTION]):
        sentence = "Nothing was trained: the same data and settings have made a model before, or are making one now."
        return RunVerdict("skipped", "Skipped", sentence, reasons)
    return RunVerdict("skipped", "Skipped", f"The run ended at {step.task_id}. {_stays(evaluation)}", reasons)


def _stays(evaluation: EvaluationResult | None) -> str:
    """The sentence about the model in use. Before the evaluation it is unknown whether there is one."""
    if evaluation and evaluation.champion:
        return "The model in use stays."
    return "No model was put into use."


def _first(steps: Mapping[Role, Step], state: str) -> Step | None:
    return next((step for step in steps.values() if step.state == state), None)
