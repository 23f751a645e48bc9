"""One look for all: every trigger of a process that waits in the same place shares one client and one poll.

A poll is a list of recent jobs; single reads are only for jobs that list does not show. So a thousand waiting triggers
cost as many calls as a dozen, but for the pages.
"""

from __future__ import annotations

import asyncio
import math
import time
import weakref
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Final

from vertex_tuning.exceptions import TuningError
from vertex_tuning.jobs import TuningJob

if TYPE_CHECKING:
    from vertex_tuning.hooks import VertexTuningHook

GATHER_SECONDS: Final = 0.1
"""How long a poll waits for others to join it."""

_pollers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, JobPoller]] = weakref.WeakKeyDictionary()


class JobPoller:
    """Looks at many jobs at once, in a thread, so that the event loop never waits for Google.

    :param make_hook: connects; called in a thread, once
    """

    def __init__(self, make_hook: Callable[[], VertexTuningHook]) -> None:
        self._make_hook = make_hook
        self._hook: VertexTuningHook | None = None
        self._wanted: set[str] = set()
        self._joinable: asyncio.Task[dict[str, TuningJob | TuningError]] | None = None
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    def shared(cls, key: Hashable, make_hook: Callable[[], VertexTuningHook]) -> JobPoller:
        """The poller everyone in this event loop shares who waits in the same place."""
        return _pollers.setdefault(asyncio.get_running_loop(), {}).setdefault(key, cls(make_hook))

    async def look(self, name: str) -> TuningJob:
        """The job as the next poll finds it.

        :raises TuningError: it could not be read
        """
        self._wanted.add(name)
        if self._joinable is None:
            self._joinable = asyncio.create_task(self._poll())
        found = (await asyncio.shield(self._joinable))[name]
        if isinstance(found, TuningError):
            raise found
        return found

    async def _poll(self) -> dict[str, TuningJob | TuningError]:
        async with self._one_at_a_time:
            await asyncio.sleep(GATHER_SECONDS)
            wanted, self._wanted, self._joinable = self._wanted, set(), None
            return await asyncio.to_thread(self._read, wanted)

    def _read(self, wanted: set[str]) -> dict[str, TuningJob | TuningError]:
        try:
            if self._hook is None:
                self._hook = self._make_hook()
            found = self._read_list(self._hook, wanted)
        except TuningError as error:
            self._hook = None  # the connection may be what has to be read anew
            return dict.fromkeys(wanted, error)
        return {name: found.get(name) or self._read_one(self._hook, name) for name in wanted}

    def _read_list(self, hook: VertexTuningHook, wanted: set[str]) -> dict[str, TuningJob]:
        """The wanted jobs among the newest: one page more than they would fill, and no further than needed."""
        from vertex_tuning.hooks import PAGE_SIZE

        found: dict[str, TuningJob] = {}
        limit = PAGE_SIZE * (math.ceil(len(wanted) / PAGE_SIZE) + 1)
        for number, job in enumerate(hook.list_tuning_jobs(), 1):
            if job.name in wanted:
                found[job.name] = job
            if number >= limit or len(found) == len(wanted):
                break
        return found

    def _read_one(self, hook: VertexTuningHook, name: str) -> TuningJob | TuningError:
        try:
            return hook.get_tuning_job(name)
        except TuningError as error:
            return error


def next_tick(interval: float) -> float:
    """Seconds until the next of the moments at which all who look this often look together."""
    return interval - time.time() % interval
