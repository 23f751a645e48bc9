"""Long-running operations: stored below their resource, and readable by both paths that clients use."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from ..errors import InvalidArgument
from ..names import timestamp
from ..state import Resource, Store, new_id
from . import proto_json
from .rest import Handler, found, name_of, page, read_any, vertex_route

_TYPES: Final = "type.googleapis.com/google.cloud.aiplatform."
_EMPTY: Final = {"@type": "type.googleapis.com/google.protobuf.Empty"}
_PARENTS: Final = ("models", "endpoints", "tuningJobs", "metadataStores", "tensorboards")
_ONE: Final = "/{operation:id}"
_NO_WAIT: Final = 30.0
"""Longest duration of `wait` in seconds, if the request has no timeout."""
_LONGEST_WAIT: Final = 300.0


class Operations:
    """google.longrunning.Operations, https://google.aip.dev/151.

    An operation keeps the API version of its request, because the types of its messages name it. The REST clients read
    it under `/ui/`, which has no version.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._changed = asyncio.Event()

    @property
    def routes(self) -> list[BaseRoute]:
        routes: list[BaseRoute] = []
        for parent in _PARENTS:
            path = f"{parent}/{{parent:id}}/operations"
            routes += [
                self._route("GET", path, self.list_operations, f"{parent}.operations.list"),
                self._route("GET", path + _ONE, self.get, f"{parent}.operations.get"),
                self._route("DELETE", path + _ONE, self.delete, f"{parent}.operations.delete"),
                self._route("POST", path + _ONE + ":cancel", self.cancel, f"{parent}.operations.cancel"),
                self._route("POST", path + _ONE + ":wait", self.wait, f"{parent}.operations.wait"),
            ]
        return routes

    @staticmethod
    def _route(http_method: str, path: str, handler: Handler, name: str) -> BaseRoute:
        return vertex_route(http_method, path, handler, name, version="operations")

    def begin(self, version: str, resource: str, metadata_type: str) -> Resource:
        """A new operation on a resource, not done yet.

        :param metadata_type: short name of the message ("DeleteOperationMetadata")
        """
        now = timestamp()
        metadata = {
            "@type": f"{_TYPES}{version}.{metadata_type}",
            "genericMetadata": {"createTime": now, "updateTime": now},
        }
        operation: Resource = {"name": f"{resource}/operations/{new_id()}", "metadata": metadata}
        self.store.put("operations", operation["name"], operation)
        return operation

    def finish(self, name: str, message: str, resource: Resource) -> Resource:
        """End an operation with its response, a message of the API ("TuningJob")."""
        version = str(self._find(name)["metadata"]["@type"]).split(".")[-2]
        shown = proto_json.present(version, message, resource)
        return self._end(name, {"response": {"@type": f"{_TYPES}{version}.{message}"} | shown})

    def fail(self, name: str, error: Resource) -> Resource:
        """End an operation with a google.rpc.Status."""
        return self._end(name, {"error": error})

    def _end(self, name: str, outcome: Resource) -> Resource:
        operation = self._find(name) | {"done": True} | outcome
        operation["metadata"]["genericMetadata"]["updateTime"] = timestamp()
        self.store.put("operations", name, operation)
        self._changed.set()
        self._changed = asyncio.Event()
        return operation

    def deleted(self, version: str, resource: str) -> Resource:
        """The operation of a deletion, which has ended before the response."""
        begun = self.begin(version, resource, "DeleteOperationMetadata")
        return self._end(begun["name"], {"response": _EMPTY})

    def _find(self, name: str) -> Resource:
        return found(self.store.get("operations", name), name)

    async def get(self, request: Request) -> Response:
        return JSONResponse(self._find(name_of(request)))

    async def list_operations(self, request: Request) -> Response:
        rows = self.store.numbered("operations", name_of(request) + "/")
        return JSONResponse(page(request, rows, "operations"))

    async def delete(self, request: Request) -> Response:
        name = name_of(request)
        self._find(name)
        self.store.delete("operations", name)
        return JSONResponse({})

    async def cancel(self, request: Request) -> Response:
        """Best effort, https://google.aip.dev/151: no operation here can be stopped, so nothing happens."""
        self._find(name_of(request))
        return JSONResponse({})

    async def wait(self, request: Request) -> Response:
        name = name_of(request)
        body = await read_any(request)
        timeout = _seconds(request.query_params.get("timeout") or body.get("timeout"))
        return JSONResponse(await self._wait(name, timeout))

    async def _wait(self, name: str, timeout: float) -> Resource:  # noqa: ASYNC109 - the API's own parameter
        deadline = asyncio.get_running_loop().time() + timeout
        while not self._find(name).get("done"):
            try:
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()
            except TimeoutError:
                break
        return self._find(name)


def _seconds(duration: object) -> float:
    """Seconds of a google.protobuf.Duration in JSON ("3.5s").

    :raises InvalidArgument: the value is not a duration
    """
    if duration is None:
        return _NO_WAIT
    if not isinstance(duration, str) or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?s", duration):
        raise InvalidArgument(f"Invalid value at 'timeout' (TYPE_DURATION), {proto_json.quote(duration)}")
    return min(float(duration[:-1]), _LONGEST_WAIT)
