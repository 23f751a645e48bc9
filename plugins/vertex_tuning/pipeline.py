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
from vertex_tuning.jobs.job import CANDIDATE_LABEL
from vertex_tuning.operators.dataset import UploadDatasetOperator
from vertex_tuning.operators.evaluation import EvaluateModelOperator
from vertex_tuning.operators.metrics import CollectMetricsOperator
from vertex_tuning.operators.registry import PromoteModelOperator
from vertex_tuning.operators.report import ShowOutcomeOperator, WriteReportOperator, keep_error
from vertex_tuning.operators.smoke_test import SmokeTestOperator
from vertex_tuning.operators.sweep import PlanCandidatesOperator, SelectCandidateOperator
from vertex_tuning.operators.tuning_job import CancelUnfinishedJobsOperator, CreateTuningJobOperator
from vertex_tuning.registry.aliases import TUNING_LABEL
from vertex_tuning.results import HEADLINE_KEY, MAPPED_ROLES, RECORD_KEY, MetricsFile, Role
from vertex_tuning.sensors import TuningJobSensor
from vertex_tuning.text.templates import is_run_value

if TYPE_CHECKING:
    from airflow.sdk import Asset, BaseOperator, Context

    from vertex_tuning.operators.approval import ApproveModelOperator
    from vertex_tuning.operators.housekeeping import DeleteCandidatesOperator

TEARDOWN_RETRIES: Final = 6
"""Retries of a teardown, about an hour: a short outage must not prevent the cancellation of a job."""

_NUMBER: Final = "{{ ti.map_index + 1 }}"
"""Template for the number of a candidate, from 1."""

ConnectionArguments = Mapping[str, Any]
"""Those of `location`, `project_id`, `gcp_conn_id` and `impersonation_chain` that are set."""


@dataclass(frozen=True)
class Pipeline:
    """The tasks, to which a DAG can add further tasks.

    In a sweep, the tasks from `create_tuning_job` to `collect_metrics` are mapped, with an instance for each candidate.
    """

    plan_candidates: PlanCandidatesOperator | None
    upload_dataset: UploadDatasetOperator
    create_tuning_job: CreateTuningJobOperator
    wait_for_tuning_job: TuningJobSensor
    collect_metrics: CollectMetricsOperator
    select_candidate: SelectCandidateOperator | None
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

    With a list in `hyper_parameters`, the run is a sweep: a mapped task group `candidates` trains each candidate, and
    `select_candidate` decides which model goes on.

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
        first = {"pre_execute": pre_execute} if pre_execute else {}
        plan = _plan(tuning, **first) if tuning.is_sweep else None
        upload = _upload(tuning, place, plan, base_dir=str(base_dir), **({} if plan else first))
        pipeline = _steps(tuning, place, plan, upload, ask_cases, model_asset)
        report = _connect(tuning, pipeline, place, _report_arguments(tuning, pipeline, place))
        _notify(tuning, place, upload, report)
    return pipeline


