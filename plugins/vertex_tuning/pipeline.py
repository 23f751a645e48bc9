"""The whole retraining as one call, for anyone's DAG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import TriggerRule, chain

from vertex_tuning.config.labels import label_mistakes
from vertex_tuning.config.locations import check_bucket, check_location
from vertex_tuning.config.switches import parse_switch
from vertex_tuning.evaluation.checks import case_mistakes, choice_mistakes, gate_mistakes, require_none, rule_mistakes
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.operators.dataset import UploadDatasetOperator
from vertex_tuning.operators.evaluation import EvaluateModelOperator
from vertex_tuning.operators.metrics import CollectMetricsOperator
from vertex_tuning.operators.registry import PromoteModelOperator
from vertex_tuning.operators.report import ShowOutcomeOperator, WriteReportOperator, keep_error
from vertex_tuning.operators.smoke_test import SmokeTestOperator
from vertex_tuning.operators.tuning_job import CancelUnfinishedJobsOperator, CreateTuningJobOperator
from vertex_tuning.operators.waiter import DAY
from vertex_tuning.registry.aliases import CHAMPION, TUNING_LABEL, check_alias
from vertex_tuning.results import HEADLINE_KEY, Role
from vertex_tuning.sensors import TuningJobSensor
from vertex_tuning.templates import is_known_now

if TYPE_CHECKING:
    from airflow.sdk import Asset, BaseOperator

    from vertex_tuning.operators.approval import ApproveModelOperator

TEARDOWN_RETRIES = 6
"""An hour of them with this project's delays: what ended a run must not keep its job from being cancelled."""


@dataclass(frozen=True)
class Pipeline:
    """The tasks, to hang further ones onto."""

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
        """In their order."""
        tasks = (getattr(self, field.name) for field in fields(self))
        return [task for task in tasks if task]

    @property
    def task_ids(self) -> dict[Role, str]:
        roles: dict[Role, BaseOperator | None] = {
            Role.UPLOAD: self.upload_dataset,
            Role.CREATE: self.create_tuning_job,
            Role.WAIT: self.wait_for_tuning_job,
            Role.METRICS: self.collect_metrics,
            Role.SMOKE: self.smoke_test,
            Role.EVALUATION: self.evaluate_model,
            Role.APPROVAL: self.approve_model,
            Role.PROMOTION: self.promote_model,
        }
        return {role: task.task_id for role, task in roles.items() if task}


