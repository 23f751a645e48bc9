"""Waiting for what happens in another thread or process, without a fixed pause."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal, TypeVar

T = TypeVar("T")


def wait_until(
    what: Callable[[], T | Literal[False] | None],
    seconds: float = 60,
    *,
    pause: float = 0.02,
    why: Callable[[], object] = lambda: "it did not happen in time",
) -> T:
    """Wait until something is true, and return it.

    :param seconds: after which the test fails
    :param pause: seconds between two looks
    :param why: what the failure says
    """
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, why()
        time.sleep(pause)
    return found


async def wait_until_async(
    what: Callable[[], T | Literal[False] | None], seconds: float = 60, *, pause: float = 0.02
) -> T:
    """`wait_until` in an event loop, which goes on meanwhile."""
    async with asyncio.timeout(seconds):
        while not (found := what()):  # noqa: ASYNC110 - what is waited for here announces nothing
            await asyncio.sleep(pause)
    return found
