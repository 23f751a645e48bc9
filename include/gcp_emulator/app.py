"""Builds the services, mounts their routes, renders errors, starts and stops training."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator
from typing import cast

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from . import auth
from .browser_guard import BrowserGuard
from .control.faults import Faults
from .control.monitor import Monitor, RequestLog
from .control.service import ControlService
from .errors import ApiError, Internal, InvalidArgument, NotFound
from .evaluation.service import EvaluationService
from .experiments.service import ExperimentsService
from .experiments.writes import ExperimentWrites
from .model.trainer import Trainer
from .prediction.service import PredictionService
from .registry.api import RegistryApi
from .registry.service import RegistryService
from .settings import Settings
from .state import Store
from .storage.service import StorageService
from .tuning.job_run import Services
from .tuning.service import TuningService
from .vertex.operations import Operations
from .vertex.rest import render

log = logging.getLogger(__name__)


class Emulator:
    """All services over one store."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store = Store(settings.data_dir)
        self.trainer = Trainer()
        self.faults, self.log = Faults(), RequestLog()
        self.storage = StorageService(self.store)
        self.registry = RegistryService(self.store)
        self.operations = Operations(self.store)
        experiments = ExperimentsService(self.store)
        services = Services(self.store, settings, self.trainer, experiments, self.registry)
        self.tuning = TuningService(services, self.storage, self.operations)
        self.routes: list[BaseRoute] = [
            *self.tuning.routes,
            *experiments.routes,
            *ExperimentWrites(self.store, self.operations).routes,
            *RegistryApi(self.registry, self.operations).routes,
            *PredictionService(self.registry).routes,
            *EvaluationService().routes,
            *self.operations.routes,
            *auth.routes(),
            *ControlService(self.store, settings, self.tuning.lifecycle, self.faults, self.log).routes,
            *self.storage.routes,  # last: the XML API takes almost any path
        ]

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Train while the server is up."""
        await self.trainer.start()
        self.tuning.sweep()
        self.tuning.lifecycle.resume()
        try:
            yield
        finally:
            await self.tuning.lifecycle.close()
            await self.trainer.stop()
            self.store.close()


def create_app(settings: Settings) -> ASGIApp:
    """The whole emulator as an ASGI application."""
    emulator = Emulator(settings)
    handlers = {
        ApiError: _refusal,
        HTTPException: _http_refusal,
        ClientDisconnect: _gone,
        Exception: _failure,
    }
    app = Starlette(routes=emulator.routes, lifespan=emulator.lifespan, exception_handlers=handlers)
    monitored = Monitor(app, emulator.routes, emulator.faults, emulator.log)
    return BrowserGuard(monitored, settings.allowed_hosts)


async def _refusal(_: Request, error: Exception) -> Response:
    return render(cast("ApiError", error))


async def _http_refusal(request: Request, refusal: Exception) -> Response:
    """A refusal of the router, in Google's envelope."""
    error = cast("HTTPException", refusal)
    kind = {404: NotFound, 405: NotFound, 413: InvalidArgument}.get(error.status_code, InvalidArgument)
    made = kind(f"{request.method} {request.url.path[:500]}: {error.detail}")
    made.http = error.status_code
    return render(made)


async def _gone(_: Request, _error: Exception) -> Response:
    """The client closed its connection; nobody reads this."""
    return Response(status_code=499)


async def _failure(request: Request, error: Exception) -> Response:
    log.error("%s %s", request.method, request.url.path, exc_info=error)
    return render(Internal("Internal error encountered."))
