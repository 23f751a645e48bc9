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
"""How long a poll waits for others to join it."""

WOKEN_TOGETHER: Final = 20
"""How many are woken before the event loop gets to do other things."""

LEAST_PAUSE: Final = 0.01
"""Seconds between two polls, whatever the interval of those who watch."""

Request = tuple[str, str]
"""Identity and fingerprint of a job."""

_pollers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, JobPoller]] = weakref.WeakKeyDictionary()


class Failure(msgspec.Struct, frozen=True):
    """A job that could not be read.

    :param seconds: how long ago the last poll was that read it, or the first one of its watch
    """

    error: Exception
    seconds: float


class Rivals(msgspec.Struct, frozen=True):
    """Another job runs for the same task instance.

    :param name: of the other one
    """

    name: str


Look = TuningJob | Exception | Rivals | None
"""What one poll finds out about one job; None when it is as it was."""


class Watch:
    """One who waits for news of a job, for the length of a `with` block.

    :param interval: seconds between two polls
    """

    __slots__ = ("_news", "_poller", "_waiter", "interval", "last_read", "name")

    def __init__(self, poller: JobPoller, name: str, interval: float) -> None:
        self._poller = poller
        self.name = name
        self.interval = check_interval(interval)
        self.last_read = time.monotonic()
        # Not an asyncio.Queue: that takes 3 KB of each waiter.
        self._news: tuple[TuningJob | Failure | Rivals, ...] = ()
        self._waiter: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        self._poller.join(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._poller.leave(self)

    async def news(self) -> TuningJob | Failure | Rivals:
        """The job as soon as it is first seen and whenever it has changed, every poll that fails, and rivals."""
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
    """Looks at many jobs at once, in a thread, so that the event loop never waits for Google.

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
        """The poller everyone in this event loop shares who waits in the same place."""
        return _pollers.setdefault(asyncio.get_running_loop(), {}).setdefault(key, cls(connect))

    def watch(self, name: str, interval: float) -> Watch:
        """Have a job looked at for the length of a block: at once and then at this interval, in seconds.

        :raises ConfigurationError: the interval is none
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
        """Look and tell until nobody watches any more."""
        while self._watches:
            await asyncio.sleep(GATHER_SECONDS)
            self._joined.clear()
            await self._tell(await self._look())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._joined.wait(), self._pause())

    async def _look(self) -> dict[str, Look]:
        # Whoever joins hears what the others know already.
        for name in self._newcomers:
            self._seen.pop(name, None)
        self._newcomers.clear()
        wanted = set(self._watches)
        try:
            return await asyncio.to_thread(self._read, wanted)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it, and go on waiting
            self._reader = None  # the connection may be what has to be read anew
            self._seen.clear()  # what was read before the error has been told to nobody
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
        """What each wanted job is now, or why it could not be read; None for those that are as they were."""
        # Imported here, in the thread: the Google libraries take a second.
        from vertex_tuning.hooks.job_reader import JobReader

        reader = self._reader = self._reader or JobReader(self._connect())
        owners = {self._requests[name]: name for name in wanted if name in self._requests}
        identities = {identity for identity, _ in owners}
        looks: dict[str, Look] = {}
        others: list[TuningJob] = []
        # One job after the other, so that no more than a page of answers is held.
        for name, answer in _recent(reader, wanted):
            if name in wanted:
                looks[name] = self._change(name, answer)
            elif identities and (other := _kin(answer, identities)):
                others.append(other)
        for name in wanted - looks.keys():
            looks[name] = self._change(name, _read_one(reader, name))
        for other in others:
            ours = owners.get((other.identity, other.fingerprint))
            if ours and looks[ours] is None and other.is_live and not other.is_cancelled:  # its own news come first
                looks[ours] = Rivals(other.name)
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
            return error  # the others' news are to reach them
        self._seen[name] = digest
        if job.identity:
            self._requests[name] = (job.identity, job.fingerprint)
        return job


def _recent(reader: JobReader, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """The newest jobs, until all wanted ones are among them: one page more than they would fill, and no further.

    Each page to its end, which costs no call and may show a rival.
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
    """The job, when it belongs to one of these task instances."""
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
    """Return a polling interval that is one.

    :raises ConfigurationError: when it is not a finite number of seconds above 0
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise ConfigurationError(f"poll_interval: found {seconds!r}, expected a number of seconds, at least 1.")
    return float(seconds)


def next_tick(interval: float) -> float:
    """Seconds until the next of the moments at which all who poll this often poll together."""
    interval = max(interval, LEAST_PAUSE)
    return interval - time.time() % interval
