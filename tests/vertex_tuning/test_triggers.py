"""The five ways waiting can go: the job ends, the deadline comes, the looks fail for good, fail in passing, a kill."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from vertex_tuning.hooks.tuning import VertexTuningHook
from vertex_tuning.jobs import TuningJob, terminal_event
from vertex_tuning.triggers import TuningJobTrigger

from tests.vertex_tuning.conftest import spec

HOLD = [{"state": "JOB_STATE_RUNNING", "seconds": 600}]


def waiting_for(job: TuningJob, **arguments: Any) -> TuningJobTrigger:
    defaults: dict[str, Any] = {
        "job_name": job.name,
        "gcp_conn_id": "google_cloud_default",
        "impersonation_chain": None,
        "poll_interval": 0.05,
        "end_time": time.time() + 60,
        "max_poll_failures": 3,
        "cancel_on_kill": True,
    }
    return TuningJobTrigger(**{**defaults, **arguments})


async def event_of(trigger: TuningJobTrigger) -> dict[str, Any]:
    events = [event.payload async for event in trigger.run()]
    assert len(events) == 1
    payload: dict[str, Any] = events[0]
    return payload


@pytest.fixture
def held(hook: VertexTuningHook, control: Callable[..., None]) -> TuningJob:
    """A job that runs until it is cancelled."""
    control("lifecycle", labels={"held": "yes"}, script=HOLD)
    return hook.create_tuning_job(spec(), {"held": "yes"})


async def test_fires_when_the_job_has_ended_and_says_each_change_once(
    hook: VertexTuningHook, capsys: pytest.CaptureFixture[str]
) -> None:
    job = hook.create_tuning_job(spec(), {})
    event = await event_of(waiting_for(job, poll_interval=0.01))
    assert (event["status"], event["job_name"]) == ("succeeded", job.name)
    assert TuningJob.parse(event["job"]).tuned_model is not None
    changes = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines() if job.name in line]
    assert changes
    assert len(changes) == len(set(changes))


async def test_fires_when_the_job_fails_with_the_services_words(
    hook: VertexTuningHook, control: Callable[..., None]
) -> None:
    control("lifecycle", labels={"fails": "yes"}, failure={"code": 3, "message": "The data is odd.", "step": 1})
    event = await event_of(waiting_for(hook.create_tuning_job(spec(), {"fails": "yes"})))
    assert event["status"] == "failed"
    assert event["job"]["error"] == {"code": 3, "message": "The data is odd."}


async def test_fires_at_the_deadline(held: TuningJob) -> None:
    started = time.time()
    event = await event_of(waiting_for(held, end_time=started + 0.5, poll_interval=30))
    assert event["status"] == "timeout"
    assert 0.4 < time.time() - started < 5


async def test_gives_up_after_so_many_failures_in_a_row(held: TuningJob, control: Callable[..., None]) -> None:
    control("faults", method="tuningJobs.*", error={"code": 503, "message": "Down."})
    event = await event_of(waiting_for(held))
    assert event["status"] == "error"
    assert "3 failed looks in a row" in event["message"]
    assert "Down." in event["message"]


async def test_recovers_from_passing_failures(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    job = hook.create_tuning_job(spec(), {})
    control("faults", method="tuningJobs.list", error={"code": 503}, count=2)
    control("faults", method="tuningJobs.list", drop="after", probability=0.2)
    assert (await event_of(waiting_for(job, max_poll_failures=5)))["status"] == "succeeded"


async def test_a_job_that_is_not_there_is_not_asked_for_again(held: TuningJob) -> None:
    event = await event_of(waiting_for(TuningJob(name=held.name + "0")))
    assert event["status"] == "error"
    assert "404" in event["message"]


@pytest.mark.parametrize(("cancel_on_kill", "state"), [(True, "CANCELLED"), (False, "RUNNING")])
async def test_a_kill_cancels_the_job_if_it_shall(
    held: TuningJob, hook: VertexTuningHook, cancel_on_kill: bool, state: str
) -> None:
    trigger = waiting_for(held, cancel_on_kill=cancel_on_kill)
    waiting = asyncio.ensure_future(event_of(trigger))
    await asyncio.sleep(0.3)
    waiting.cancel()
    await trigger.on_kill()
    await asyncio.sleep(0.5)
    assert hook.get_tuning_job(held.name).state == f"JOB_STATE_{state}"


async def test_cleanup_leaves_the_job_alone(held: TuningJob, hook: VertexTuningHook) -> None:
    await waiting_for(held).cleanup()
    assert terminal_event(hook.get_tuning_job(held.name)) is None


def test_it_is_made_again_from_what_it_serialises_and_holds_no_credential(held: TuningJob) -> None:
    trigger = waiting_for(held)
    path, arguments = trigger.serialize()
    assert path == "vertex_tuning.triggers.TuningJobTrigger"
    assert TuningJobTrigger(**arguments).serialize() == trigger.serialize()
    assert not {"credentials", "token", "keyfile"} & set(arguments)
