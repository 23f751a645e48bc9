"""Keep what is known about a run for later: in the history of its tuning, and in Vertex AI Experiments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertex_tuning.deployment import deployment_id
from vertex_tuning.exceptions import TuningError

if TYPE_CHECKING:
    from vertex_tuning.history.run_record import RunRecord
    from vertex_tuning.operators.base import VertexOperator
    from vertex_tuning.report.content import EarlierRun, Report
    from vertex_tuning.report.material import Material
    from vertex_tuning.results import ReportResult


def record_of_run(given: Material, report: Report, result: ReportResult, *, tuning: str, key: str) -> RunRecord:
    """The record of a run that has a report.

    :param tuning: name of the tuning
    :param key: the run's key
    :raises msgspec.ValidationError: this is not the name of a tuning
    """
    from vertex_tuning.config.base_models import retirement_note
    from vertex_tuning.history.record_builder import build_record, trained_base

    return build_record(
        given,
        report,
        tuning=tuning,
        key=key,
        report_uri=result.report_uri or "",
        report_url=result.report_url or "",
        warnings=filter(None, [retirement_note(trained_base(given))]),
    )


def runs_before(operator: VertexOperator, bucket: str, tuning: str, key: str) -> list[EarlierRun]:
    """The last runs of a tuning, for the report of a run; empty if the history cannot be read."""
    from vertex_tuning.history.earlier_runs import EARLIER_SHOWN, earlier_runs
    from vertex_tuning.history.run_history import history_folder, read_history

    try:
        found = read_history(operator.storage, history_folder(bucket, deployment_id(), tuning), EARLIER_SHOWN + 1)
    except TuningError as error:
        operator.log.warning("Earlier runs are left out of the report: %s", error)
        return []
    return earlier_runs(found.records, key)


def add_to_history(operator: VertexOperator, bucket: str, record: RunRecord) -> None:
    """Add a run to the history of its tuning. An error is a warning: the history must not fail the run."""
    from vertex_tuning.history.run_history import history_folder, keep_record

    try:
        keep_record(operator.storage, history_folder(bucket, deployment_id(), record.tuning), record)
    except TuningError as error:
        operator.log.warning("The run is left out of the history of %s: %s", record.tuning, error)


def add_to_experiment(operator: VertexOperator, given: Material, record: RunRecord) -> None:
    """Add a run with a tuning job to the experiment of its tuning. An error is a warning, too."""
    if not record.job or record.kind != "retraining":
        return
    from vertex_tuning.history.experiment_facts import experiment_params, experiment_values
    from vertex_tuning.hooks.experiment_recorder import ExperimentRecorder
    from vertex_tuning.resources.experiment_ids import experiment_id, experiment_run_id
    from vertex_tuning.resources.resource_urls import experiment_url

    try:
        deployment = deployment_id()
        experiment = ExperimentRecorder(operator.connection).record_run(
            experiment_id(record.tuning),
            experiment_run_id(deployment, record.key),
            params=experiment_params(record, deployment),
            values=experiment_values(given, record),
            failed=record.outcome == "failed",
        )
    except TuningError as error:
        operator.log.warning("The run is not recorded in the experiment of %s: %s", record.tuning, error)
    else:
        operator.log.info("Experiment: %s", experiment_url(experiment, operator.connection.local_url))
