"""The methods by which clients record their own experiments: Metadata and TensorBoard resources made by hand.

The SDK's `ExperimentRun` uses them. Metadata: https://docs.cloud.google.com/vertex-ai/docs/ml-metadata/tracking
"""

from __future__ import annotations

import math
import re
import time
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from ..errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument
from ..names import canonical, timestamp
from ..state import Resource, Store, new_id
from ..vertex.labels import check_display_name, check_labels
from ..vertex.operations import Operations
from ..vertex.proto_json import camel
from ..vertex.rest import Handler, found, get_route, list_route, name_of, query, read, reply, version_of, vertex_route

METADATA_STORE: Final = "metadataStores/{store:id}"
BOARD: Final = "tensorboards/{tensorboard:id}"
EXPERIMENT: Final = BOARD + "/experiments/{experiment:id}"
RUN: Final = EXPERIMENT + "/runs/{run:id}"

_ID: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,127}")
"""Ids of Metadata and TensorBoard resources: the documents allow `a-z`, `0-9` and `-`, at most 128 characters."""
_MESSAGES: Final = {"contexts": "Context", "artifacts": "Artifact", "executions": "Execution"}
_PATCHABLE: Final = ("displayName", "description", "labels", "metadata", "state", "uri")
_MAX_DEPTH: Final = 10
"""Deepest nesting of contexts."""


