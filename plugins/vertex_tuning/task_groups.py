"""The whole retraining as one call, for anyone's DAG."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import XComArg, chain

from vertex_tuning.approval import approval_task
from vertex_tuning.champions import CHAMPION, TUNING_LABEL
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.operators.dataset import UploadDatasetOperator
from vertex_tuning.operators.evaluation import EvaluateModelOperator
from vertex_tuning.operators.metrics import CollectMetricsOperator
from vertex_tuning.operators.registry import PromoteModelOperator
from vertex_tuning.operators.report import WriteReportOperator, keep_error
from vertex_tuning.operators.smoke_test import SmokeTestOperator
from vertex_tuning.operators.tuning_job import CancelUnfinishedJobsOperator, CreateTuningJobOperator
from vertex_tuning.sensors import TuningJobSensor
from vertex_tuning.waiting import DAY

if TYPE_CHECKING:
    from airflow.providers.standard.operators.hitl import ApprovalOperator
    from airflow.sdk import Asset, BaseOperator


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
    approve_model: ApprovalOperator | None
    promote_model: PromoteModelOperator

    @property
    def steps(self) -> list[BaseOperator]:
        """In their order."""
        tasks = (getattr(self, field.name) for field in fields(self))
        return [task for task in tasks if task]


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
    rule: Mapping[str, Any] | None = None,
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
    location: str = "us-central1",
    gcp_conn_id: str = "google_cloud_default",
) -> Pipeline:
    """Add all steps of a retraining, in order, to the DAG or task group one is in.

    Two teardowns stand beside them: one cancels a job that a run left behind, as when it was marked failed before the
    waiting began; one writes the run's report, whatever became of it.

    :param tuning: name of the recurring tuning: its models stand against each other
    :param base_model: as every text here, may be a template
    :param training_data: local file, pattern or `gs://` URI
    :param bucket: bucket to upload to
    :param cases: what a model is asked; see :class:`~vertex_tuning.smoke.SmokeCase`
    :param ask_cases: whether these cases suit the data; without them only a sample of the validation data is asked
    :param rule: when the new model is better; see :class:`~vertex_tuning.comparison.Rule`
    :param approval_deadline: how long a person has to approve of the promotion; nobody is asked when not given
    :param dataset: further arguments of :class:`~vertex_tuning.operators.dataset.UploadDatasetOperator`
    :param job: of :class:`~vertex_tuning.operators.tuning_job.CreateTuningJobOperator`
    :param job_timeout: seconds the job may take
    :param metrics: of :class:`~vertex_tuning.operators.metrics.CollectMetricsOperator`
    :param smoke_test: of :class:`~vertex_tuning.operators.smoke_test.SmokeTestOperator`
    :param evaluation: of :class:`~vertex_tuning.operators.evaluation.EvaluateModelOperator`
    :raises ConfigurationError: for preference data, which takes another kind of job
    :param model_asset: updated when a model is promoted; its event says job, model, endpoint, dataset, metrics, verdict
    """
    if (dataset or {}).get("kind", "supervised") != "supervised":
        raise ConfigurationError("dataset.kind: expected 'supervised': these steps create supervised tuning jobs.")
    where: dict[str, Any] = {"location": location, "gcp_conn_id": gcp_conn_id}
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
        training_uri=_result_of(upload, "['training_uri']"),
        validation_uri=_result_of(upload, "['validation_uri'] or ''"),
        epoch_count=_result_of(upload, "['epoch_count']"),
        labels={**(labels or {}), TUNING_LABEL: tuning},
        dataset_hash=_result_of(upload, "['dataset_hash']"),
        champion_alias=champion_alias,
        manifest_uri=_result_of(upload, "['manifest_uri']"),
        **(job or {}),
        **where,
    )
    wait = TuningJobSensor(
        task_id="wait_for_tuning_job",
        job_name=_result_of(create, "['name']"),
        timeout=job_timeout,
        # The run owns the job: whoever clears, fails or kills its wait gives the job up.
        cancel_on_kill=True,
        cancel_on_timeout=True,
        resubmit=True,
        manifest_uri=create.manifest_uri,
        **where,
    )
    run_folder = _result_of(upload, "['run_folder']")
    collect = CollectMetricsOperator(
        task_id="collect_metrics",
        job_name=_result_of(wait, "['name']"),
        dataset=_result_of(upload, "['training'] | tojson"),
        run_folder=run_folder,
        **(metrics or {}),
        **where,
    )
    asked: dict[str, Any] = {
        "cases": cases,
        "ask_cases": ask_cases,
        "sample_uri": _result_of(upload, "['validation_uri']"),
        "sample_size": sample_size,
        "run_folder": run_folder,
    }
    test = SmokeTestOperator(
        task_id="smoke_test",
        endpoint=_result_of(wait, "['tuned_model']['endpoint']"),
        **asked,
        **(smoke_test or {}),
        **where,
    )
    models: dict[str, Any] = {"tuning": tuning, "champion_alias": champion_alias}
    evaluate = EvaluateModelOperator(
        task_id="evaluate_model",
        job_name=_result_of(wait, "['name']"),
        values=_values_of(collect, test),
        rule=dict(rule or {"value": "sample.exact_share"}),
        **asked,
        **models,
        **(evaluation or {}),
        **where,
    )
    approve = approval_task(evaluated_by=evaluate.task_id, deadline=approval_deadline) if approval_deadline else None
    promote = PromoteModelOperator(
        task_id="promote_model",
        model=_result_of(wait, "['tuned_model']['model']"),
        expected_champion=_result_of(evaluate, ".get('champion') | default({}, true)", ".get('model', '')"),
        outlets=[model_asset] if model_asset else [],
        event_extra={
            "dataset_hash": _result_of(upload, "['dataset_hash']"),
            "metrics": XComArg(collect, key="headline"),
            "verdict": _result_of(evaluate, "['verdict']"),
        },
        **models,
        **where,
    )
    pipeline = Pipeline(upload, create, wait, collect, test, evaluate, approve, promote)
    _connect(pipeline, tuning, where)
    return pipeline


def _connect(pipeline: Pipeline, tuning: str, where: Mapping[str, Any]) -> None:
    """Put the steps in order, with the teardowns beside them."""
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
    pipeline.promote_model >> _report(pipeline, tuning, where).as_teardown()


def _report(pipeline: Pipeline, title: str, where: Mapping[str, Any]) -> WriteReportOperator:
    roles = {
        "upload": pipeline.upload_dataset,
        "create": pipeline.create_tuning_job,
        "wait": pipeline.wait_for_tuning_job,
        "metrics": pipeline.collect_metrics,
        "smoke": pipeline.smoke_test,
        "evaluation": pipeline.evaluate_model,
        "approval": pipeline.approve_model,
        "promotion": pipeline.promote_model,
    }
    upload = pipeline.upload_dataset
    return WriteReportOperator(
        task_id="write_report",
        run_folder=_result_of(upload, " | default({}, true)", ".get('run_folder', '')"),
        refused_folder=f"gs://{upload.bucket}/{upload.prefix}/refused",
        title=title,
        tasks={role: task.task_id for role, task in roles.items() if task},
        **where,
    )


def _result_of(task: Any, *path: str) -> str:
    """A template that reads from what a task returned; each step of the path reads from what the one before found."""
    found = f"ti.xcom_pull(task_ids='{task.task_id}')"
    for step in path:
        found = f"({found}{step})"
    return f"{{{{ {found} }}}}"


def _values_of(collect: CollectMetricsOperator, test: SmokeTestOperator) -> str:
    """A template of the `values` of both, as one JSON object."""
    trained, asked = (f"ti.xcom_pull(task_ids='{task.task_id}')['values']" for task in (collect, test))
    return f"{{{{ dict({trained}, **{asked}) | tojson }}}}"
