"""The complete retraining in one call, for any DAG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import TaskGroup, TriggerRule, chain

from vertex_tuning.config.loader import load_tuning
from vertex_tuning.config.notify import AFTER_THE_RUN
from vertex_tuning.config.switches import parse_switch
from vertex_tuning.config.tuning import Tuning
from vertex_tuning.operators.dataset import UploadDatasetOperator
from vertex_tuning.operators.evaluation import EvaluateModelOperator
from vertex_tuning.operators.metrics import CollectMetricsOperator
from vertex_tuning.operators.registry import PromoteModelOperator
from vertex_tuning.operators.report import ShowOutcomeOperator, WriteReportOperator, keep_error
from vertex_tuning.operators.smoke_test import SmokeTestOperator
from vertex_tuning.operators.tuning_job import CancelUnfinishedJobsOperator, CreateTuningJobOperator
from vertex_tuning.registry.aliases import TUNING_LABEL
from vertex_tuning.results import HEADLINE_KEY, RECORD_KEY, Role
from vertex_tuning.sensors import TuningJobSensor
from vertex_tuning.text.templates import is_run_value

if TYPE_CHECKING:
    from airflow.sdk import Asset, BaseOperator, Context

    from vertex_tuning.operators.approval import ApproveModelOperator

TEARDOWN_RETRIES: Final = 6
"""Retries of a teardown, about an hour: a short outage must not prevent the cancellation of a job."""

ConnectionArguments = Mapping[str, Any]
"""Those of `location`, `project_id`, `gcp_conn_id` and `impersonation_chain` that are set."""


@dataclass(frozen=True)
class Pipeline:
    """The tasks, to which a DAG can add further tasks."""

    upload_dataset: UploadDatasetOperator
    create_tuning_job: CreateTuningJobOperator
    wait_for_tuning_job: TuningJobSensor
    collect_metrics: CollectMetricsOperator
    smoke_test: SmokeTestOperator
    evaluate_model: EvaluateModelOperator
    draft_report: WriteReportOperator | None
    approve_model: ApproveModelOperator | None
    promote_model: PromoteModelOperator

    @property
    def steps(self) -> list[BaseOperator]:
        """The tasks, in their order."""
        tasks = (getattr(self, field.name) for field in fields(self))
        return [task for task in tasks if task]

    @property
    def task_ids(self) -> dict[Role, str]:
        roles = {role.task_id: role for role in Role}
        tasks = {roles[field.name]: getattr(self, field.name) for field in fields(self) if field.name in roles}
        return {role: task.task_id for role, task in tasks.items() if task}


def tuning_pipeline(
    tuning: Tuning | Path | str,
    *,
    group_id: str | None = None,
    ask_cases: bool | str = True,
    base_dir: Path | str = ".",
    pre_execute: Callable[[Context], None] | None = None,
    model_asset: Asset | None = None,
    project_id: str | None = None,
    gcp_conn_id: str | None = None,
    impersonation_chain: str | Sequence[str] | None = None,
) -> Pipeline:
    """Add all steps of a retraining, in order, to the current DAG or task group.

    The last tasks `promoted`, `refused` and `undecided` show in the grid how a run ended. Two teardowns always run: one
    cancels an unfinished job of the run, the other writes the report.

    :param tuning: the tuning, or the path of its YAML file
    :param group_id: name of a task group for the tasks; if not set, the task ids have no prefix
    :param ask_cases: send the cases of the smoke test to the models; if false, no model is promoted
    :param base_dir: base folder of relative data paths
    :param pre_execute: called before the first task; an error it raises ends the run
    :param model_asset: updated by a promotion; its event has job, model, endpoint, dataset, metrics and verdict
    :param project_id: Google Cloud project; defaults to the DAG's `default_args`, then to the connection's project
    :param gcp_conn_id: connection; defaults to the DAG's `default_args`, then to `google_cloud_default`
    :param impersonation_chain: accounts to impersonate; defaults to the DAG's `default_args`, then to no impersonation
    :raises ConfigurationError: the file has mistakes; the message names line and field of each
    """
    if not isinstance(tuning, Tuning):
        tuning = load_tuning(Path(tuning))
    if not is_run_value(ask_cases):
        ask_cases = parse_switch("ask_cases", ask_cases)
    # Only arguments that are set: the others come from the DAG's default_args.
    place: dict[str, Any] = {"location": tuning.location} if "location" in tuning.model_fields_set else {}
    connection = {"project_id": project_id, "gcp_conn_id": gcp_conn_id, "impersonation_chain": impersonation_chain}
    place |= {name: value for name, value in connection.items() if value is not None}
    with TaskGroup(group_id) if group_id else nullcontext():
        upload = _upload(tuning, place, base_dir=str(base_dir), pre_execute=pre_execute)
        pipeline = _steps(tuning, place, upload, ask_cases, model_asset)
        report = _connect(tuning, pipeline, place, _report_arguments(tuning, pipeline, place))
        _notify(tuning, place, upload, report)
    return pipeline


def _steps(
    tuning: Tuning,
    place: ConnectionArguments,
    upload: UploadDatasetOperator,
    ask_cases: bool | str,
    model_asset: Asset | None,
) -> Pipeline:
    create = _create(tuning, place, upload)
    wait = _wait(tuning, place, upload, create)
    collect = _collect(tuning, place, upload, wait)
    questions = {
        "cases": tuning.smoke_test.asked(),
        "ask_cases": ask_cases,
        "base_model": tuning.base_model,
        "generation_config": tuning.evaluation.generation_config,
        "run_folder": upload.output["run_folder"],
        "on_refused": tuning.promotion.on_refused,
    }
    test = SmokeTestOperator(
        task_id=Role.SMOKE.task_id,
        endpoint=collect.output["endpoint"],
        min_pass_share=tuning.smoke_test.min_pass_share,
        **questions,
        **place,
    )
    evaluate = EvaluateModelOperator(
        task_id=Role.EVALUATION.task_id,
        job_name=wait.output["name"],
        values=[collect.output["values"], test.output["values"]],
        rule=tuning.rule,
        gates=tuning.gates,
        endpoint=collect.output["endpoint"],
        sample_uri=upload.output["sample_uri"],
        sample_size=tuning.evaluation.sample_size,
        baseline=tuning.evaluation.baseline,
        metrics=tuning.metrics,
        on_missing_metrics=tuning.on_missing_metrics,
        on_undecided=tuning.promotion.on_undecided,
        **_models(tuning),
        **questions,
        **place,
    )
    draft, approve = _approve(tuning, place, evaluate)
    promote = _promote(tuning, place, upload, collect, evaluate, model_asset)
    return Pipeline(upload, create, wait, collect, test, evaluate, draft, approve, promote)


def _models(tuning: Tuning) -> dict[str, Any]:
    """Which models are compared with each other."""
    return {"tuning": tuning.name, "champion_alias": tuning.promotion.champion_alias}


def _upload(tuning: Tuning, place: ConnectionArguments, **arguments: Any) -> UploadDatasetOperator:
    return UploadDatasetOperator(
        task_id=Role.UPLOAD.task_id,
        training_data=tuning.training_data,
        validation_data=tuning.validation_data,
        test_data=tuning.test_data,
        bucket=tuning.bucket,
        base_model=tuning.base_model,
        options=tuning.dataset,
        tuning_task=tuning.task,
        epoch_count=tuning.hyper_parameters.epoch_count,
        max_cost=tuning.budget.max_cost,
        max_training_tokens=tuning.budget.max_training_tokens,
        evaluation={
            "sample_size": tuning.evaluation.sample_size,
            "baseline": tuning.evaluation.baseline,
            "metrics": tuning.metrics,
        },
        least_sample=tuning.least_sample,
        **arguments,
        **place,
    )


def _create(tuning: Tuning, place: ConnectionArguments, upload: UploadDatasetOperator) -> CreateTuningJobOperator:
    return CreateTuningJobOperator(
        task_id=Role.CREATE.task_id,
        base_model=tuning.base_model,
        training_uri=upload.output["training_uri"],
        validation_uri=upload.output["validation_uri"],
        epoch_count=upload.output["epoch_count"],
        learning_rate_multiplier=tuning.hyper_parameters.learning_rate_multiplier,
        adapter_size=tuning.hyper_parameters.adapter_size,
        display_name=tuning.display_name,
        labels={**tuning.labels, TUNING_LABEL: tuning.name},
        dataset_hash=upload.output["rows_hash"],
        manifest_uri=upload.output["manifest_uri"],
        champion_alias=tuning.promotion.champion_alias,
        skip_if_unchanged=tuning.skip_if_unchanged,
        cost=upload.output["cost"],
        **_budget(tuning),
        **place,
    )


def _wait(
    tuning: Tuning, place: ConnectionArguments, upload: UploadDatasetOperator, create: CreateTuningJobOperator
) -> TuningJobSensor:
    return TuningJobSensor(
        task_id=Role.WAIT.task_id,
        job_name=create.output["name"],
        timeout=tuning.job_timeout_hours * 3600,
        # The run owns the job: to clear, fail or kill the wait cancels the job.
        cancel_on_kill=True,
        cancel_on_timeout=True,
        resubmit=True,
        manifest_uri=upload.output["manifest_uri"],
        **_budget(tuning),
        **place,
    )


def _budget(tuning: Tuning) -> dict[str, Any]:
    """The limit over time, for each task that can create a job."""
    return {"max_cost_per_30_days": tuning.budget.max_cost_per_30_days, "on_budget": tuning.budget.on_budget}


def _collect(
    tuning: Tuning, place: ConnectionArguments, upload: UploadDatasetOperator, wait: TuningJobSensor
) -> CollectMetricsOperator:
    return CollectMetricsOperator(
        task_id=Role.METRICS.task_id,
        job_name=wait.output["name"],
        dataset=upload.output["training"],
        run_folder=upload.output["run_folder"],
        checkpoint=tuning.promotion.checkpoint,
        metrics_timeout=tuning.metrics_timeout_minutes * 60,
        **place,
    )


def _approve(
    tuning: Tuning, place: ConnectionArguments, evaluate: EvaluateModelOperator
) -> tuple[WriteReportOperator | None, ApproveModelOperator | None]:
    """The approval task and the report that it links to; a teardown writes the report again after the decision."""
    deadline = tuning.promotion.approval_deadline
    if deadline is None:
        return None, None
    # Imported here: few DAGs require approval, and Airflow parses DAG files often.
    from vertex_tuning.operators.approval import approval_task

    draft = WriteReportOperator(task_id="draft_report", title=tuning.name, tuning=tuning.name, **place)
    asked: dict[str, Any] = {}
    if any("approval_waiting" in notification.on for notification in tuning.notify):
        from vertex_tuning.operators.notification import ApprovalNotifier

        asked["notifiers"] = [ApprovalNotifier(tuning.notify, draft.task_id)]
    return draft, approval_task(evaluation=evaluate, deadline=deadline, report=draft, **asked)


def _promote(
    tuning: Tuning,
    place: ConnectionArguments,
    upload: UploadDatasetOperator,
    collect: CollectMetricsOperator,
    evaluate: EvaluateModelOperator,
    model_asset: Asset | None,
) -> PromoteModelOperator:
    return PromoteModelOperator(
        task_id=Role.PROMOTION.task_id,
        model=evaluate.output["model"],
        expected_champion=evaluate.output["champion_model"],
        checkpoint_id=collect.output["checkpoint_id"],
        outlets=[model_asset] if model_asset else [],
        event_extra={
            "dataset_hash": upload.output["dataset_hash"],
            "metrics": collect.output[HEADLINE_KEY],
            "verdict": evaluate.output["verdict"],
        },
        **_models(tuning),
        **place,
    )


def _report_arguments(tuning: Tuning, pipeline: Pipeline, place: ConnectionArguments) -> dict[str, Any]:
    upload = pipeline.upload_dataset
    # Only the tasks of a mapped task group know its arguments.
    has_bucket = isinstance(upload.bucket, str)
    return {
        "refused_folder": f"gs://{upload.bucket}/{upload.prefix}/refused" if has_bucket else None,
        "title": tuning.name,
        "tasks": pipeline.task_ids,
        **place,
    }


def _notify(
    tuning: Tuning, place: ConnectionArguments, upload: UploadDatasetOperator, report: WriteReportOperator
) -> None:
    """The task that sends the messages about the end of the run, after the report, if the tuning has such messages."""
    if not any(AFTER_THE_RUN & set(notification.on) for notification in tuning.notify):
        return
    # Imported here: not every tuning has messages.
    from vertex_tuning.operators.notification import NotifyOperator

    # Only the tasks of a mapped task group know its arguments.
    is_known = isinstance(upload.bucket, str) and isinstance(tuning.name, str)
    notify = NotifyOperator(
        task_id="notify",
        notify=tuning.notify,
        record=report.output[RECORD_KEY],
        base_model=tuning.base_model,
        notices_folder=f"gs://{upload.bucket}/{upload.prefix}/notices/{tuning.name}" if is_known else None,
        **_models(tuning),
        **place,
    )
    report >> notify.as_teardown()


def _connect(
    tuning: Tuning, pipeline: Pipeline, place: ConnectionArguments, reported: Mapping[str, Any]
) -> WriteReportOperator:
    """Put the steps in order, then the outcomes and the teardowns.

    :returns: the teardown that writes the report
    """
    for step in pipeline.steps:  # in addition to the callbacks of the DAG
        step.on_failure_callback = [*step.on_failure_callback, keep_error]
    if pipeline.draft_report:
        pipeline.draft_report.tasks |= pipeline.task_ids  # later tasks did not exist yet
    chain(*pipeline.steps)
    cancel = CancelUnfinishedJobsOperator(
        task_id="cancel_unfinished_jobs",
        created_by=pipeline.create_tuning_job.task_id,
        retries=TEARDOWN_RETRIES,
        **place,
    )
    pipeline.wait_for_tuning_job >> cancel.as_teardown()
    # A failure fails the run because of `promoted`; the other tasks show why a model was not promoted.
    promoted = ShowOutcomeOperator(task_id="promoted", outcomes=["promoted", "first", "passed"], **reported)
    # With `on_refused: fail`, a refusal is a failure, and the promotion is not skipped.
    refused = ShowOutcomeOperator(
        task_id="refused", outcomes=["refused", "rejected"], trigger_rule=TriggerRule.ALL_DONE, **reported
    )
    undecided = ShowOutcomeOperator(
        task_id="undecided", outcomes=["undecided"], trigger_rule=TriggerRule.ALL_SKIPPED, **reported
    )
    report = WriteReportOperator(task_id="write_report", tuning=tuning.name, bucket=tuning.bucket, **reported)
    pipeline.promote_model >> [promoted, refused, undecided, report.as_teardown()]
    return report
