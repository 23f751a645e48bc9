"""`/_internal`: control of the emulator.

All methods but `health` are refused, unless the emulator listens on loopback or was started with `--control`.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ..errors import InvalidArgument, NotFound, PermissionDenied
from ..settings import Settings
from ..state import Store
from ..tuning.lifecycle import Lifecycle
from ..tuning.policies import read_policies
from ..vertex import proto_json
from ..vertex.rest import Handler, body_of
from .faults import Faults
from .monitor import RequestLog


class ControlService:
    """Controls the emulator: its state, its faults, its quota and its log of requests.

    :param lifecycle: the running jobs
    """

    def __init__(self, store: Store, settings: Settings, lifecycle: Lifecycle, faults: Faults, log: RequestLog) -> None:
        self.store = store
        self.settings = settings
        self.lifecycle = lifecycle
        self.faults = faults
        self.log = log

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            Route("/_internal/health", self.health, methods=["GET"], name="internal.health"),
            self._route("POST", "reset", self.reset),
            self._route("GET", "state", self.state),
            self._route("GET", "requests", self.list_requests),
            self._route("DELETE", "requests", self.clear_requests),
            self._route("GET", "faults", self.list_faults),
            self._route("POST", "faults", self.add_faults),
            self._route("DELETE", "faults", self.clear_faults),
            self._route("GET", "lifecycle", self.list_policies),
            self._route("POST", "lifecycle", self.add_policies),
            self._route("DELETE", "lifecycle", self.clear_policies),
            self._route("POST", "quota:exhaust", self.exhaust_quota),
            self._route("POST", "tuningJobs/{job:id}:advance", self.advance),
        ]

    def _route(self, http_method: str, path: str, handler: Handler) -> Route:
        async def guarded(request: Request) -> Response:
            if not self.settings.control:
                raise PermissionDenied("/_internal is closed; start the emulator on loopback or with --control.")
            return await handler(request)

        return Route(f"/_internal/{path}", guarded, methods=[http_method], name=f"internal.{handler.__name__}")

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "activeTuningJobs": self.lifecycle.active})

    async def reset(self, _: Request) -> Response:
        """Reset everything, as after a start with an empty directory."""
        await self.lifecycle.close()
        self.lifecycle.clear()
        self.faults.clear()
        self.log.clear()
        self.store.clear()
        await asyncio.to_thread(_empty, self.store.data_dir)
        return JSONResponse({})

    async def state(self, _: Request) -> Response:
        return JSONResponse(self.store.everything())

    async def list_requests(self, request: Request) -> Response:
        method = request.query_params.get("method")
        entries = [entry for entry in self.log.entries if method in (None, entry["method"])]
        return JSONResponse({"requests": entries, "counts": self.log.counts})

    async def clear_requests(self, _: Request) -> Response:
        self.log.clear()
        return JSONResponse({})

    async def list_faults(self, _: Request) -> Response:
        return JSONResponse({"faults": msgspec.to_builtins(self.faults.rules)})

    async def add_faults(self, request: Request) -> Response:
        added = self.faults.add(proto_json.decode(await body_of(request)))
        return JSONResponse({"faults": msgspec.to_builtins(added)})

    async def clear_faults(self, _: Request) -> Response:
        self.faults.clear()
        return JSONResponse({})

    async def list_policies(self, _: Request) -> Response:
        return JSONResponse({"policies": msgspec.to_builtins(self.lifecycle.policies)})

    async def add_policies(self, request: Request) -> Response:
        added = read_policies(proto_json.decode(await body_of(request)))
        self.lifecycle.policies += added
        return JSONResponse({"policies": msgspec.to_builtins(added)})

    async def clear_policies(self, _: Request) -> Response:
        self.lifecycle.policies = []
        return JSONResponse({})

    async def exhaust_quota(self, request: Request) -> Response:
        body = proto_json.decode(await body_of(request))
        self.lifecycle.exhaust_quota(_number(body, "seconds"))
        return JSONResponse({})

    async def advance(self, request: Request) -> Response:
        job_id = request.path_params["job"]
        names = [job["name"] for job in self.store.list("tuningJobs") if job["name"].endswith(f"/{job_id}")]
        if not names:
            raise NotFound(f"The TuningJob does not exist: {job_id}")
        await self.lifecycle.advance(names[0])
        return JSONResponse(self.store.get("tuningJobs", names[0]))


def _empty(data_dir: Path) -> None:
    """Remove the bytes of objects, datasets and weights; the folders stay."""
    for item in [*data_dir.glob("objects/*"), *data_dir.glob("tuning/*")]:
        shutil.rmtree(item) if item.is_dir() else item.unlink()


def _number(body: Any, field: str) -> float:
    """Read a number from 0 to 86,400 from a field of a request.

    :raises InvalidArgument: the value is not a number from 0 to 86,400
    """
    value = body.get(field) if isinstance(body, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 86_400:
        raise InvalidArgument(f"{field} must be a number from 0 to 86400.")
    return float(value)
