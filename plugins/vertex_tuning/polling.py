"""One look for all: every trigger of a process that waits in the same place shares one client and one poll.

A poll is a list of recent jobs; single reads are only for jobs that list does not show. So a thousand waiting triggers
cost as many calls as a dozen, but for the pages.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
import weakref
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Final

from vertex_tuning.exceptions import TuningError
from vertex_tuning.jobs import TuningJob

if TYPE_CHECKING:
    from vertex_tuning.connection import GoogleConnection
    from vertex_tuning.reader import JobReader

GATHER_SECONDS: Final = 0.1
"""How long a poll waits for others to join it."""

_pollers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, JobPoller]] = weakref.WeakKeyDictionary()


class JobPoller:
    """Looks at many jobs at once, in a thread, so that the event loop never waits for Google.

    :param connect: called in a thread, once
    """

    def __init__(self, connect: Callable[[], GoogleConnection]) -> None:
        self._connect = connect
        self._reader: JobReader | None = None
        self._wanted: set[str] = set()
        self._joinable: asyncio.Task[dict[str, TuningJob | TuningError]] | None = None
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    def shared(cls, key: Hashable, connect: Callable[[], GoogleConnection]) -> JobPoller:
        """The poller everyone in this event loop shares who waits in the same place."""
        return _pollers.setdefault(asyncio.get_running_loop(), {}).setdefault(key, cls(connect))

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
        # Imported here, in the thread: the Google libraries take a second.
        from vertex_tuning.reader import JobReader

        try:
            reader = self._reader = self._reader or JobReader(self._connect())
            found = _find(reader, wanted)
        except TuningError as error:
            self._reader = None  # the connection may be what has to be read anew
            return dict.fromkeys(wanted, error)
        return {name: found.get(name) or _read_one(reader, name) for name in wanted}


def _find(reader: JobReader, wanted: set[str]) -> dict[str, TuningJob]:
    """The wanted jobs among the newest: one page more than they would fill, and no further than needed."""
    from vertex_tuning.reader import PAGE_SIZE, parse

    found: dict[str, TuningJob] = {}
    limit = PAGE_SIZE * (math.ceil(len(wanted) / PAGE_SIZE) + 1)
    for job in itertools.islice(reader.recent(), limit):
        if job.get("name") in wanted:
            found[job["name"]] = parse(job)
        if len(found) == len(wanted):
            break
    return found


def _read_one(reader: JobReader, name: str) -> TuningJob | TuningError:
    try:
        return reader.get(name)
    except TuningError as error:
        return error


def next_tick(interval: float) -> float:
    """Seconds until the next of the moments at which all who look this often look together."""
    return interval - time.time() % interval
