"""Messages of Pub/Sub become events of the dataset's asset. A message is acknowledged once its event is stored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import grpc
import pytest
import structlog
from airflow.serialization.encoders import encode_trigger
from airflow.triggers.shared_stream import SharedStreamManager
from vertex_tuning.history.run_history import history_folder
from vertex_tuning.new_data import BurstReader, NewDataTrigger

from tests.support.google_cloud import connection
from tests.support.pubsub import SUBSCRIPTION, PubsubService, running_pubsub

TRIGGER_ID = 7


@pytest.fixture
def pubsub(emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[PubsubService]:
    """A subscription behind the connection, and a trigger that waits for a fraction of a second."""
    for name, seconds in {"poll": 2.0, "quiet": 0.3, "burst": 3.0}.items():
        monkeypatch.setattr(BurstReader, f"{name}_seconds", seconds)
    monkeypatch.setattr(BurstReader, "pauses", (0.05,))
    monkeypatch.setattr(BurstReader, "least_pause", 0.01)
    with running_pubsub() as service:
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(emulator, pubsub_api_endpoint=service.url))
        yield service


class Triggerer:
    """The part of Airflow's triggerer that runs a trigger with a shared stream."""

    def __init__(self) -> None:
        self.streams = SharedStreamManager(log=structlog.get_logger())
        self.events: asyncio.Queue[tuple[dict[str, Any], int]] = asyncio.Queue()

    async def run(self, trigger: NewDataTrigger, trigger_id: int) -> None:
        key = trigger.shared_stream_key()
        stream = self.streams.subscribe(trigger_id=trigger_id, trigger=trigger, key=key)
        try:
            async for event in trigger.filter_shared_stream(stream):
                seq = self.streams.bind_pending_event(trigger_id=trigger_id, key=key)
                assert seq is not None
                self.events.put_nowait((event.payload, seq))
        finally:
            await self.streams.unsubscribe(trigger_id, key)

    async def event(self) -> tuple[dict[str, Any], int]:
        """The next event, and its number."""
        return await asyncio.wait_for(self.events.get(), 10)

    def store(self, *numbers: int) -> None:
        """Confirm that events are in Airflow's database."""
        self.streams.confirm_persisted(numbers)


@asynccontextmanager
async def triggerer(*subscriptions: str) -> AsyncIterator[Triggerer]:
    made = Triggerer()
    triggers = [NewDataTrigger(subscription=name) for name in subscriptions or [SUBSCRIPTION]]
    tasks = [asyncio.create_task(made.run(*each)) for each in zip(triggers, count(TRIGGER_ID), strict=False)]
    try:
        yield made
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - the service runs in other threads
            await asyncio.sleep(0.02)


async def test_files_that_arrive_together_make_one_event_that_names_them(pubsub: PubsubService) -> None:
    async with triggerer() as airflow:
        for number in range(5):
            pubsub.write(f"exports/{number}.jsonl")
            await asyncio.sleep(0.05)
        event, _ = await airflow.event()
        assert event == {"messages": 5, "objects": [f"gs://my-bucket/exports/{number}.jsonl" for number in range(5)]}
        await asyncio.sleep(0.5)
        assert airflow.events.empty()


async def test_a_message_is_acknowledged_once_its_event_is_stored(pubsub: PubsubService) -> None:
    async with triggerer() as airflow:
        message = pubsub.write("exports/a.jsonl")
        _, number = await airflow.event()
        await asyncio.sleep(0.3)
        assert (pubsub.acknowledged, pubsub.unacknowledged) == ([], {message})
        airflow.store(number)
        await until(lambda: pubsub.acknowledged == [message])


async def test_a_crash_before_the_event_is_stored_loses_nothing(pubsub: PubsubService) -> None:
    message = pubsub.write("exports/a.jsonl")
    async with triggerer() as airflow:
        await airflow.event()
    assert pubsub.unacknowledged == {message}
    pubsub.forget_leases()
    async with triggerer() as airflow:
        event, number = await airflow.event()
        assert event["objects"] == ["gs://my-bucket/exports/a.jsonl"]
        airflow.store(number)
        await until(lambda: pubsub.acknowledged == [message])


async def test_a_message_is_not_delivered_again_while_its_burst_lasts(pubsub: PubsubService) -> None:
    pubsub.ack_deadline = 0.01
    async with triggerer() as airflow:
        pubsub.write("exports/a.jsonl")
        event, _ = await airflow.event()
        assert event["messages"] == 1
        assert set(pubsub.extended) == {600}