class ExperimentWrites:
    """Creates, changes and deletes Metadata and TensorBoard resources.

    :param operations: for the methods that give a long-running operation, which has ended before the response
    """

    def __init__(self, store: Store, operations: Operations) -> None:
        self.store = store
        self.operations = operations

    @property
    def routes(self) -> list[BaseRoute]:
        return [*self._store_routes(), *self._metadata_routes(), *self._tensorboard_routes()]

    def _store_routes(self) -> list[BaseRoute]:
        listing = list_route(
            self.store, "metadataStores", "metadataStores", "ListMetadataStoresResponse", "metadataStores.list",
            fields=("name",), default=100, high=1000,
        )  # fmt: skip
        return [
            vertex_route("POST", "metadataStores", self.create_store, "metadataStores.create"),
            listing,
            get_route(self.store, "metadataStores", METADATA_STORE, "MetadataStore", "metadataStores.get"),
        ]

    def _metadata_routes(self) -> list[BaseRoute]:
        routes: list[BaseRoute] = []
        for kind in _MESSAGES:
            path = f"{METADATA_STORE}/{kind}"
            routes += [
                vertex_route("POST", path, self._creating(kind), f"{kind}.create"),
                vertex_route("PATCH", path + "/{id:id}", self._patching(kind), f"{kind}.patch"),
                vertex_route("DELETE", path + "/{id:id}", self._deleting(kind), f"{kind}.delete"),
            ]
        context = METADATA_STORE + "/contexts/{id:id}"
        return [
            *routes,
            vertex_route("POST", context + ":addContextChildren", self.add_children, "contexts.addContextChildren"),
            vertex_route(
                "POST", context + ":addContextArtifactsAndExecutions", self.add_members,
                "contexts.addContextArtifactsAndExecutions",
            ),
        ]  # fmt: skip

    def _tensorboard_routes(self) -> list[BaseRoute]:
        return [
            vertex_route("POST", "tensorboards", self.create_board, "tensorboards.create"),
            vertex_route(
                "POST", EXPERIMENT.rpartition("/")[0], self.create_experiment, "tensorboardExperiments.create"
            ),
            vertex_route("POST", RUN.rpartition("/")[0], self.create_run, "tensorboardRuns.create"),
            vertex_route("POST", RUN + "/timeSeries", self.create_series, "timeSeries.create"),
            vertex_route("POST", RUN + ":write", self.write_points, "tensorboardRuns.write"),
        ]

    # Metadata

    async def create_store(self, request: Request) -> Response:
        body = await read(request, "MetadataStore")
        store = self._create("metadataStores", request, "metadataStoreId", body)
        begun = self.operations.begin(version_of(request), store["name"], "CreateMetadataStoreOperationMetadata")
        return JSONResponse(self.operations.finish(begun["name"], "MetadataStore", store))

    def _creating(self, kind: str) -> Handler:
        return partial(self._create_metadata, kind)

    async def _create_metadata(self, kind: str, request: Request) -> Response:
        message = _MESSAGES[kind]
        body = await read(request, message)
        store = name_of(request).rpartition("/")[0]
        found(self.store.get("metadataStores", store), store)
        extra: Resource = {"parentContexts": []} if kind == "contexts" else {"inContext": []}
        created = self._create(kind, request, f"{message.lower()}Id", {"metadata": {}} | body | extra)
        return reply(request, message, created)

    def _patching(self, kind: str) -> Handler:
        return partial(self._patch_metadata, kind)

    async def _patch_metadata(self, kind: str, request: Request) -> Response:
        body, name = await read(request, _MESSAGES[kind]), name_of(request)
        old = found(self.store.get(kind, name), name)
        _check_etag(_MESSAGES[kind], body.get("etag"), old)
        mask = [camel(path.strip()) for path in query(request, "updateMask").split(",") if path.strip()]
        fields = [field for field in _PATCHABLE if field in body and (not mask or field in mask)]
        changed: Resource = {field: body[field] for field in fields}
        _check(changed)
        new = old | changed | {"updateTime": timestamp(), "etag": new_etag()}
        self.store.put(kind, name, new)
        return reply(request, _MESSAGES[kind], new)

    def _deleting(self, kind: str) -> Handler:
        return partial(self._delete_metadata, kind)

    async def _delete_metadata(self, kind: str, request: Request) -> Response:
        name = name_of(request)
        old = found(self.store.get(kind, name), name)
        _check_etag(_MESSAGES[kind], query(request, "etag"), old)
        children = [child for child in self.store.list("contexts") if name in child["parentContexts"]]
        if children and query(request, "force") != "true":
            raise FailedPrecondition(f"{name} has {len(children)} child contexts. Set force to delete it.")
        with self.store.transaction():
            self.store.delete(kind, name)
            for child in children:
                parents = [parent for parent in child["parentContexts"] if parent != name]
                self.store.put("contexts", child["name"], child | {"parentContexts": parents})
        return JSONResponse(self.operations.deleted(version_of(request), _store_of(name)))

    async def add_children(self, request: Request) -> Response:
        """Add child contexts. A context that is a child already is skipped, as the document says."""
        body, parent = await read(request, "AddContextChildrenRequest"), name_of(request)
        found(self.store.get("contexts", parent), parent)
        children = [self._context(name) for name in body.get("childContexts", [])]
        if {child["name"] for child in children} & self._ancestors(parent):
            raise InvalidArgument(f"{parent} would become its own ancestor.")
        with self.store.transaction():
            for child in children:
                self._add("contexts", child, "parentContexts", parent)
        return reply(request, "AddContextChildrenResponse", {})

    async def add_members(self, request: Request) -> Response:
        """Add artifacts and executions to a context. One that belongs to it already is skipped."""
        body, context = await read(request, "AddContextArtifactsAndExecutionsRequest"), name_of(request)
        found(self.store.get("contexts", context), context)
        members = [
            (kind, found(self.store.get(kind, canonical(name)), name))
            for kind in ("artifacts", "executions")
            for name in body.get(kind, [])
        ]
        with self.store.transaction():
            for kind, member in members:
                self._add(kind, member, "inContext", context)
        return reply(request, "AddContextArtifactsAndExecutionsResponse", {})

    def _context(self, name: str) -> Resource:
        return found(self.store.get("contexts", canonical(name)), name)

    def _ancestors(self, context: str) -> set[str]:
        """The context itself and all contexts above it."""
        seen, above = set[str](), {context}
        for _ in range(_MAX_DEPTH):
            seen |= above
            above = {parent for name in above for parent in self._context(name)["parentContexts"]}
        return seen

    def _add(self, kind: str, resource: Resource, field: str, name: str) -> None:
        if name not in resource[field]:
            self.store.put(kind, resource["name"], resource | {field: [*resource[field], name]})

    # TensorBoard

    async def create_board(self, request: Request) -> Response:
        body = await read(request, "Tensorboard")
        if not body.get("displayName"):
            raise InvalidArgument("display_name must not be empty.")
        board = self._create("tensorboards", request, "", {"isDefault": False} | body)
        begun = self.operations.begin(version_of(request), board["name"], "CreateTensorboardOperationMetadata")
        return JSONResponse(self.operations.finish(begun["name"], "Tensorboard", board))

    async def create_experiment(self, request: Request) -> Response:
        body, board = await read(request, "TensorboardExperiment"), _parent(request)
        found(self.store.get("tensorboards", board), board)
        created = self._create("tensorboardExperiments", request, "tensorboardExperimentId", body)
        return reply(request, "TensorboardExperiment", created)

    async def create_run(self, request: Request) -> Response:
        body, experiment = await read(request, "TensorboardRun"), _parent(request)
        found(self.store.get("tensorboardExperiments", experiment), experiment)
        return reply(request, "TensorboardRun", self._create("tensorboardRuns", request, "tensorboardRunId", body))

    async def create_series(self, request: Request) -> Response:
        body, run = await read(request, "TensorboardTimeSeries"), _parent(request)
        found(self.store.get("tensorboardRuns", run), run)
        if body.get("valueType") != "SCALAR":
            raise InvalidArgument(f"value_type must be SCALAR here, but was {body.get('valueType')}.")
        series = self._create("timeSeries", request, "tensorboardTimeSeriesId", {"pluginName": "scalars"} | body)
        return reply(request, "TensorboardTimeSeries", series)

    async def write_points(self, request: Request) -> Response:
        body, run = await read(request, "WriteTensorboardRunDataRequest"), name_of(request)
        found(self.store.get("tensorboardRuns", run), run)
        points = []
        for data in body.get("timeSeriesData", []):
            series = f"{run}/timeSeries/{data.get('tensorboardTimeSeriesId', '')}"
            found(self.store.get("timeSeries", series), series)
            points += [_point(series, value) for value in data.get("values", [])]
        with self.store.transaction():
            self.store.add_points(points)
        return reply(request, "WriteTensorboardRunDataResponse", {})

    def _create(self, kind: str, request: Request, id_parameter: str, fields: Resource) -> Resource:
        """Store a new resource below the collection in the request's path.

        :param id_parameter: query parameter with the id; the service chooses an id without it
        """
        chosen = query(request, id_parameter) or new_id()
        if not _ID.fullmatch(chosen):
            rule = "1 to 128 characters a-z, 0-9 and -"
            raise InvalidArgument(f"{id_parameter} must be {rule}, but was {chosen[:200]!r}.")
        _check(fields)
        name, now = f"{name_of(request)}/{chosen}", timestamp()
        if self.store.get(kind, name):
            raise AlreadyExists(f"{name} already exists.")
        base = {"createTime": now, "updateTime": now, "etag": new_etag()}
        created = base | fields | {"name": name}
        self.store.put(kind, name, created)
        return created


def _check(fields: Resource) -> None:
    check_display_name(fields.get("displayName", ""))
    check_labels(fields.get("labels", {}))


def _parent(request: Request) -> str:
    """The resource whose collection the path of a request names."""
    return name_of(request).rpartition("/")[0]


def _store_of(name: str) -> str:
    return "/".join(name.split("/")[:6])


def new_etag() -> str:
    """Digits that increase: the SDK compares the digits of two etags."""
    return str(time.time_ns())


def _check_etag(message: str, etag: str | None, stored: Resource) -> None:
    """Refuse a change to a state that is not the current one, in the words that the SDK waits for.

    :raises Aborted: the resource has changed since it was read
    """
    if etag and etag != stored["etag"]:
        raise Aborted(f"Specified {message} `etag`: `{etag}` does not match server `etag`: `{stored['etag']}`")


def _point(series: str, value: Resource) -> tuple[str, int, str, float]:
    number = value.get("scalar", {}).get("value", 0.0)
    if not math.isfinite(number):
        raise InvalidArgument(f"{series}: found {number}, expected a finite number.")
    return series, int(value.get("step", 0)), value.get("wallTime") or timestamp(), number
