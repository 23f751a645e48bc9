"""The REST methods of the Model Registry and of endpoints."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from ..errors import InvalidArgument, NotFound
from ..names import timestamp
from ..state import Resource
from ..vertex.filters import compile_filter
from ..vertex.labels import check_display_name, check_labels
from ..vertex.operations import Operations
from ..vertex.proto_json import camel
from ..vertex.rest import (
    get_route,
    list_route,
    name_of,
    page,
    parent_of,
    query,
    read,
    reply,
    version_of,
    vertex_route,
)
from .service import DEFAULT_ALIAS, RegistryService

_MODEL: Final = "models/{model:id}"
_ENDPOINT: Final = "endpoints/{endpoint:id}"
_ALIAS: Final = re.compile(r"-?[a-z][a-zA-Z0-9-]{0,126}[a-z0-9-]")
"""google/cloud/aiplatform/v1/model_service.proto, MergeVersionAliasesRequest."""
_MODEL_FIELDS: Final = (
    "name",
    "model",
    "displayName",
    "labels",
    "versionId",
    "versionAliases",
    "createTime",
    "updateTime",
)
_ENDPOINT_FIELDS: Final = ("name", "endpoint", "displayName", "labels", "createTime", "updateTime")
_PATCHABLE: Final = ("displayName", "description", "labels", "versionDescription", "defaultCheckpointId")


class RegistryApi:
    """ModelService and EndpointService over a registry."""

    def __init__(self, registry: RegistryService, operations: Operations) -> None:
        self.registry = registry
        self.operations = operations

    @property
    def routes(self) -> list[BaseRoute]:
        return [*self._model_routes(), *self._endpoint_routes()]

    def _model_routes(self) -> list[BaseRoute]:
        return [
            vertex_route("GET", "models", self.list_models, "models.list"),
            vertex_route("GET", _MODEL, self.get_model, "models.get"),
            vertex_route("PATCH", _MODEL, self.patch, "models.patch"),
            vertex_route("DELETE", _MODEL, self.delete_model, "models.delete"),
            vertex_route("GET", _MODEL + ":listVersions", self.list_versions, "models.listVersions"),
            vertex_route("GET", _MODEL + ":listCheckpoints", self.list_checkpoints, "models.listCheckpoints"),
            vertex_route("DELETE", _MODEL + ":deleteVersion", self.delete_version, "models.deleteVersion"),
            vertex_route("POST", _MODEL + ":mergeVersionAliases", self.merge_aliases, "models.mergeVersionAliases"),
        ]

    def _endpoint_routes(self) -> list[BaseRoute]:
        store = self.registry.store
        listing = list_route(
            store, "endpoints", "endpoints", "ListEndpointsResponse", "endpoints.list",
            fields=_ENDPOINT_FIELDS, default=100, high=100,
        )  # fmt: skip
        return [
            listing,
            get_route(store, "endpoints", _ENDPOINT, "Endpoint", "endpoints.get"),
            vertex_route("DELETE", _ENDPOINT, self.delete_endpoint, "endpoints.delete"),
            vertex_route("POST", _ENDPOINT + ":undeployModel", self.undeploy, "endpoints.undeployModel"),
        ]

    def _shown(self, version: Resource) -> Resource:
        """A version as the API shows it, with its model's name."""
        return _shown(version, self.registry.deployments(version["name"]))

    def _page(self, request: Request, rows: list[tuple[int, Resource]], message: str, *, numbered: bool) -> Response:
        """A page of versions; their names have their ids in it when `numbered`."""
        matches = compile_filter(query(request, "filter"), _MODEL_FIELDS)
        show = partial(_shown, deployments=self.registry.deployments(parent_of(request)), numbered=numbered)
        return reply(request, message, page(request, (row for row in rows if matches(row[1])), "models", show=show))

    async def list_models(self, request: Request) -> Response:
        rows = self.registry.store.numbered("models", name_of(request) + "/")
        defaults = [row for row in rows if DEFAULT_ALIAS in row[1]["versionAliases"]]
        return self._page(request, defaults, "ListModelsResponse", numbered=False)

    async def list_versions(self, request: Request) -> Response:
        model = name_of(request).partition("@")[0]
        self.registry.version(model)
        rows = list(self.registry.store.numbered("models", model + "@"))
        return self._page(request, rows, "ListModelVersionsResponse", numbered=True)

    async def list_checkpoints(self, request: Request) -> Response:
        checkpoints = self.registry.version(name_of(request))["checkpoints"]
        result = page(request, reversed(list(enumerate(checkpoints))), "checkpoints", default=50, high=50)
        return reply(request, "ListModelVersionCheckpointsResponse", result)

    async def get_model(self, request: Request) -> Response:
        return reply(request, "Model", self._shown(self.registry.version(name_of(request))))

    async def patch(self, request: Request) -> Response:
        body = await read(request, "Model")
        version = self.registry.version(name_of(request))
        now = {"updateTime": timestamp(), "versionUpdateTime": timestamp()}
        changed = version | _changes(body, _mask(query(request, "updateMask"), body)) | now
        if changed.get("defaultCheckpointId") != version.get("defaultCheckpointId"):
            _check_checkpoint(changed)
        self.registry.save(changed)
        return reply(request, "Model", self._shown(changed))

    async def merge_aliases(self, request: Request) -> Response:
        body = await read(request, "MergeVersionAliasesRequest")
        name = name_of(request)
        if not name.partition("@")[2].isdecimal():
            raise InvalidArgument(f"The name must carry an explicit version id (…/models/ID@VERSION), but was {name}.")
        aliases = _checked_aliases(body.get("versionAliases", []))
        return reply(request, "Model", self._shown(self.registry.merge_aliases(name, aliases)))

    async def delete_model(self, request: Request) -> Response:
        name = name_of(request).partition("@")[0]
        self.registry.delete_model(name)
        return JSONResponse(self.operations.deleted(version_of(request), name))

    async def delete_version(self, request: Request) -> Response:
        name = name_of(request)
        if "@" not in name:
            raise InvalidArgument(f"The name must carry a version (…/models/ID@VERSION), but was {name}.")
        self.registry.delete_version(name)
        return JSONResponse(self.operations.deleted(version_of(request), name.partition("@")[0]))

    async def delete_endpoint(self, request: Request) -> Response:
        name = name_of(request)
        self.registry.delete_endpoint(name)
        return JSONResponse(self.operations.deleted(version_of(request), name))

    async def undeploy(self, request: Request) -> Response:
        body = await read(request, "UndeployModelRequest")
        name = name_of(request)
        self.registry.undeploy(name, body.get("deployedModelId", ""))
        begun = self.operations.begin(version_of(request), name, "UndeployModelOperationMetadata")
        return JSONResponse(self.operations.finish(begun["name"], "UndeployModelResponse", {}))


