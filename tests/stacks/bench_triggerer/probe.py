"""The benchmark's own triggers. They run in the triggerer that is measured, so they do next to nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from airflow.sdk import BaseHook
from airflow.triggers.base import BaseTrigger, TriggerEvent

TICK: Final = 0.01
"""Seconds between two looks at the clock; a block is measured too short by this at most."""

NOTED: Final = 0.02
"""Seconds from which a delay is written down."""


class LoopProbe(BaseTrigger):
    """Never fires; writes down when the event loop came back late: Unix time and delay, in seconds, a pair per line.

    :param path: file the pairs are appended to
    """

    def __init__(self, *, path: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.path = path

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.{type(self).__name__}", {"path": self.path}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK)
            delay = time.monotonic() - before - TICK
            if delay >= NOTED:
                self._note(delay)
        yield TriggerEvent(None)

    def _note(self, delay: float) -> None:
        with Path(self.path).open("a") as file:
            file.write(f"{time.time()} {delay}\n")


class Sleeper(BaseTrigger):
    """Never fires and does nothing: what is left is what Airflow itself spends on a waiting trigger.

    :param conn_id: a connection to look up first; the first look-up has Airflow load its API into the triggerer
    """

    def __init__(self, *, conn_id: str | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{__name__}.{type(self).__name__}", {"conn_id": self.conn_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        if self.conn_id:
            await asyncio.to_thread(BaseHook.get_connection, self.conn_id)
        await asyncio.Event().wait()
        yield TriggerEvent(None)
