"""What stands between a new model and its use when a person decides, for a model that is there already."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, TriggerRule, chain
from vertex_tuning.operators.approval import approval_task
from vertex_tuning.operators.evaluation import EvaluateModelOperator
from vertex_tuning.operators.registry import PromoteModelOperator
from vertex_tuning.operators.report import ShowOutcomeOperator, WriteReportOperator


def approval_dag(name: str, deadline: timedelta) -> DAG:
    """A DAG that asks before the model of the job in its form gets the form's alias."""
    with DAG(name, schedule=None, params={"job": "", "model": "", "alias": "champion"}) as dag:
        evaluate = EvaluateModelOperator(
            task_id="evaluate_model",
            job_name="{{ params.job }}",
            values={"eval_total_loss.last": 0.25, "sample.exact_share": 0.95},
            rule={"value": "eval_total_loss.last", "higher_is_better": False},
            gates=[{"value": "eval_total_loss.last", "max": 0.5}],
            champion_alias="{{ params.alias }}",
            tuning="approved",
        )
        promote = PromoteModelOperator(
            task_id="promote_model",
            model="{{ params.model }}",
            expected_champion="",
            champion_alias="{{ params.alias }}",
            tuning="approved",
        )
        reports: dict[str, Any] = {"refused_folder": "gs://approved/reports"}
        draft = WriteReportOperator(task_id="draft_report", **reports)
        approve = approval_task(evaluation=evaluate, report=draft, deadline=deadline)
        promoted = ShowOutcomeOperator(task_id="promoted", outcomes=["promoted", "first"], **reports)
        skipped: dict[str, Any] = {"trigger_rule": TriggerRule.ALL_SKIPPED, **reports}
        refused = ShowOutcomeOperator(task_id="refused", outcomes=["refused", "rejected"], **skipped)
        undecided = ShowOutcomeOperator(task_id="undecided", outcomes=["undecided"], **skipped)
        report = WriteReportOperator(task_id="write_report", **reports)
        chain(evaluate, draft, approve, promote, [promoted, refused, undecided, report.as_teardown()])
    return dag


patient = approval_dag("approval", timedelta(hours=1))
hasty = approval_dag("approval_in_seconds", timedelta(seconds=15))
