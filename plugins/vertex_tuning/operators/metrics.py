"""Collecting the metrics of a tuning job that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from vertex_tuning.exceptions import MetricsError
from vertex_tuning.metrics import headline, summarise
from vertex_tuning.operators.base import TuningJobOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class CollectMetricsOperator(TuningJobOperator):
    """Read the metrics of a tuning job that has ended; return first, last and best value and a coarse curve of each."""

    def execute(self, context: Context) -> dict[str, Any]:
        self.job = self.hook.get_tuning_job(self.job_name)
        if not self.job.experiment:
            raise MetricsError(f"{self.job_name} has no experiment, expected one to read metrics from.")
        summary = summarise(self.experiments.read_metrics(self.job.experiment))
        if not summary:
            raise MetricsError(f"{self.job.experiment} holds no metrics, expected /train_total_loss at least.")
        for name, values in summary.items():
            self.log.info("%s: %s", name, values)
        context["ti"].xcom_push(key="headline", value=headline(summary))
        return {"job_name": self.job_name, "experiment": self.job.experiment, "metrics": msgspec.to_builtins(summary)}
