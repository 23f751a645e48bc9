"""A tuning job's metrics: Metadata contexts and TensorBoard time series.

The graph is that of the tuning service. The location's default TensorBoard backs an experiment (Context). Below it are
one run (Context), the TensorBoard run of the same name, and an Artifact that links both for the SDK.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import pendulum
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from ..names import canonical, timestamp
from ..state import Resource, Store, new_id
from ..vertex.rest import found, get_route, list_route, name_of, read, reply, vertex_route
from . import time_series
from .writes import BOARD, EXPERIMENT, METADATA_STORE, RUN, new_etag

_SERIES: Final = RUN + "/timeSeries/{series:id}"

_METADATA_FIELDS: Final = (
    "name", "displayName", "schemaTitle", "createTime", "updateTime", "labels", "metadata", "uri", "state",
)  # fmt: skip
_BOARD_FIELDS: Final = ("name", "displayName", "createTime", "updateTime", "labels", "isDefault", "source")


class ExperimentsService:
    """Metadata contexts, artifacts and executions; TensorBoards, their experiments, runs and time series."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def routes(self) -> list[BaseRoute]:
        return [*self._metadata_routes(), *self._tensorboard_routes(), *self._series_routes()]

    def _metadata_routes(self) -> list[BaseRoute]:
        kinds = {
            "contexts": ("Context", (*_METADATA_FIELDS, "parentContexts")),
            "artifacts": ("Artifact", (*_METADATA_FIELDS, "inContext")),
            "executions": ("Execution", (*_METADATA_FIELDS, "inContext")),
        }
        routes: list[BaseRoute] = []
        for kind, (message, fields) in kinds.items():
            path, plural = f"{METADATA_STORE}/{kind}", f"List{message}sResponse"
            routes += [
                list_route(self.store, kind, path, plural, f"{kind}.list", fields=fields, default=100, high=100),
                get_route(self.store, kind, path + "/{id:id}", message, f"{kind}.get"),
            ]
        return routes

    def _tensorboard_routes(self) -> list[BaseRoute]:
        kinds = {
            "tensorboards": ("Tensorboard", BOARD),
            "tensorboardExperiments": ("TensorboardExperiment", EXPERIMENT),
            "tensorboardRuns": ("TensorboardRun", RUN),
        }
        routes: list[BaseRoute] = [vertex_route("GET", BOARD + ":batchRead", self.batch_read, "tensorboards.batchRead")]
        for kind, (message, path) in kinds.items():
            parent, plural = path.rsplit("/", 1)[0], f"List{message}sResponse"
            routes += [
                list_route(
                    self.store, kind, parent, plural, f"{kind}.list", fields=_BOARD_FIELDS, default=50, high=1000
                ),
                get_route(self.store, kind, path, message, f"{kind}.get"),
            ]
        return routes

    def _series_routes(self) -> list[BaseRoute]:
        export = vertex_route(
            "POST", _SERIES + ":exportTensorboardTimeSeries", self.export, "timeSeries.exportTensorboardTimeSeries"
        )
        listing = list_route(
            self.store, "timeSeries", RUN + "/timeSeries", "ListTensorboardTimeSeriesResponse", "timeSeries.list",
            fields=_BOARD_FIELDS, default=50, high=1000,
        )  # fmt: skip
        return [
            vertex_route("GET", _SERIES + ":read", self.read, "timeSeries.read"),
            export,
            listing,
            get_route(self.store, "timeSeries", _SERIES, "TensorboardTimeSeries", "timeSeries.get"),
        ]

    async def batch_read(self, request: Request) -> Response:
        board = name_of(request)
        found(self.store.get("tensorboards", board), board)
        names = [canonical(name) for name in _repeated(request, "timeSeries", "time_series")]
        return JSONResponse({"timeSeriesData": time_series.batch_read(self.store, board, names)})

    async def read(self, request: Request) -> Response:
        series = self._series(name_of(request))
        data = time_series.read(self.store, series, request)
        return JSONResponse({"timeSeriesData": data})

    async def export(self, request: Request) -> Response:
        series = self._series(name_of(request))
        body = await read(request, "ExportTensorboardTimeSeriesDataRequest")
        return reply(request, "ExportTensorboardTimeSeriesDataResponse", time_series.export(self.store, series, body))

    def _series(self, name: str) -> Resource:
        return found(self.store.get("timeSeries", name), name)

    def create(self, parent: str, *, tuning_job: str) -> str:
        """Create a job's experiment with one run, and the default TensorBoard if it is missing.

        :param parent: `projects/NUMBER/locations/LOCATION`
        :return: the experiment's context name, `…/contexts/tuning-experiment-<US Pacific time in 20 digits>`
        """
        digits = pendulum.now("America/Los_Angeles").format("YYYYMMDDHHmmssSSSSSS")
        experiment_id, run_id = f"tuning-experiment-{digits}", f"tuning-experiment-run-{digits}"
        board = self._default_board(parent)
        store = f"{parent}/metadataStores/default"
        if not self.store.get("metadataStores", store):
            self._put("metadataStores", store, "", {})
        contexts = f"{store}/contexts"
        experiment = f"{contexts}/{experiment_id}"
        metadata = {"backing_tensorboard_resource": board, "tuning_job": tuning_job}
        self._put_context(experiment, "system.Experiment", metadata, parents=[])
        self._put_context(f"{experiment}-{run_id}", "system.ExperimentRun", {"_state": "RUNNING"}, parents=[experiment])
        self._put_board(f"{board}/experiments/{experiment_id}", "tensorboardExperiments", experiment_id)
        self._put_board(f"{board}/experiments/{experiment_id}/runs/{run_id}", "tensorboardRuns", run_id)
        self._link(experiment, run_id, board)
        return experiment

    def _put_context(self, name: str, schema: str, metadata: Resource, parents: list[str]) -> None:
        context = {"schemaTitle": schema, "schemaVersion": "0.0.1", "metadata": metadata, "parentContexts": parents}
        # A run is shown without its experiment's name: the SDK finds it by that form.
        display_name = name.removeprefix(f"{parents[0]}-") if parents else name.rsplit("/", 1)[-1]
        self._put("contexts", name, display_name, context)

    def _put_board(self, name: str, kind: str, display_name: str) -> None:
        self._put(kind, name, display_name, {})

    def _put(self, kind: str, name: str, display_name: str, fields: Resource) -> None:
        now = timestamp()
        base = {"name": name, "displayName": display_name, "createTime": now, "updateTime": now, "etag": new_etag()}
        self.store.put(kind, name, base | fields)

    def _link(self, experiment: str, run_id: str, board: str) -> None:
        """The artifact by which the SDK's ExperimentRun finds its TensorBoard run."""
        parent, experiment_id = experiment.split("/contexts/")
        name = f"{parent}/artifacts/{experiment_id}-{run_id}-tb-run"
        resource = f"{board}/experiments/{experiment_id}/runs/{run_id}"
        artifact = {
            "schemaTitle": "google.VertexTensorboardRun",
            "schemaVersion": "0.0.1",
            "metadata": {"resourceName": resource, "vertex_experiment_tracking": True},
            "state": "LIVE",
            "inContext": [f"{experiment}-{run_id}"],
        }
        self._put("artifacts", name, name.rsplit("/", 1)[-1], artifact)

    def _default_board(self, parent: str) -> str:
        for board in self.store.list("tensorboards", parent + "/tensorboards/"):
            return str(board["name"])
        name = f"{parent}/tensorboards/{new_id()}"
        self._put("tensorboards", name, "Default Tensorboard", {"isDefault": True})
        return name

    def append(self, experiment: str, step: int, metrics: Mapping[str, float], wall_time: str) -> None:
        """Add one point to each metric's series; a series begins with its first point.

        Values that are not numbers (a diverging loss) are left out: JSON and SQLite cannot hold them.
        """
        metrics = {metric: value for metric, value in metrics.items() if math.isfinite(value)}
        run = self.run_of(experiment)
        series = {str(item["displayName"]): str(item["name"]) for item in self.store.list("timeSeries", run + "/")}
        for metric in metrics:
            if metric not in series:
                series[metric] = self._new_series(run, metric)
        self.store.add_points((series[metric], step, wall_time, value) for metric, value in metrics.items())

    def _new_series(self, run: str, metric: str) -> str:
        name = f"{run}/timeSeries/{new_id()}"
        self._put("timeSeries", name, metric, {"valueType": "SCALAR", "pluginName": "scalars"})
        return name

    def run_of(self, experiment: str) -> str:
        """The TensorBoard run of an experiment's context."""
        context = found(self.store.get("contexts", experiment), experiment)
        experiment_id = experiment.rsplit("/", 1)[-1]
        digits = experiment_id.rsplit("-", 1)[-1]
        board = context["metadata"]["backing_tensorboard_resource"]
        return f"{board}/experiments/{experiment_id}/runs/tuning-experiment-run-{digits}"

    def finish(self, experiment: str, state: str) -> None:
        """Write to the run's context how it ended ("COMPLETE", "FAILED", "KILLED"). The SDK reads it there."""
        digits = experiment.rsplit("-", 1)[-1]
        name = f"{experiment}-tuning-experiment-run-{digits}"
        context = found(self.store.get("contexts", name), name)
        context["metadata"]["_state"] = state
        self.store.put("contexts", name, context | {"updateTime": timestamp()})

    def clear(self, experiment: str) -> None:
        """Forget an experiment's series and points; its job starts again."""
        run = self.run_of(experiment)
        for series in list(self.store.list("timeSeries", run + "/")):
            self.store.delete("timeSeries", series["name"])
        self.store.delete_points(run + "/")


def _repeated(request: Request, *names: str) -> list[str]:
    """All values of a repeated query parameter, under either of its names."""
    return [value for name in names for value in request.query_params.getlist(name)]
