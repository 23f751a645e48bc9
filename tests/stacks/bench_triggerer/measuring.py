"""One contestant through one triggerer: take up, wait, end; and what that cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Final

from tests.stacks.bench_triggerer import waiters
from tests.stacks.bench_triggerer.contestants import Contestant
from tests.stacks.bench_triggerer.probe import LoopProbe
from tests.stacks.bench_triggerer.processes import Triggerer, Usage, running_triggerer

START_SECONDS: Final = 300
SUCCESS: Final = frozenset({"succeeded", "success"})


@dataclass(frozen=True)
class Plan:
    """How long everything takes.

    :param sensors: how many wait
    :param interval: seconds between two looks at a job
    """

    sensors: int
    interval: int

    @property
    def window(self) -> float:
        """Seconds of pure waiting that are measured."""
        return 4.0 * self.interval

    @property
    def ending(self) -> float:
        """Seconds within which all jobs end."""
        return 2.0 * self.interval


@dataclass(frozen=True)
class Result:
    """What one contestant cost.

    :param usage: while waiting
    :param blocks: longest block of the event loop in seconds: while starting, waiting, ending
    :param events: waiters that were told that their job succeeded
    :param delays: seconds from a job's end until its waiter was woken: median, 95th percentile, most
    """

    title: str
    waiters: int
    calls_per_minute: float
    usage: Usage
    blocks: tuple[float, float, float]
    events: int
    delays: tuple[float, float, float] | None


def measure(contestant: Contestant, plan: Plan, environment: Mapping[str, str], home: Path) -> Result:
    """Run a triggerer with the contestant's triggers from start to end.

    :raises TriggererEndedError: when the triggerer does not live through it
    """
    run_id, lags = contestant.title, home / f"{contestant.title}.lags"
    lags.touch()
    triggers = contestant.triggers(plan.sensors)
    waiters.start_run(run_id)
    waiters.defer(run_id, waiters.PROBE, [LoopProbe(path=str(lags))])
    waiters.defer(run_id, contestant.task_id, triggers)
    marks = [time.time()]
    with running_triggerer({**environment, **contestant.environment}, home / f"{contestant.title}.log") as triggerer:
        _until(triggerer, START_SECONDS, lambda: not waiters.unassigned() and contestant.has_begun())
        triggerer.watch(plan.interval)
        marks.append(time.time())
        calls = contestant.calls()
        usage = triggerer.watch(plan.window)
        calls = contestant.calls() - calls
        marks.append(time.time())
        contestant.end(plan.ending)
        if contestant.waits_for_jobs:
            _until(triggerer, 4 * plan.interval, lambda: not waiters.waiting(run_id))
        marks.append(time.time())
    ends, woken = contestant.ends(), waiters.events(run_id)
    waiters.clear()
    return Result(
        title=contestant.title,
        waiters=len(triggers),
        calls_per_minute=60 * calls / plan.window,
        usage=usage,
        blocks=_blocks(lags, marks),
        events=sum(status in SUCCESS for _, status in woken.values()),
        delays=_spread([moment - ends[index] for index, (moment, _) in woken.items()]),
    )


def _until(triggerer: Triggerer, seconds: float, done: Callable[[], bool]) -> None:
    """Wait until it is so or the time is over."""
    deadline = time.monotonic() + seconds
    while not done() and time.monotonic() < deadline:
        triggerer.watch(1)


def _blocks(lags: Path, marks: list[float]) -> tuple[float, float, float]:
    pairs = [tuple(map(float, line.split())) for line in lags.read_text().splitlines()]
    starting, waiting, ending = (
        max((lag for moment, lag in pairs if begin <= moment < end), default=0.0) for begin, end in pairwise(marks)
    )
    return starting, waiting, ending


def _spread(delays: list[float]) -> tuple[float, float, float] | None:
    if len(delays) < 2:
        return None
    percentiles = quantiles(delays, n=100, method="inclusive")
    return percentiles[49], percentiles[94], max(delays)
