"""Values that are read in background threads and kept: a page never waits long, and never has nothing to show."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Final, Generic, TypeVar

import msgspec

from vertex_tuning.exceptions import TuningError
from vertex_tuning.text.plain_text import plain, without_secrets

_T = TypeVar("_T")
_K = TypeVar("_K", bound=Hashable)

THREADS: Final = 8
FAILURE_PAUSE: Final = 10.0
"""Seconds after a failure before the next attempt."""

LATE: Final = 60.0
"""Age in seconds from which a page says how old a value is, if reading it again takes long."""

log = logging.getLogger(__name__)


class ValueSource(msgspec.Struct, Generic[_T], frozen=True):
    """Where a value comes from.

    :param load: reads the value; called in a background thread
    :param keep: seconds after which the value is read again
    :param stamp: the value is read again at once if this has changed
    """

    load: Callable[[], _T]
    keep: float = 10.0
    stamp: str = ""


class CachedValue(msgspec.Struct, Generic[_T], frozen=True):
    """The newest value of a source.

    :param value: None if it was never read
    :param age: seconds since it was read
    :param error: why the last attempt to read it failed; empty if it did not
    :param is_pending: whether it is being read at the moment
    """

    value: _T | None = None
    age: float = 0.0
    error: str = ""
    is_pending: bool = False

    @property
    def is_late(self) -> bool:
        """Whether the value is old and its successor takes long."""
        return self.is_pending and self.age > LATE


class _Entry:
    def __init__(self) -> None:
        self.value: Any = None
        self.read_at = self.failed_at = float("-inf")
        self.stamp = self.error = ""
        self.running: Future[None] | None = None

    def is_fresh(self, source: ValueSource[Any], now: float) -> bool:
        if self.failed_at > self.read_at:
            return now - self.failed_at < min(FAILURE_PAUSE, source.keep)
        return self.stamp == source.stamp and now - self.read_at < source.keep

    def reading(self, now: float) -> CachedValue[Any]:
        age = max(now - self.read_at, 0.0) if self.value is not None else 0.0
        return CachedValue(self.value, age, self.error, self.running is not None)


class BackgroundCache:
    """Keeps values by their keys. The value that was used least recently leaves first.

    Its threads are daemons: a request that hangs does not keep the API server from stopping.

    :param size: most values to keep
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._threads = 0

    async def read(
        self, sources: Mapping[_K, ValueSource[_T]], *, first: float, again: float
    ) -> dict[_K, CachedValue[_T]]:
        """Read values that are missing or old, and return what is known when the time is over.

        :param sources: where each value comes from, by its key
        :param first: most seconds to wait for values that were never read
        :param again: most seconds to wait for values that are only old
        """
        missing, old = self._start(sources)
        if old:
            await asyncio.wait([asyncio.wrap_future(future) for future in old], timeout=again)
        if missing:
            await asyncio.wait([asyncio.wrap_future(future) for future in missing], timeout=first)
        now = time.monotonic()
        with self._lock:
            entries = {key: self._entries.get(key) for key in sources}
            return {key: entry.reading(now) if entry else CachedValue() for key, entry in entries.items()}

    def _start(self, sources: Mapping[_K, ValueSource[_T]]) -> tuple[list[Future[None]], list[Future[None]]]:
        """:returns: the running reads of values that were never read, and of the others"""
        missing, old = list[Future[None]](), list[Future[None]]()
        now = time.monotonic()
        with self._lock:
            for key, source in sources.items():
                entry = self._entries.setdefault(key, _Entry())
                self._entries.move_to_end(key)
                if entry.running is None and not entry.is_fresh(source, now):
                    self._submit(entry, source)
                if entry.running is not None:
                    (missing if entry.value is None else old).append(entry.running)
            while len(self._entries) > max(self._size, len(sources)):
                self._entries.popitem(last=False)
        return missing, old

    def _submit(self, entry: _Entry, source: ValueSource[Any]) -> None:
        entry.running = Future()
        self._work.put(lambda: self._load(entry, source))
        if self._threads < THREADS:
            self._threads += 1
            threading.Thread(target=self._run, name="tunings", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._work.get()()

    def _load(self, entry: _Entry, source: ValueSource[Any]) -> None:
        value, error = None, ""
        try:
            value = source.load()
        except TuningError as failure:
            error = plain(without_secrets(str(failure)))
        except Exception as failure:
            log.exception("Reading for the page Tunings failed.")
            error = type(failure).__name__
        with self._lock:
            done, entry.running, entry.error = entry.running, None, error
            if error:
                entry.failed_at = time.monotonic()
            else:
                entry.value, entry.stamp, entry.read_at = value, source.stamp, time.monotonic()
        if done is not None:
            done.set_result(None)
