"""What a report is made from: all that the tasks of a run have left."""

from __future__ import annotations

from typing import Any

import msgspec

from vertex_tuning.report.content import Decision

Json = dict[str, Any]


class DatasetFile(msgspec.Struct):
    """dataset-report.json less its findings, of which there may be very many."""

    training: Json | None = None
    validation: Json | None = None


class Material(msgspec.Struct, kw_only=True):
    """All there is to know of a run; what a task did not leave is None or empty.

    :param run_url: the run's page in Airflow
    :param tasks: role (see `ROLES`) and task id
    :param states: task id and Airflow's state
    :param errors: role and what its task failed with
    :param storage_endpoint: base URL of Cloud Storage when it is not Google's own
    :param vertex_endpoint: base URL of a local Google Cloud; empty for Google's own
    :param dataset_report: what the upload wrote beside the dataset
    :param series: metrics.json
    :param decision: what a person decided
    :param previous: the models of a rollback, as they were found
    """

    title: str
    dag_id: str
    run_id: str
    created: str
    run_url: str = ""
    run_folder: str = ""
    storage_endpoint: str = ""
    vertex_endpoint: str = ""
    tasks: dict[str, str]
    states: dict[str, str | None]
    errors: dict[str, str] = msgspec.field(default_factory=dict)
    upload: Json | None = None
    dataset_report: DatasetFile | None = None
    job: Json | None = None
    metrics: Json | None = None
    series: Json | None = None
    smoke: Json | None = None
    evaluation: Json | None = None
    decision: Decision | None = None
    previous: Json | None = None
