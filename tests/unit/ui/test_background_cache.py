"""Values that are read in the background."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from vertex_tuning.exceptions import VertexUnavailableError
from vertex_tuning.ui import background_cache
from vertex_tuning.ui.background_cache import BackgroundCache, CachedValue, ValueSource


async def read(cache: BackgroundCache, source: ValueSource[int], seconds: float = 2.0) -> CachedValue[int]:
    return (await cache.read({"key": source}, first=seconds, again=seconds))["key"]


async def test_a_value_is_read_once_until_it_is_old() -> None:
    cache, calls = BackgroundCache(10), []
    source = ValueSource(lambda: calls.append(1) or len(calls), keep=0.1)  # type: ignore[func-returns-value]
    assert [(await read(cache, source)).value for _ in range(3)] == [1, 1, 1]
    await asyncio.sleep(0.15)
    assert (await read(cache, source)).value == 2


async def test_a_value_is_read_again_at_once_if_its_stamp_has_changed() -> None:
    cache = BackgroundCache(10)
    assert (await read(cache, ValueSource(lambda: 1, 1000, "a"))).value == 1
    assert (await read(cache, ValueSource(lambda: 2, 1000, "a"))).value == 1
    assert (await read(cache, ValueSource(lambda: 2, 1000, "b"))).value == 2


async def test_whoever_asks_at_the_same_time_waits_for_the_same_read() -> None:
    cache, calls = BackgroundCache(10), []

    def load() -> int:
        calls.append(1)
        time.sleep(0.1)
        return 7

    found = await asyncio.gather(*(read(cache, ValueSource(load)) for _ in range(20)))
    assert {reading.value for reading in found} == {7}
    assert len(calls) == 1


async def test_a_slow_read_gives_the_last_value_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, release = BackgroundCache(10), threading.Event()
    assert (await read(cache, ValueSource(lambda: 1, keep=0))).value == 1

    def slow() -> int:
        release.wait(5)
        return 2

    started = time.monotonic()
    late = await read(cache, ValueSource(slow, keep=0), seconds=0.1)
    assert time.monotonic() - started < 1
    assert (late.value, late.is_pending) == (1, True)
    release.set()
    await asyncio.sleep(0.2)
    assert (await read(cache, ValueSource(lambda: 3, keep=1000))).value in (2, 3)


async def test_a_failure_keeps_the_last_value_with_its_age_and_is_not_tried_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache, calls = BackgroundCache(10), []
    await read(cache, ValueSource(lambda: 1, keep=1000))

    def fail() -> int:
        calls.append(1)
        raise VertexUnavailableError("Google is away: https://user:secret@host/")

    for _ in range(3):
        failed = await read(cache, ValueSource(fail, 1000, "another stamp"))
        assert failed.value == 1
        assert "Google is away" in failed.error
        assert "secret" not in failed.error
    assert len(calls) == 1
    monkeypatch.setattr(background_cache, "FAILURE_PAUSE", 0.0)
    assert (await read(cache, ValueSource(lambda: 2, 1000, "another stamp"))).error == ""


async def test_an_unexpected_error_shows_its_kind_only() -> None:
    def fail() -> int:
        raise RuntimeError("a secret")

    found = await read(BackgroundCache(10), ValueSource(fail))
    assert (found.value, found.error) == (None, "RuntimeError")


async def test_the_value_that_was_used_least_recently_leaves_first() -> None:
    cache = BackgroundCache(2)
    for key in ("a", "b", "a", "c"):
        await cache.read({key: ValueSource(lambda: key, 1000)}, first=1, again=1)  # noqa: B023
    found = await cache.read({"a": ValueSource(lambda: "new", 1000)}, first=1, again=1)
    assert found["a"].value == "a"
    found = await cache.read({"b": ValueSource(lambda: "new", 1000)}, first=1, again=1)
    assert found["b"].value == "new"


async def test_more_values_than_it_keeps_can_be_read_at_once() -> None:
    found = await BackgroundCache(2).read({n: ValueSource(lambda: 1) for n in range(50)}, first=2, again=2)
    assert {reading.value for reading in found.values()} == {1}
