"""Input of a report: the results of the tasks of a run."""

from __future__ import annotations

import msgspec

from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.metrics.series import SeriesColumns
from vertex_tuning.results import (
    DatasetFile,
    Decision,
    EvaluationResult,
    MetricsResult,
    PreviousResult,
    Role,
    SelectionResult,
    SmokeResult,
    UploadResult,
)


class Material(msgspec.Struct, kw_only=True):
    """All known facts about a run. The result of a task that has not run is None or empty.

    :param created: time of the report in RFC 3339 form
    :param started: start of the run in RFC 3339 form; empty if it is not known
    :param run_url: the run's page in Airflow
    :param tasks: task id of each role
    :param states: Airflow's state of each task, by task id
    :param errors: error of each failed task, by role
    :param storage_endpoint: base URL of Cloud Storage when it is not Google's own
    :param vertex_endpoint: base URL of a local Google Cloud; empty for Google's own
    :param over_budget: why the budget of 30 days has no room for the job of the run; empty if it has
    :param dataset_report: the file with the findings, in the folder of the dataset
    :param selection: the candidates of a sweep; `job` and `metrics` are then those of the best candidate
    :param series: all points of the metrics, by series
    """

    title: str
    dag_id: str
    run_id: str
    created: str
    started: str = ""
    run_url: str = ""
    run_folder: str = ""
    storage_endpoint: str = ""
    vertex_endpoint: str = ""
    tasks: dict[Role, str]
    states: dict[str, str | None]
    errors: dict[Role, str] = msgspec.field(default_factory=dict)
    over_budget: str = ""
    upload: UploadResult | None = None
    dataset_report: DatasetFile | None = None
    job: TuningJob | None = None
    metrics: MetricsResult | None = None
    selection: SelectionResult | None = None
    series: dict[str, SeriesColumns] = msgspec.field(default_factory=dict)
    smoke: SmokeResult | None = None
    evaluation: EvaluationResult | None = None
    decision: Decision | None = None
    previous: PreviousResult | None = None
