"""How a run ended, in words, from the states of its tasks and what they said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from vertex_tuning.report.content import Step, Verdict

ROLES: Final = ("upload", "create", "wait", "metrics", "smoke", "evaluation", "approval", "promotion")
"""What the tasks of a retraining do, in their order."""

NO_STEP: Final = "not in this run"


def verdict_of(steps: Mapping[str, Step], evaluation: Mapping[str, Any] | None) -> Verdict:
    """:param steps: by what they do, see `ROLES`"""
    found = evaluation or {}
    reasons = [str(reason) for reason in found.get("reasons") or []]
    if found.get("verdict") == "unchanged":
        return Verdict("passed", "Unchanged", "This model is the one in use already.", reasons)
    if steps["promotion"].state == "success":
        return _promoted(found, reasons)
    if found.get("verdict") == "refused":
        return Verdict("refused", "Refused", _stays(found), reasons)
    if failed := _first(steps, "failed"):
        return _failed(failed, reasons)
    if skipped := _first(steps, "skipped"):
        return _skipped(steps, skipped, reasons)
    if unfinished := next((step for step in steps.values() if step.state not in ("success", NO_STEP)), None):
        sentence = f"The run ended before {unfinished.task_id} was done. The model in use stays."
        return Verdict("failed", "Not finished", sentence, reasons)
    return Verdict("passed", "Passed", "The new model passed. This run puts no model into use.", reasons)


def _promoted(evaluation: Mapping[str, Any], reasons: list[str]) -> Verdict:
    if evaluation.get("verdict") == "first":
        return Verdict("first", "First model", "The new model is in use; there was none to compare it with.", reasons)
    return Verdict("promoted", "Promoted", "The new model is better than the one before it, and is in use.", reasons)


def _failed(step: Step, reasons: list[str]) -> Verdict:
    after = "The model in use stays."
    if step.name == "Promotion":
        after = "Which model is in use stands in the Model Registry."
    error = step.error or "The task's log says why."
    return Verdict("failed", "Failed", f"{step.name} failed ({step.task_id}). {after}", [*reasons, error])


def _skipped(steps: Mapping[str, Step], step: Step, reasons: list[str]) -> Verdict:
    if step is steps["promotion"] and steps["approval"].state == "success":
        return Verdict("skipped", "Not approved", "Nobody approved the new model. The model in use stays.", reasons)
    if step is steps["evaluation"]:
        sentence = "The tuning's cases were not asked, so it was no candidate. The model in use stays."
        return Verdict("skipped", "Not put into use", sentence, reasons)
    if step is steps["smoke"]:
        sentence = "Too few answers of the new model were as expected. The model in use stays."
        return Verdict("refused", "Refused", sentence, reasons)
    if step is steps["create"]:
        sentence = "Nothing was trained: a model has been made from the same data with the same settings before."
        return Verdict("skipped", "Skipped", sentence, reasons)
    return Verdict("skipped", "Skipped", f"The run ended at {step.task_id}. The model in use stays.", reasons)


def _stays(evaluation: Mapping[str, Any]) -> str:
    return "The model in use stays." if evaluation.get("champion") else "No model was put into use."


def _first(steps: Mapping[str, Step], state: str) -> Step | None:
    return next((step for step in steps.values() if step.state == state), None)