def tuning_pipeline(
    *,
    tuning: str,
    base_model: str,
    training_data: str,
    validation_data: str | None,
    bucket: str,
    cases: list[dict[str, Any]],
    ask_cases: bool | str = True,
    sample_size: int = 20,
    rule: dict[str, Any] | None = None,
    champion_alias: str = CHAMPION,
    approval_deadline: timedelta | None = None,
    labels: Mapping[str, str] | None = None,
    dataset: Mapping[str, Any] | None = None,
    job: Mapping[str, Any] | None = None,
    job_timeout: float = DAY,
    metrics: Mapping[str, Any] | None = None,
    smoke_test: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    model_asset: Asset | None = None,
    location: str | None = None,
    project_id: str | None = None,
    gcp_conn_id: str | None = None,
    impersonation_chain: str | Sequence[str] | None = None,
) -> Pipeline:
    """Add all steps of a retraining, in order, to the DAG or task group one is in.

    Behind them the tasks `promoted`, `refused` and `undecided` show in the grid how a run ended whose promotion was
    skipped. Two teardowns stand beside them: one cancels a job that a run left behind, as when it was marked failed
    before the waiting began; one writes the run's report, whatever became of it.

    What can be known of the arguments when the DAG is parsed is checked then, before anything is paid for. In a mapped
    task group any templated argument may be one of the group's.

    :param tuning: name of the recurring tuning: its models stand against each other
    :param base_model: as every text here, may be a template
    :param training_data: local file, pattern or `gs://` URI
    :param bucket: bucket to upload to
    :param cases: what a model is asked; see :class:`~vertex_tuning.evaluation.cases.SmokeCase`
    :param ask_cases: whether these cases suit the data; without them only a sample of the validation data is asked
    :param rule: when the new model is better; see :class:`~vertex_tuning.evaluation.comparison.Rule`
    :param approval_deadline: how long a person has to approve of the promotion; nobody is asked when not given
    :param dataset: further arguments of :class:`~vertex_tuning.operators.dataset.UploadDatasetOperator`
    :param job: of :class:`~vertex_tuning.operators.tuning_job.CreateTuningJobOperator`
    :param job_timeout: seconds the job may take
    :param metrics: of :class:`~vertex_tuning.operators.metrics.CollectMetricsOperator`
    :param smoke_test: of :class:`~vertex_tuning.operators.smoke_test.SmokeTestOperator`
    :param evaluation: of :class:`~vertex_tuning.operators.evaluation.EvaluateModelOperator`
    :param model_asset: updated when a model is promoted; its event says job, model, endpoint, dataset, metrics, verdict
    :param location: Google Cloud location; that of the DAG's `default_args` when not given, else `us-central1`
    :param project_id: likewise, else the connection's
    :param gcp_conn_id: likewise, else `google_cloud_default`
    :param impersonation_chain: likewise, else none
    :raises ConfigurationError: names every mistake by its argument; so for preference data, which takes another kind of
        job
    """
    rule = {"value": "sample.exact_share"} if rule is None else rule
    require_none(
        _mistakes(
            cases=cases,
            rule=rule,
            champion_alias=champion_alias,
            labels=labels or {},
            bucket=bucket,
            location=location,
            dataset=dataset or {},
            smoke_test=smoke_test or {},
            evaluation=evaluation or {},
        )
    )
    if is_known_now(ask_cases):
        ask_cases = parse_switch("ask_cases", ask_cases)
    # Left out when not given, so that they come from the DAG's default_args.
    places = {
        "location": location,
        "project_id": project_id,
        "gcp_conn_id": gcp_conn_id,
        "impersonation_chain": impersonation_chain,
    }
    where: dict[str, Any] = {name: place for name, place in places.items() if place is not None}
    upload = UploadDatasetOperator(
        task_id="upload_dataset",
        training_data=training_data,
        validation_data=validation_data,
        bucket=bucket,
        base_model=base_model,
        **(dataset or {}),
        **where,
    )
    create = CreateTuningJobOperator(
        task_id="create_tuning_job",
        base_model=base_model,
        training_uri=upload.output["training_uri"],
        validation_uri=upload.output["validation_uri"],
        epoch_count=upload.output["epoch_count"],
        labels={**(labels or {}), TUNING_LABEL: tuning},
        dataset_hash=upload.output["rows_hash"],
        champion_alias=champion_alias,
        manifest_uri=upload.output["manifest_uri"],
        **(job or {}),
        **where,
    )
    wait = TuningJobSensor(
        task_id="wait_for_tuning_job",
        job_name=create.output["name"],
        timeout=job_timeout,
        # The run owns the job: whoever clears, fails or kills its wait gives the job up.
        cancel_on_kill=True,
        cancel_on_timeout=True,
        resubmit=True,
        manifest_uri=upload.output["manifest_uri"],
        **where,
    )
    run_folder = upload.output["run_folder"]
    collect = CollectMetricsOperator(
        task_id="collect_metrics",
        job_name=wait.output["name"],
        dataset=upload.output["training"],
        run_folder=run_folder,
        **(metrics or {}),
        **where,
    )
    asked: dict[str, Any] = {
        "cases": cases,
        "ask_cases": ask_cases,
        "sample_uri": upload.output["validation_uri"],
        "sample_size": sample_size,
        "run_folder": run_folder,
    }
    test = SmokeTestOperator(
        task_id="smoke_test",
        endpoint=wait.output["endpoint"],
        **asked,
        **(smoke_test or {}),
        **where,
    )
    models: dict[str, Any] = {"tuning": tuning, "champion_alias": champion_alias}
    evaluate = EvaluateModelOperator(
        task_id="evaluate_model",
        job_name=wait.output["name"],
        values=[collect.output["values"], test.output["values"]],
        rule=rule,
        **asked,
        **models,
        **(evaluation or {}),
        **where,
    )
    reported = _report_arguments(upload, tuning, where)
    draft = approve = None
    if approval_deadline:
        # Whoever is asked needs the report; the teardown writes it again when all is decided.
        draft = WriteReportOperator(task_id="draft_report", **reported)
        # Imported here: few DAGs ask a person, and Airflow parses DAG files again and again.
        from vertex_tuning.operators.approval import approval_task

        approve = approval_task(evaluation=evaluate, deadline=approval_deadline, report=draft)
    promote = PromoteModelOperator(
        task_id="promote_model",
        model=evaluate.output["model"],
        expected_champion=evaluate.output["champion_model"],
        outlets=[model_asset] if model_asset else [],
        event_extra={
            "dataset_hash": upload.output["dataset_hash"],
            "metrics": collect.output[HEADLINE_KEY],
            "verdict": evaluate.output["verdict"],
        },
        **models,
        **where,
    )
    pipeline = Pipeline(upload, create, wait, collect, test, evaluate, draft, approve, promote)
    if draft:
        draft.tasks |= pipeline.task_ids  # the later ones were not there yet
    _connect(pipeline, where, {**reported, "tasks": pipeline.task_ids})
    return pipeline


