"""One poll for all who wait in the same place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from vertex_tuning.exceptions import VertexUnavailableError
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.job_poller import Failure, JobPoller, next_tick
from vertex_tuning.jobs.job import TuningJob, terminal_event

from tests.integration.conftest import LOCATION, connection, spec
from tests.integration.test_triggers import HOLD, event_of, waiting_for


def calls(emulator: str) -> dict[str, int]:
    counts = httpx.get(f"{emulator}/_internal/requests").raise_for_status().json()["counts"]
    return {method: sum(statuses.values()) for method, statuses in counts.items() if method.startswith("tuningJobs.")}


def forget_calls(emulator: str) -> None:
    httpx.delete(f"{emulator}/_internal/requests").raise_for_status()


def held_jobs(hook: VertexTuningHook, control: Callable[..., None], count: int) -> list[TuningJob]:
    control("lifecycle", labels={"held": "yes"}, script=HOLD)
    return [hook.create_tuning_job(spec(), {"held": "yes"}) for _ in range(count)]


async def polls(emulator: str, jobs: list[TuningJob], seconds: float) -> dict[str, int]:
    """The calls that waiting for so many jobs costs in so many seconds."""
    forget_calls(emulator)
    triggers = [waiting_for(job, poll_interval=1.0, end_time=time.time() + seconds) for job in jobs]
    events = await asyncio.gather(*(event_of(trigger) for trigger in triggers))
    assert {event["status"] for event in events} == {"timeout"}
    return calls(emulator)


async def test_more_waiters_make_no_more_calls(
    hook: VertexTuningHook, control: Callable[..., None], emulator: str
) -> None:
    jobs = held_jobs(hook, control, 40)
    one, forty = await polls(emulator, jobs[-1:], 3.5), await polls(emulator, jobs, 3.5)
    assert set(one) == set(forty) == {"tuningJobs.list"}
    assert forty["tuningJobs.list"] <= one["tuningJobs.list"] + 1


async def test_a_job_that_no_recent_page_shows_is_read_by_itself(
    hook: VertexTuningHook, control: Callable[..., None], emulator: str
) -> None:
    job = hook.create_tuning_job(spec(epoch_count=1), {})
    control("faults", method="tuningJobs.list", staleList=300.0)
    forget_calls(emulator)
    assert (await event_of(waiting_for(job, poll_interval=0.2)))["status"] == "succeeded"
    assert calls(emulator)["tuningJobs.get"] >= 1


async def test_one_job_that_cannot_be_read_is_not_the_others_trouble(
    hook: VertexTuningHook, control: Callable[..., None]
) -> None:
    job = hook.create_tuning_job(spec(epoch_count=1), {})
    missing = TuningJob(name=job.name[:-3] + "000")
    found, lost = await asyncio.gather(event_of(waiting_for(job)), event_of(waiting_for(missing)))
    assert (found["status"], lost["status"]) == ("succeeded", "error")


async def test_a_connection_that_was_mended_is_read_again(
    hook: VertexTuningHook, emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = hook.create_tuning_job(spec(epoch_count=1), {})
    monkeypatch.setenv("AIRFLOW_CONN_MENDED", connection("http://127.0.0.1:9"))
    waiting = asyncio.create_task(event_of(waiting_for(job, gcp_conn_id="mended", max_poll_failures=1000)))
    await asyncio.sleep(0.5)
    monkeypatch.setenv("AIRFLOW_CONN_MENDED", connection(emulator))
    assert (await waiting)["status"] == "succeeded"


async def test_the_event_loop_is_never_blocked(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    control("faults", method="tuningJobs.list", delay=1.0)
    jobs = held_jobs(hook, control, 3)
    waiting = [asyncio.create_task(event_of(waiting_for(job, end_time=time.time() + 2.5))) for job in jobs]
    worst, before = 0.0, time.perf_counter()
    while not all(task.done() for task in waiting):
        await asyncio.sleep(0.01)
        now = time.perf_counter()
        worst, before = max(worst, now - before), now
    assert worst < 0.5


async def test_only_those_whose_job_has_changed_are_woken(
    hook: VertexTuningHook, control: Callable[..., None], emulator: str
) -> None:
    first, second = held_jobs(hook, control, 2)
    await asyncio.sleep(0.5)  # until both run and change no more
    poller = JobPoller(lambda: GoogleConnection(location=LOCATION))
    with poller.watch(first.name, 0.1) as one, poller.watch(second.name, 0.1) as other:
        assert isinstance(await one.news(), TuningJob)
        assert isinstance(await other.news(), TuningJob)
        forget_calls(emulator)
        hook.cancel_tuning_job(second.name)
        while not (isinstance(look := await asyncio.wait_for(other.news(), 5), TuningJob) and terminal_event(look)):
            pass
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.news(), 1.0)
    assert calls(emulator)["tuningJobs.list"] >= 2


async def test_who_joins_late_is_told_what_the_others_know(
    hook: VertexTuningHook, control: Callable[..., None]
) -> None:
    [job] = held_jobs(hook, control, 1)
    poller = JobPoller(lambda: GoogleConnection(location=LOCATION))
    with poller.watch(job.name, 0.1) as early:
        await early.news()
        with poller.watch(job.name, 60.0) as late:
            assert isinstance(await asyncio.wait_for(late.news(), 5), TuningJob)


def test_all_who_look_equally_often_look_at_the_same_moments() -> None:
    for interval in (0.5, 7.0, 60.0):
        moment = (time.time() + next_tick(interval)) % interval
        assert min(moment, interval - moment) < 0.01


GOOD = "projects/1/locations/us-central1/tuningJobs/1"


class OddReader:
    """One job has ended; in the place of the other comes a proxy's page."""

    def recent(self) -> Iterator[tuple[str, bytes]]:
        yield GOOD, b'{"name": "%s", "state": "JOB_STATE_SUCCEEDED"}' % GOOD.encode()

    def get(self, _: str) -> bytes:
        return b"<html></html>"


def test_an_answer_that_cannot_be_read_does_not_swallow_the_others_news() -> None:
    poller = JobPoller(lambda: GoogleConnection(location=LOCATION))
    poller._reader = OddReader()  # type: ignore[assignment]
    for told in ("JOB_STATE_SUCCEEDED", None):
        looks = poller._read({GOOD, *(f"odd {number}" for number in range(8))})
        good = looks.pop(GOOD)
        assert (good.state if isinstance(good, TuningJob) else good) == told
        assert all(isinstance(look, VertexUnavailableError) for look in looks.values())


class BreakingReader:
    """One job has ended; the first time, the page after it does not come."""

    def __init__(self) -> None:
        self.errors = iter([VertexUnavailableError("The second page.")])

    def recent(self) -> Iterator[tuple[str, bytes]]:
        yield from OddReader().recent()
        if error := next(self.errors, None):
            raise error
        yield "other", b'{"name": "other"}'


async def test_a_list_that_breaks_off_does_not_swallow_the_news_before() -> None:
    poller = JobPoller(lambda: GoogleConnection(location=LOCATION))
    reader = BreakingReader()
    with poller.watch(GOOD, 0.1) as good, poller.watch("other", 0.1):
        poller._reader = reader  # type: ignore[assignment]
        assert isinstance(await asyncio.wait_for(good.news(), 5), Failure)
        poller._reader = reader  # type: ignore[assignment]
        assert isinstance(await asyncio.wait_for(good.news(), 5), TuningJob)
