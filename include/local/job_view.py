"""The progress of a tuning job in the local Google Cloud, read through its API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True)
class JobView:
    """The progress of a job.

    :param step: number of steps done, of `steps`
    :param epoch: number of epochs done, of `epochs`
    :param loss: newest training loss
    """

    state: str
    step: int = 0
    steps: int = 0
    epoch: int = 0
    epochs: int = 0
    loss: float | None = None


class JobWatcher:
    """Reads one job.

    :param url: address of the local Google Cloud
    :param name: the job's resource name
    """

    def __init__(self, url: str, name: str) -> None:
        self._client = httpx.Client(base_url=f"{url}/v1beta1/", timeout=10)
        self.name = name

    def close(self) -> None:
        self._client.close()

    def read(self) -> JobView:
        """Read the current state of the job.

        :raises httpx.HTTPError: the job cannot be read at the moment
        """
        job = self._get(self.name)
        progress = job.get("tuningJobMetadata", {})
        stats = job.get("tuningDataStats", {}).get("supervisedTuningDataStats", {})
        return JobView(
            state=job["state"].removeprefix("JOB_STATE_"),
            step=int(progress.get("completedStepCount", 0)),
            steps=int(stats.get("tuningStepCount", 0)),
            epoch=int(progress.get("completedEpochCount", 0)),
            epochs=int(job["supervisedTuningSpec"]["hyperParameters"].get("epochCount", 0)),
            loss=self._loss(job["experiment"]) if "experiment" in job else None,
        )

    def _loss(self, experiment: str) -> float | None:
        """The newest value of the training loss."""
        tensorboard = self._get(experiment)["metadata"]["backing_tensorboard_resource"]
        store, _, context_id = experiment.partition("/contexts/")
        runs = self._get(f"{store}/contexts", filter=f'parent_contexts:"{experiment}"').get("contexts", [])
        for run in runs:
            run_id = run["name"].removeprefix(f"{experiment}-")
            series = self._get(f"{tensorboard}/experiments/{context_id}/runs/{run_id}/timeSeries")
            for item in series.get("tensorboardTimeSeries", []):
                if item["displayName"] == "/train_total_loss":
                    values = self._get(f"{item['name']}:read")["timeSeriesData"].get("values", [])
                    return float(values[-1]["scalar"]["value"]) if values else None
        return None

    def _get(self, path: str, **query: str) -> Any:
        answer = self._client.get(path, params=query)
        answer.raise_for_status()
        return answer.json()
