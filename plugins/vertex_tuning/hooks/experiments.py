"""Experiments: where a tuning job keeps its metrics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from google.api_core.client_options import ClientOptions

from vertex_tuning.connection import GoogleConnection
from vertex_tuning.exceptions import VertexRequestError
from vertex_tuning.google_errors import google_errors
from vertex_tuning.jobs import location_of
from vertex_tuning.metrics import Point, Series

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1 import MetadataServiceClient, TensorboardServiceClient

MAX_SERIES_PER_READ: Final = 20
"""`tensorboards.batchRead` takes no more."""


class ExperimentsHook(GoogleConnection):
    """Reads metrics and never writes any; parameters as its base's."""

    def read_metrics(self, experiment: str) -> list[Series]:
        """All series of all runs of a tuning job's experiment, read without writing anything.

        :param experiment: the job's `experiment`, a Metadata context
        """
        with google_errors(f"reading the metrics of {experiment}"):
            tensorboard = self._backing_tensorboard(experiment)
            runs = self._experiment_runs(experiment)
            return [series for run in runs for series in self._read_run(tensorboard, experiment, run)]

    def _backing_tensorboard(self, experiment: str) -> str:
        metadata: Any = self._metadata(experiment).get_context(name=experiment).metadata
        name = metadata and metadata.get("backing_tensorboard_resource")
        if not name:
            raise VertexRequestError(f"{experiment} names no TensorBoard, expected backing_tensorboard_resource.")
        return str(name)

    def _experiment_runs(self, experiment: str) -> list[str]:
        store = experiment.partition("/contexts/")[0]
        filter_ = f'schema_title="system.ExperimentRun" AND parent_contexts:"{experiment}"'
        contexts = self._metadata(experiment).list_contexts(request={"parent": store, "filter": filter_})
        prefix = f"{experiment}-"
        return [context.name.removeprefix(prefix) for context in contexts]

    def _read_run(self, tensorboard: str, experiment: str, run: str) -> Iterator[Series]:
        client = self._tensorboard(tensorboard)
        parent = f"{tensorboard}/experiments/{experiment.rpartition('/')[2]}/runs/{run}"
        listed = list(client.list_tensorboard_time_series(parent=parent))
        for start in range(0, len(listed), MAX_SERIES_PER_READ):
            batch = listed[start : start + MAX_SERIES_PER_READ]
            names = {series.name.rpartition("/")[2]: series.display_name for series in batch}
            reply = client.batch_read_tensorboard_time_series_data(
                request={"tensorboard": tensorboard, "time_series": [series.name for series in batch]}
            )
            for data in reply.time_series_data:
                yield Series(name=names[data.tensorboard_time_series_id], points=_points(data.values))

    def _metadata(self, resource_name: str) -> MetadataServiceClient:
        from google.cloud.aiplatform_v1 import MetadataServiceClient

        return MetadataServiceClient(**self._gapic(resource_name))

    def _tensorboard(self, resource_name: str) -> TensorboardServiceClient:
        from google.cloud.aiplatform_v1 import TensorboardServiceClient

        return TensorboardServiceClient(**self._gapic(resource_name))

    def _gapic(self, resource_name: str) -> dict[str, Any]:
        return {
            "transport": "rest",
            "credentials": self.get_credentials(),
            "client_options": ClientOptions(api_endpoint=self.endpoint(location_of(resource_name))),
        }


def _points(values: Iterable[Any]) -> list[Point]:
    points = [Point(value.step, value.scalar.value, value.wall_time.isoformat()) for value in values]
    return sorted(points, key=lambda point: point.step)
