"""`/_internal`: what the emulator is told apart from the APIs it speaks."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from include.gcp_emulator.lifecycle import Lifecycle
from include.gcp_emulator.settings import Settings
from include.gcp_emulator.state import Store


class ControlService:
    """
    :param lifecycle: the jobs under way
    """

    def __init__(self, store: Store, settings: Settings, lifecycle: Lifecycle) -> None:
        self.store = store
        self.settings = settings
        self.lifecycle = lifecycle

    @property
    def routes(self) -> list[BaseRoute]:
        return [Route("/_internal/health", self.health, methods=["GET"], name="internal.health")]

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "activeTuningJobs": self.lifecycle.active})
