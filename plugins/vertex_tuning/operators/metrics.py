"""Collect the metrics of a tuning job that has ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

from vertex_tuning.evaluation.gates import ON_MISSING, OnMissing
from vertex_tuning.evaluation.tables import text_table
from vertex_tuning.exceptions import ConfigurationError, JobNotEndedError, MetricsError
from vertex_tuning.jobs.reconciliation import compare_with_service
from vertex_tuning.links import ReportLink
from vertex_tuning.metrics.series import Series, columns, headline
from vertex_tuning.metrics.summary import CheckpointChoice, JobMetrics, job_metrics, missing
from vertex_tuning.operators.base import TuningJobOperator
from vertex_tuning.results import HEADLINE_KEY, FileSummary, MetricsFile, MetricsResult
from vertex_tuning.text.templates import parse_rendered, rendered

if TYPE_CHECKING:
    from airflow.sdk import Context

    from vertex_tuning.jobs.job import TuningJob

CHECKPOINTS: Final = get_args(CheckpointChoice)

PAUSE: Final = 30.0
"""Seconds between two reads of metrics that are not complete."""


class CollectMetricsOperator(TuningJobOperator):
    """Read all metrics of a tuning job that has ended, and return a summary.

    Metrics may appear after the end of the job; the task waits for them without occupying a worker. A job without an
    experiment has no series: the summary then has only the values of the job itself, and a warning. The result has the
    fields of :class:`~vertex_tuning.metrics.summary.JobMetrics`. XCom `headline` has the last value of each metric.

    :param dataset: `upload.output["training"]`: the log warns if the service counted other numbers of
        examples or tokens. (templated)
    :param run_folder: `gs://…` folder for the file with all points; if not set, no file is written. (templated)
    :param file_name: name of this file. (templated)
    :param checkpoint: the checkpoint whose model is judged: the `last` one, or the `best` one, with the lowest
        validation loss. The result has its `checkpoint_id` and `endpoint`. (templated)
    :param metrics_timeout: seconds to wait for metrics after the end of the job; then the available metrics count.
    :param on_missing_metrics: what the task does if metrics are still missing: `pass` continues with a warning and
        leaves the decision to the gates, `fail` raises an error. (templated)
    """

    template_fields: Sequence[str] = (
        *TuningJobOperator.template_fields,
        "dataset",
        "run_folder",
        "file_name",
        "checkpoint",
        "on_missing_metrics",
    )
    template_fields_renderers = {"dataset": "json"}
    operator_extra_links = (*TuningJobOperator.operator_extra_links, ReportLink())

    def __init__(
        self,
        *,
        dataset: Mapping[str, Any] | str | None = None,
        run_folder: str | None = None,
        file_name: str = MetricsFile.file_name,
        checkpoint: CheckpointChoice = "last",
        metrics_timeout: float = 600.0,
        on_missing_metrics: OnMissing = "pass",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.run_folder = run_folder
        self.file_name = file_name
        self.checkpoint = checkpoint
        self.metrics_timeout = metrics_timeout
        self.on_missing_metrics = on_missing_metrics

    def execute(self, context: Context) -> dict[str, Any]:
        for name, allowed in (("on_missing_metrics", ON_MISSING), ("checkpoint", CHECKPOINTS)):
            if (found := getattr(self, name)) not in allowed:
                raise ConfigurationError(f"{name}: found {found!r}, expected one of {', '.join(allowed)}.")
        self.job = self.hook.get_tuning_job(self.job_name)
        if self.job.is_live:
            raise JobNotEndedError(f"{self.job_name} is {self.job.state}, expected a job that has ended.")
        series = self.experiments.series_of(self.job)
        gaps = missing(self.job, series)
        if gaps and self.job.experiment:
            self._wait_for(gaps, self.job)
        return self._conclude(context, self.job, series, gaps)

    def look_again(self, context: Context, event: Any = None) -> dict[str, Any]:
        """Read the metrics again after a deferral."""
        return self.execute(context)

    def _wait_for(self, gaps: list[str], job: TuningJob) -> None:
        """Defer the task for a pause, until `metrics_timeout` after the end of the job."""
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        ended = datetime.fromisoformat(job.end_time).timestamp() if job.end_time else 0.0
        left = ended + self.metrics_timeout - time.time()
        if left > 0:
            pause = min(PAUSE, left)
            self.log.info("Reading the metrics again in %.0f s: %s.", pause, "; ".join(gaps))
            self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=pause)), method_name="look_again")

    def _conclude(self, context: Context, job: TuningJob, series: list[Series], gaps: list[str]) -> dict[str, Any]:
        warnings = _warnings(job, gaps)
        if warnings and self.on_missing_metrics == "fail":
            raise MetricsError("; ".join(warnings))
        found = job_metrics(job, series, self.checkpoint)
        found = msgspec.structs.replace(found, warnings=[*warnings, *found.warnings])
        self._log(found)
        self._compare_counts(job)
        context["ti"].xcom_push(key=HEADLINE_KEY, value=headline(found.metrics))
        judged, tuned = found.checkpoint, job.tuned_model
        fields = {
            **msgspec.structs.asdict(found),
            "job_name": self.job_name,
            "experiment": job.experiment,
            "checkpoint_id": judged and judged.checkpoint_id,
            "endpoint": (judged and judged.endpoint) or (tuned and tuned.endpoint) or None,
        }
        return MetricsResult(**fields, series_uri=self._write(fields, series)).as_xcom()

    def _log(self, found: JobMetrics) -> None:
        for name, values in found.metrics.items():
            epochs = [(epoch.epoch, epoch.step, epoch.mean.get(name), epoch.last.get(name)) for epoch in found.epochs]
            table = text_table(("epoch", "last step", "mean", "last"), epochs)
            self.log.info("%s: %s\n%s", name, values, table)
        for warning in found.warnings:
            self.log.warning("%s", warning)

    def _compare_counts(self, job: TuningJob) -> None:
        summary = parse_rendered("dataset", self.dataset, FileSummary, "`training` of what the upload task returned")
        for warning in compare_with_service(msgspec.structs.asdict(summary), job) if summary else ():
            self.log.warning("%s", warning)

    def _write(self, fields: dict[str, Any], series: list[Series]) -> str | None:
        """Write the metrics with all points to the run's folder, if it is set, and return the URI of the file."""
        if not rendered(self.run_folder):
            return None
        uri = f"{str(self.run_folder).rstrip('/')}/{self.file_name}"
        whole = MetricsFile(**fields, series_uri=uri, series={line.name: columns(line) for line in series})
        return self.storage.write_object(uri, msgspec.json.encode(whole), "application/json")


def _warnings(job: TuningJob, gaps: list[str]) -> list[str]:
    if not job.experiment:
        return [f"{job.name} has no experiment, so there are no series, only the values of the job."]
    return [f"{job.experiment}: metrics are missing: {'; '.join(gaps)}."] if gaps else []