def _shown(version: Resource, deployments: dict[str, list[Resource]], *, numbered: bool = False) -> Resource:
    full_name = f"{version['name']}@{version['versionId']}"
    name = full_name if numbered else version["name"]
    return version | {"name": name, "deployedModels": deployments.get(full_name, [])}


def _mask(text: str, body: Resource) -> list[str]:
    """The fields to change: those of the mask, or without a mask all fields of the request.

    :raises InvalidArgument: the mask names a field that cannot be changed
    """
    fields = [camel(path.strip()) for path in text.split(",")] if text else [key for key in body if key in _PATCHABLE]
    wrong = [field for field in fields if field not in _PATCHABLE]
    if wrong or not fields:
        raise InvalidArgument(f"update_mask must name some of {', '.join(_PATCHABLE)}, but was {text[:200]!r}.")
    return fields


def _changes(body: Resource, fields: list[str]) -> Resource:
    empty: dict[str, Any] = {"labels": {}}
    changes = {field: body.get(field, empty.get(field, "")) for field in fields}
    check_display_name(changes.get("displayName", "-"))
    check_labels(changes.get("labels", {}))
    if changes.get("displayName") == "":
        raise InvalidArgument("display_name must not be empty.")
    return changes


def _check_checkpoint(version: Resource) -> None:
    known = [checkpoint["checkpointId"] for checkpoint in version["checkpoints"]]
    if version["defaultCheckpointId"] not in known:
        raise NotFound(f"The checkpoint {version['defaultCheckpointId']} does not exist; known are {', '.join(known)}.")


def _checked_aliases(aliases: list[str]) -> list[str]:
    if not aliases:
        raise InvalidArgument("version_aliases must not be empty.")
    for alias in aliases:
        if not _ALIAS.fullmatch(alias):
            raise InvalidArgument(
                f"Invalid version alias {alias[:200]!r}: must match [a-z][a-zA-Z0-9-]{{0,126}}[a-z0-9-]."
            )
    return aliases