def _steps(
    tuning: Tuning,
    place: ConnectionArguments,
    plan: PlanCandidatesOperator | None,
    upload: UploadDatasetOperator,
    ask_cases: bool | str,
    model_asset: Asset | None,
) -> Pipeline:
    create, wait, collect = training = _train(tuning, place, upload, plan)
    select = _select(tuning, plan, training) if plan else None
    trained = select or collect
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
        endpoint=trained.output["endpoint"],
        min_pass_share=tuning.smoke_test.min_pass_share,
        **questions,
        **place,
    )
    evaluate = EvaluateModelOperator(
        task_id=Role.EVALUATION.task_id,
        job_name=trained.output["job_name"],
        values=[trained.output["values"], test.output["values"]],
        rule=tuning.rule,
        gates=tuning.gates,
        endpoint=trained.output["endpoint"],
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
    promote = _promote(tuning, place, upload, trained, evaluate, model_asset)
    return Pipeline(plan, upload, create, wait, collect, select, test, evaluate, draft, approve, promote)


Training = tuple[CreateTuningJobOperator, TuningJobSensor, CollectMetricsOperator]
"""The tasks of one job."""


def _train(
    tuning: Tuning, place: ConnectionArguments, upload: UploadDatasetOperator, plan: PlanCandidatesOperator | None
) -> Training:
    """The tasks of the job; in a sweep in a task group, which is mapped over the candidates."""
    if plan is None:
        hyper = {**dict(tuning.hyper_parameters), "epoch_count": upload.output["epoch_count"]}
        return _train_one(tuning, place, upload, **hyper)
    # Imported here: few tunings are sweeps, and Airflow parses DAG files often.
    from airflow.sdk import task_group

    made: list[Training] = []

    @task_group(group_id="candidates")
    def candidates(epoch_count: Any, learning_rate_multiplier: Any, adapter_size: Any) -> None:
        hyper = {"learning_rate_multiplier": learning_rate_multiplier, "adapter_size": adapter_size}
        is_listed = "epoch_count" in tuning.hyper_parameters.lists
        hyper["epoch_count"] = epoch_count if is_listed else upload.output["epoch_count"]
        made.append(_train_one(tuning, place, upload, **hyper))

    candidates.expand_kwargs(plan.output)
    return made[0]


def _train_one(
    tuning: Tuning, place: ConnectionArguments, upload: UploadDatasetOperator, **hyper_parameters: Any
) -> Training:
    create = _create(tuning, place, upload, **hyper_parameters)
    wait = _wait(tuning, place, upload, create)
    return create, wait, _collect(tuning, place, upload, wait)


def _plan(tuning: Tuning, **arguments: Any) -> PlanCandidatesOperator:
    return PlanCandidatesOperator(
        task_id="plan_candidates", sweep=tuning.sweep, **dict(tuning.hyper_parameters), **arguments
    )


def _select(tuning: Tuning, plan: PlanCandidatesOperator, training: Training) -> SelectCandidateOperator:
    return SelectCandidateOperator(
        task_id=Role.SELECTION.task_id,
        candidates=plan.output,
        select_by=tuning.sweep.select_by,
        min_candidates=tuning.sweep.min_candidates,
        tasks={role: task.task_id for role, task in zip(MAPPED_ROLES, training, strict=True)},
        trigger_rule=TriggerRule.ALL_DONE,  # a candidate that fails does not fail the others
    )


def _models(tuning: Tuning) -> dict[str, Any]:
    """Which models are compared with each other."""
    return {"tuning": tuning.name, "champion_alias": tuning.promotion.champion_alias}


def _upload(
    tuning: Tuning, place: ConnectionArguments, plan: PlanCandidatesOperator | None, **arguments: Any
) -> UploadDatasetOperator:
    return UploadDatasetOperator(
        task_id=Role.UPLOAD.task_id,
        training_data=tuning.training_data,
        validation_data=tuning.validation_data,
        test_data=tuning.test_data,
        bucket=tuning.bucket,
        base_model=tuning.base_model,
        options=tuning.dataset,
        tuning_task=tuning.task,
        epoch_count=None if isinstance(epochs := tuning.hyper_parameters.epoch_count, list) else epochs,
        candidates=plan.output if plan else None,
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


def _create(
    tuning: Tuning, place: ConnectionArguments, upload: UploadDatasetOperator, **hyper_parameters: Any
) -> CreateTuningJobOperator:
    display_name, labels = tuning.display_name, {**tuning.labels, TUNING_LABEL: tuning.name}
    if tuning.is_sweep:
        display_name = f"{display_name}, candidate {_NUMBER}" if display_name else None
        labels[CANDIDATE_LABEL] = _NUMBER
    return CreateTuningJobOperator(
        task_id=Role.CREATE.task_id,
        base_model=tuning.base_model,
        training_uri=upload.output["training_uri"],
        validation_uri=upload.output["validation_uri"],
        display_name=display_name,
        labels=labels,
        dataset_hash=upload.output["rows_hash"],
        manifest_uri=upload.output["manifest_uri"],
        champion_alias=tuning.promotion.champion_alias,
        skip_if_unchanged=tuning.skip_if_unchanged,
        cost=upload.output["cost"],
        **hyper_parameters,
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


def _delete_candidates(
    tuning: Tuning, place: ConnectionArguments, select: SelectCandidateOperator
) -> DeleteCandidatesOperator:
    from vertex_tuning.operators.housekeeping import DeleteCandidatesOperator

    return DeleteCandidatesOperator(
        task_id="delete_candidates",
        candidates=select.output["candidates"],
        selected=select.output["selected"],
        **_models(tuning),
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
        file_name=f"metrics-{_NUMBER}.json" if tuning.is_sweep else MetricsFile.file_name,
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
    trained: CollectMetricsOperator | SelectCandidateOperator,
    evaluate: EvaluateModelOperator,
    model_asset: Asset | None,
) -> PromoteModelOperator:
    return PromoteModelOperator(
        task_id=Role.PROMOTION.task_id,
        model=evaluate.output["model"],
        expected_champion=evaluate.output["champion_model"],
        checkpoint_id=trained.output["checkpoint_id"],
        outlets=[model_asset] if model_asset else [],
        event_extra={
            "dataset_hash": upload.output["dataset_hash"],
            "metrics": trained.output[HEADLINE_KEY],
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
    report = WriteReportOperator(
        task_id="write_report",
        tuning=tuning.name,
        bucket=tuning.bucket,
        record_experiment=tuning.record_experiment,
        **reported,
    )
    pipeline.promote_model >> [promoted, refused, undecided, report.as_teardown()]
    if pipeline.select_candidate and tuning.sweep.keep_candidates == "best":
        delete = _delete_candidates(tuning, place, pipeline.select_candidate)
        pipeline.promote_model >> delete.as_teardown()
    return report