async def test_what_is_no_new_data_is_acknowledged_and_starts_nothing(pubsub: PubsubService) -> None:
    folder = f"datasets/{'0a' * 32}"
    other = [
        pubsub.write("exports/a.jsonl", "OBJECT_DELETE"),
        pubsub.write("exports/a.jsonl", "OBJECT_METADATA_UPDATE"),
        pubsub.write(f"{folder}/training.jsonl"),
        pubsub.write(f"{folder}-{'1' * 16}/runs/{'2' * 16}/report.html"),
        pubsub.write(f"datasets/refused/{'2' * 16}/report.html"),
        pubsub.write(f"datasets/rollbacks/{'2' * 16}/report.json"),
        pubsub.write(f"datasets/notices/tickets/tests/retiring-{'2' * 32}.txt"),
        pubsub.write(history_folder("my-bucket", "tests", "tickets").removeprefix("gs://my-bucket/") + "/index.json"),
    ]
    async with triggerer() as airflow:
        await until(lambda: sorted(pubsub.acknowledged) == other)
        new = [pubsub.write("datasets/mine/a.jsonl"), pubsub.publish(), pubsub.publish(eventType="OBJECT_FINALIZE")]
        event, _ = await airflow.event()
        assert event == {"messages": len(new), "objects": ["gs://my-bucket/datasets/mine/a.jsonl"]}


async def test_an_event_names_some_of_many_files(pubsub: PubsubService) -> None:
    for number in range(1200):
        pubsub.write(f"exports/{number}.jsonl")
    async with triggerer() as airflow:
        event, number = await airflow.event()
        assert (event["messages"], len(event["objects"])) == (1200, 100)
        airflow.store(number)
        await until(lambda: len(pubsub.acknowledged) == 1200)


async def test_two_tunings_that_watch_one_subscription_both_get_its_event(pubsub: PubsubService) -> None:
    async with triggerer(SUBSCRIPTION, SUBSCRIPTION) as airflow:
        message = pubsub.write("exports/a.jsonl")
        (first, one), (second, two) = await airflow.event(), await airflow.event()
        assert first == second
        airflow.store(one)
        await asyncio.sleep(0.2)
        assert pubsub.acknowledged == []
        airflow.store(two)
        await until(lambda: pubsub.acknowledged == [message])


async def test_errors_of_the_service_do_not_end_the_watch(
    pubsub: PubsubService, caplog: pytest.LogCaptureFixture
) -> None:
    refusals = [grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND]
    pubsub.failures |= {"Pull": refusals, "Acknowledge": [grpc.StatusCode.PERMISSION_DENIED]}
    async with triggerer() as airflow:
        await until(lambda: not pubsub.failures["Pull"])
        message = pubsub.write("exports/a.jsonl")
        _, number = await airflow.event()
        airflow.store(number)
        await until(lambda: not pubsub.failures["Acknowledge"])
        assert pubsub.unacknowledged == {message}
        pubsub.forget_leases()
        _, number = await airflow.event()
        airflow.store(number)
        await until(lambda: pubsub.acknowledged == [message])
    assert f"{SUBSCRIPTION} cannot be read; next attempt in 0 s: PermissionDenied" in caplog.text
    assert "1 of its messages not acknowledged: PermissionDenied" in caplog.text


async def test_a_subscription_that_is_missing_is_named(pubsub: PubsubService, caplog: pytest.LogCaptureFixture) -> None:
    async with triggerer("projects/test-project/subscriptions/other"):
        await until(lambda: "other cannot be read" in caplog.text)
    assert "NotFound: 404 Resource not found (resource=projects/test-project/subscriptions/other)." in caplog.text


def test_the_stored_trigger_has_no_credential() -> None:
    trigger = NewDataTrigger(subscription=SUBSCRIPTION, impersonation_chain=["a@example.com", "b@example.com"])
    stored = encode_trigger(trigger)
    assert stored["classpath"] == "vertex_tuning.new_data.NewDataTrigger"
    assert set(stored["kwargs"]) == {"subscription", "gcp_conn_id", "impersonation_chain"}
    assert json.loads(json.dumps(stored)) == stored
    classpath, arguments = trigger.serialize()
    again = NewDataTrigger(**arguments)
    assert again.serialize() == (classpath, arguments)
    assert again.shared_stream_key() == trigger.shared_stream_key()
