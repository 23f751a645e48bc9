"""The ways a wait can go: the job ends, the deadline comes, polls fail for long or for a moment, a rival, a kill."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.jobs.job import IDENTITY_LABEL, TuningJob, terminal_event
from vertex_tuning.jobs.spec import identity_labels
from vertex_tuning.triggers import TuningJobTrigger

from tests.support.google_cloud import spec

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


async def test_gives_up_when_the_job_could_not_be_read_for_so_many_intervals(
    held: TuningJob, control: Callable[..., None]
) -> None:
    control("faults", method="tuningJobs.*", error={"code": 503, "message": "Down."})
    started = time.monotonic()
    event = await event_of(waiting_for(held, poll_interval=0.2, max_poll_failures=5))
    assert event["status"] == "error"
    assert re.match(r"Not read for \d+ s; the last error: .*Down\.", event["message"])
    assert time.monotonic() - started >= 1.0


async def test_an_eager_neighbour_does_not_use_up_the_time_of_a_patient_one(
    hook: VertexTuningHook, held: TuningJob, control: Callable[..., None]
) -> None:
    other = hook.create_tuning_job(spec(), {"held": "yes"})
    control("faults", method="tuningJobs.*", error={"code": 503, "message": "Down."})
    patient = asyncio.ensure_future(event_of(waiting_for(held, poll_interval=0.4, max_poll_failures=10)))
    eager = asyncio.ensure_future(event_of(waiting_for(other, poll_interval=0.05, max_poll_failures=1000)))
    done, _ = await asyncio.wait([patient], timeout=1.6)
    for waiting in (patient, eager):
        waiting.cancel()
    assert not done


@pytest.mark.parametrize("interval", [0, -60, float("nan"), float("inf")])
async def test_an_impossible_interval_is_refused_and_stops_nobody_elses_polls(
    hook: VertexTuningHook, held: TuningJob, interval: float
) -> None:
    job = hook.create_tuning_job(spec(epoch_count=1), {})
    others = asyncio.ensure_future(event_of(waiting_for(job)))
    with pytest.raises(ConfigurationError, match="poll_interval"):
        await waiting_for(held, poll_interval=interval).wait()
    assert (await others)["status"] == "succeeded"


async def test_recovers_from_passing_failures(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    job = hook.create_tuning_job(spec(), {})
    control("faults", method="tuningJobs.list", error={"code": 503}, count=2)
    control("faults", method="tuningJobs.list", drop="after", probability=0.2)
    assert (await event_of(waiting_for(job, max_poll_failures=100)))["status"] == "succeeded"


async def test_a_job_that_is_not_there_is_not_asked_for_again(held: TuningJob) -> None:
    event = await event_of(waiting_for(TuningJob(name=held.name + "0")))
    assert event["status"] == "error"
    assert "404" in event["message"]


def stopped(trigger: TuningJobTrigger, states: list[Any], monkeypatch: pytest.MonkeyPatch) -> TuningJobTrigger:
    """The trigger of a task instance whose states Airflow gives one after another, the last one for good."""
    trigger.task_instance = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=3)  # type: ignore[assignment]
    answers = list(states)

    def get_task_states(**query: Any) -> dict[str, dict[str, str | None]]:
        assert query == {"dag_id": "d", "run_ids": ["r"], "task_ids": ["t"], "map_index": 3}
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {"r": {} if answer == "gone" else {"t_3": answer}}

    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(get_task_states))
    trigger.flux_seconds = 0.05
    return trigger


@pytest.mark.parametrize(
    ("cancel_on_kill", "states", "cancelled"),
    [
        (True, ["failed"], True),
        (True, ["success"], True),
        (True, ["skipped"], True),
        (True, [None, "running"], True),  # cleared, and started again
        (False, ["failed"], False),
        (True, ["deferred"], False),  # handed to another triggerer
        (True, ["up_for_retry"], False),  # resumed and failed, in another triggerer's time
        (True, ["running", "deferred"], False),  # resumed for a moment, in another triggerer
        (True, ["gone"], False),  # the run was deleted
        (True, [RuntimeError("no answer")], False),
    ],
)
async def test_a_kill_cancels_the_job_only_when_the_task_was_stopped(
    held: TuningJob,
    hook: VertexTuningHook,
    monkeypatch: pytest.MonkeyPatch,
    cancel_on_kill: bool,
    states: list[Any],
    cancelled: bool,
) -> None:
    trigger = stopped(waiting_for(held, cancel_on_kill=cancel_on_kill), states, monkeypatch)
    waiting = asyncio.ensure_future(event_of(trigger))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await trigger.on_kill()
    assert hook.get_tuning_job(held.name).is_cancelled is cancelled


async def test_a_kill_of_a_trigger_without_a_task_cancels_nothing(held: TuningJob, hook: VertexTuningHook) -> None:
    await waiting_for(held).on_kill()
    assert not hook.get_tuning_job(held.name).is_cancelled


async def test_another_job_of_the_same_task_instance_is_noticed(
    hook: VertexTuningHook, control: Callable[..., None]
) -> None:
    labels = identity_labels(uuid4().hex, spec(), 1)
    control("lifecycle", labels={IDENTITY_LABEL: labels[IDENTITY_LABEL]}, script=HOLD)
    first, second = (hook.create_tuning_job(spec(), labels) for _ in range(2))
    event = await event_of(waiting_for(first, report_rivals=True))
    assert (event["status"], event["job_name"]) == ("rivals", first.name)
    assert second.name in event["message"]


async def test_cleanup_leaves_the_job_alone(held: TuningJob, hook: VertexTuningHook) -> None:
    await waiting_for(held).cleanup()
    assert terminal_event(hook.get_tuning_job(held.name)) is None
