"""Read the experiments in which tuning jobs store their metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseHook

from vertex_tuning.exceptions import ConfigurationError, MetricsError, NotFoundError, VertexUnavailableError
from vertex_tuning.hooks.vertex_clients import VertexClients, call, json_fields, pages
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.metrics.series import Point, Series, tidy
from vertex_tuning.metrics.summary import job_metrics
from vertex_tuning.resources.resource_names import ResourceKind, ResourceName
from vertex_tuning.text.plain_text import NAME_SHOWN, plain

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.services.metadata_service import MetadataServiceClient
    from google.cloud.aiplatform_v1.services.tensorboard_service import TensorboardServiceClient
    from google.cloud.aiplatform_v1.types import TensorboardTimeSeries

    from vertex_tuning.hooks.credentials import Connection

ALL_POINTS: Final = -1
"""Limit of `max_data_points`; for more points, or 1,000 without it, the response would be a random sample."""
RUNS_PER_PAGE: Final = 100
SERIES_PER_PAGE: Final = 1000
"""Largest page size of the lists."""


class ExperimentsHook(BaseHook):
    """Reads metrics and never writes any.

    It uses four GET requests: the experiment gives its TensorBoard, its child contexts are its runs, each run lists its
    series, and `timeSeries:read` gives all points of a series. `tensorboards:batchRead` would give at most 1,000 random
    points of a series. The export is a POST request that pages through the same points.

    :param connection: connection in any location: the name of an experiment has its location
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._clients = VertexClients(connection)

    def series_of(self, job: TuningJob) -> list[Series]:
        """All series of a job; empty if its experiment is missing, deleted or without TensorBoard."""
        try:
            return self.read_metrics(job.experiment) if job.experiment else []
        except (NotFoundError, MetricsError) as error:
            self.log.warning("%s has no metrics (any more): %s", job.name, error)
            return []

    def read_metrics(self, experiment: str) -> list[Series]:
        """All series of all runs of a tuning job's experiment, complete and in order.

        :param experiment: the job's `experiment`, a Metadata context
        :raises MetricsError: the experiment has no TensorBoard
        """
        experiment = str(ResourceName.parse(experiment, "contexts"))
        context = call(f"reading {experiment}", self._metadata(experiment).get_context, name=experiment)
        named = (json_fields(context).get("metadata") or {}).get("backing_tensorboard_resource")
        if not named:
            raise MetricsError(f"{experiment} names no TensorBoard, expected backing_tensorboard_resource.")
        tensorboard = str(_responded_name(named, "tensorboards"))
        return tidy(one for run in self._runs(experiment) for one in self._read_run(tensorboard, run))

    def _runs(self, experiment: str) -> Iterator[str]:
        """`EXPERIMENT/runs/RUN` for each run: the name of a run's context has both parts."""
        store, _, experiment_id = experiment.partition("/contexts/")
        listed = pages(
            f"listing the runs of {experiment}",
            self._metadata(experiment).list_contexts,
            parent=store,
            filter=f'schema_title="system.ExperimentRun" AND parent_contexts:"{experiment}"',
            page_size=RUNS_PER_PAGE,
        )
        for page in listed:
            for context in page.contexts:
                run = _responded_name(context.name, "contexts").id
                yield f"{experiment_id}/runs/{run.removeprefix(f'{experiment_id}-')}"

    def _read_run(self, tensorboard: str, run: str) -> Iterator[Series]:
        client = self._tensorboards(tensorboard)
        parent = f"{tensorboard}/experiments/{run}"
        listed = pages(
            f"listing the series of {parent}",
            client.list_tensorboard_time_series,
            parent=parent,
            page_size=SERIES_PER_PAGE,
        )
        for page in listed:
            for series in page.tensorboard_time_series:
                if _is_scalar(series):
                    name = str(_responded_name(series.name, "timeSeries"))
                    yield Series(plain(series.display_name, NAME_SHOWN), self._read_points(client, name))

    def _read_points(self, client: TensorboardServiceClient, series: str) -> list[Point]:
        read = client.read_tensorboard_time_series_data
        response = call(f"reading {series}", read, tensorboard_time_series=series, max_data_points=ALL_POINTS)
        # The raw message: the client's wrapper of each point takes longer than all other work.
        points = type(response).pb(response).time_series_data.values
        return [Point(point.step, point.scalar.value, _time_of(point)) for point in points]

    def _metadata(self, resource_name: str) -> MetadataServiceClient:
        from google.cloud.aiplatform_v1.services.metadata_service import MetadataServiceClient

        return self._clients.client(MetadataServiceClient, resource_name)

    def _tensorboards(self, resource_name: str) -> TensorboardServiceClient:
        from google.cloud.aiplatform_v1.services.tensorboard_service import TensorboardServiceClient

        return self._clients.client(TensorboardServiceClient, resource_name)


def job_values(experiments: ExperimentsHook, job: TuningJob) -> dict[str, float]:
    """The values of `JobMetrics` for any job that has ended, e.g. the job of the model in use, read from Google."""
    return job_metrics(job, experiments.series_of(job)).values


def _time_of(point: Any) -> str:
    """Time of a point in RFC 3339 form; empty if not set."""
    return point.wall_time.ToJsonString() if point.HasField("wall_time") else ""


def _is_scalar(series: TensorboardTimeSeries) -> bool:
    from google.cloud.aiplatform_v1.types import TensorboardTimeSeries

    return series.value_type == TensorboardTimeSeries.ValueType.SCALAR


def _responded_name(name: str, kind: ResourceKind) -> ResourceName:
    """Parse the name of a resource in a response.

    :raises VertexUnavailableError: it is not such a name, e.g. because the response comes from a proxy
    """
    try:
        return ResourceName.parse(name, kind)
    except ConfigurationError as error:
        raise VertexUnavailableError(f"Google answered with an unusable name. {error}") from error