def _mistakes(
    *,
    cases: Any,
    rule: Any,
    champion_alias: Any,
    labels: Mapping[str, Any],
    bucket: Any,
    location: Any,
    dataset: Mapping[str, Any],
    smoke_test: Mapping[str, Any],
    evaluation: Mapping[str, Any],
) -> Iterator[str]:
    """What is wrong with the pipeline's arguments, as far as it can be known now."""
    if dataset.get("kind", "supervised") != "supervised":
        yield "dataset.kind: expected 'supervised': these steps create supervised tuning jobs."
    if isinstance(cases, list):
        yield from case_mistakes(cases)
    yield from rule_mistakes(rule, cases if isinstance(cases, list) else None)
    yield from gate_mistakes(evaluation.get("gates") or [])
    yield from label_mistakes(labels)
    yield from choice_mistakes(smoke_test, evaluation)
    for name, value, check in (
        ("champion_alias", champion_alias, check_alias),
        ("bucket", bucket, check_bucket),
        ("location", location, check_location),
    ):
        try:
            if isinstance(value, str) and is_known_now(value):
                check(value)
        except ConfigurationError as error:
            yield str(error) if str(error).startswith(name) else f"{name}: found {value!r}, {error}"


def _connect(pipeline: Pipeline, where: Mapping[str, Any], reported: Mapping[str, Any]) -> None:
    """Put the steps in order, with the outcomes behind them and the teardowns beside them."""
    for step in pipeline.steps:  # beside the callbacks the DAG gives its tasks
        step.on_failure_callback = [*step.on_failure_callback, keep_error]
    chain(*pipeline.steps)
    cancel = CancelUnfinishedJobsOperator(
        task_id="cancel_unfinished_jobs",
        created_by=pipeline.create_tuning_job.task_id,
        retries=TEARDOWN_RETRIES,
        **where,
    )
    pipeline.wait_for_tuning_job >> cancel.as_teardown()
    # A failure ends the run as failed by way of `promoted`: the others show why a promotion was skipped.
    promoted = ShowOutcomeOperator(task_id="promoted", outcomes=["promoted", "first", "passed"], **reported)
    skipped = {"trigger_rule": TriggerRule.ALL_SKIPPED, **reported}
    refused = ShowOutcomeOperator(task_id="refused", outcomes=["refused", "rejected"], **skipped)
    undecided = ShowOutcomeOperator(task_id="undecided", outcomes=["undecided"], **skipped)
    report = WriteReportOperator(task_id="write_report", **reported)
    pipeline.promote_model >> [promoted, refused, undecided, report.as_teardown()]


def _report_arguments(upload: UploadDatasetOperator, title: str, where: Mapping[str, Any]) -> dict[str, Any]:
    # The arguments of a mapped task group are known to its tasks alone.
    has_folder = isinstance(upload.bucket, str) and isinstance(upload.prefix, str)
    return {
        "refused_folder": f"gs://{upload.bucket}/{upload.prefix}/refused" if has_folder else None,
        "title": title,
        **where,
    }
