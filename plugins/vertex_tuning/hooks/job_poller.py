"""One look for all: every trigger of a process that waits in the same place shares one client and one poll.

A poll is a list of recent jobs; single reads are only for jobs that list does not show. So a thousand waiting triggers
cost as many calls as a dozen, but for the pages. And only those are woken whose job has changed: a thousand that wake
at the same moment would hold up the event loop for all others.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
import weakref
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Final, Self

import msgspec

from vertex_tuning.exceptions import ConfigurationError, TuningError
from vertex_tuning.jobs.job import IDENTITY_LABEL, TuningJob

if TYPE_CHECKING:
    from vertex_tuning.hooks.credentials import Connection
    from vertex_tuning.hooks.job_reader import JobReader

GATHER_SECONDS: Final = 0.1
"""Seconds that a poll waits for other triggers to join it."""

WOKEN_TOGETHER: Final = 20
"""Number of triggers to notify before other work of the event loop continues."""

LEAST_PAUSE: Final = 0.01
"""Shortest time between two polls in seconds, for any interval of the triggers."""

Request = tuple[str, str]
"""Identity and fingerprint of a job."""

_pollers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, JobPoller]] = weakref.WeakKeyDictionary()


class Failure(msgspec.Struct, frozen=True):
    """A job that could not be read.

    :param seconds: time since the last successful poll, or since the first poll of the watch
    """

    error: Exception
    seconds: float


class Rivals(msgspec.Struct, frozen=True):
    """Another job runs for the same task instance.

    :param name: name of the other job
    """

    name: str


Look = TuningJob | Exception | Rivals | None
"""Result of a poll for one job; None if the job has not changed."""


class Watch:
    """A trigger's subscription to the changes of a job, for the length of a `with` block.

    :param interval: seconds between two polls
    """

    __slots__ = ("_news", "_poller", "_waiter", "interval", "last_read", "name")

    def __init__(self, poller: JobPoller, name: str, interval: float) -> None:
        self._poller = poller
        self.name = name
        self.interval = check_interval(interval)
        self.last_read = time.monotonic()
        # Not an asyncio.Queue, which needs 3 KB for each trigger.
        self._news: tuple[TuningJob | Failure | Rivals, ...] = ()
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        self._poller.join(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._poller.leave(self)

    async def news(self) -> TuningJob | Failure | Rivals:
        """Events of the job: its first state, each change, each failed poll, and rivals."""
        while not self._news:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        first, *rest = self._news
        self._news = tuple(rest)
        return first

    def tell(self, look: Look) -> None:
        if isinstance(look, Exception):
            self._add(Failure(look, time.monotonic() - self.last_read))
            return
        self.last_read = time.monotonic()
        if look is not None:
            self._add(look)

    def _add(self, news: TuningJob | Failure | Rivals) -> None:
        self._news += (news,)
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)


class JobPoller:
    """Polls many jobs at once, in a thread, so that the event loop never waits for Google.

    :param connect: called in a thread, once
    """

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._reader: JobReader | None = None
        self._watches: dict[str, list[Watch]] = {}
        self._seen: dict[str, int] = {}
        self._requests: dict[str, Request] = {}
        self._newcomers: set[str] = set()
        self._joined = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None

    @classmethod
    def shared(cls, key: Hashable, connect: Callable[[], Connection]) -> JobPoller:
        """The poller that all triggers of this event loop share for the same connection and location."""
        return _pollers.setdefault(asyncio.get_running_loop(), {}).setdefault(key, cls(connect))

    def watch(self, name: str, interval: float) -> Watch:
        """Poll a job for the length of a `with` block: now and then at this interval, in seconds.

        :raises ConfigurationError: the interval is invalid
        """
        return Watch(self, name, interval)

    def join(self, watch: Watch) -> None:
        self._watches.setdefault(watch.name, []).append(watch)
        self._newcomers.add(watch.name)
        self._joined.set()
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())

    def leave(self, watch: Watch) -> None:
        self._watches[watch.name].remove(watch)
        if not self._watches[watch.name]:
            del self._watches[watch.name]
            self._seen.pop(watch.name, None)
            self._requests.pop(watch.name, None)

    async def _poll(self) -> None:
        """Poll and notify the triggers until no trigger watches a job."""
        while self._watches:
            await asyncio.sleep(GATHER_SECONDS)
            self._joined.clear()
            await self._tell(await self._look())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._joined.wait(), self._pause())

    async def _look(self) -> dict[str, Look]:
        # A new subscriber first gets the known state of its job.
        for name in self._newcomers:
            self._seen.pop(name, None)
        self._newcomers.clear()
        wanted = set(self._watches)
        try:
            return await asyncio.to_thread(self._read, wanted)
        except Exception as error:  # noqa: BLE001 - every subscriber must get any error, and keep waiting
            self._reader = None  # the connection may have changed and must be read again
            self._seen.clear()  # no subscriber got the states that were read before the error
            return dict.fromkeys(wanted, error)

    async def _tell(self, looks: dict[str, Look]) -> None:
        for number, (name, look) in enumerate(looks.items()):
            if number % WOKEN_TOGETHER == 0:
                await asyncio.sleep(0)
            for watch in self._watches.get(name, ()):
                watch.tell(look)

    def _pause(self) -> float:
        watches = itertools.chain.from_iterable(self._watches.values())
        return min((next_tick(watch.interval) for watch in watches), default=0.0)

    def _read(self, wanted: set[str]) -> dict[str, Look]:
        """The current state or the read error of each wanted job; None if the job has not changed."""
        # Imported here, in the thread: the Google libraries load for a second.
        from vertex_tuning.hooks.job_reader import JobReader

        reader = self._reader = self._reader or JobReader(self._connect())
        owners = {self._requests[name]: name for name in wanted if name in self._requests}
        identities = {identity for identity, _ in owners}
        looks: dict[str, Look] = {}
        others: list[TuningJob] = []
        # One job at a time, so that memory holds at most one page of jobs.
        for name, answer in _recent(reader, wanted):
            if name in wanted:
                looks[name] = self._change(name, answer)
            elif identities and (other := _kin(answer, identities)):
                others.append(other)
        for name in wanted - looks.keys():
            looks[name] = self._change(name, _read_one(reader, name))
        for other in others:
            watched = owners.get((other.identity, other.fingerprint))
            # Changes of the watched job itself come first.
            if watched and looks[watched] is None and other.is_live and not other.is_cancelled:
                looks[watched] = Rivals(other.name)
        return looks

    def _change(self, name: str, look: bytes | TuningError) -> TuningJob | Exception | None:
        from vertex_tuning.hooks.job_reader import parse

        if isinstance(look, TuningError):
            return look
        digest = hash(look)
        if self._seen.get(name) == digest:
            return None
        try:
            job = parse(look)
        except TuningError as error:
            return error  # the subscribers of other jobs must get their changes
        self._seen[name] = digest
        if job.identity:
            self._requests[name] = (job.identity, job.fingerprint)
        return job


def _recent(reader: JobReader, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """The newest jobs, until all wanted jobs are found, at most one page more than they would fill.

    Each page is read to its end, which needs no further request and may show a rival.
    """
    from vertex_tuning.hooks.job_reader import JOBS_PER_PAGE

    missing = set(wanted)
    limit = JOBS_PER_PAGE * (math.ceil(len(wanted) / JOBS_PER_PAGE) + 1)
    for number, (name, job) in enumerate(itertools.islice(reader.recent(), limit), 1):
        missing.discard(name)
        yield name, job
        if not missing and number % JOBS_PER_PAGE == 0:
            break


class _Labelled(msgspec.Struct):
    labels: dict[str, str] = {}


def _kin(answer: bytes, identities: set[str]) -> TuningJob | None:
    """The job if it belongs to one of these task instances; else None."""
    from vertex_tuning.hooks.job_reader import parse

    with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError, TuningError):
        if msgspec.json.decode(answer, type=_Labelled).labels.get(IDENTITY_LABEL) in identities:
            return parse(answer)
    return None


def _read_one(reader: JobReader, name: str) -> bytes | TuningError:
    try:
        return reader.get(name)
    except TuningError as error:
        return error


def check_interval(seconds: float) -> float:
    """Return a valid polling interval.

    :raises ConfigurationError: it is not a finite number of seconds above 0
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise ConfigurationError(f"poll_interval: found {seconds!r}, expected a number of seconds, at least 1.")
    return float(seconds)


def next_tick(interval: float) -> float:
    """Seconds until the next common poll of all triggers with this interval."""
    interval = max(interval, LEAST_PAUSE)
    return interval - time.time() % interval
