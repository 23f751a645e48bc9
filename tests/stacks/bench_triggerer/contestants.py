"""Who waits, and for what: nobody, triggers that only sleep, our sensor's trigger; the fourth is in `google_provider`.

Imported after the environment is set, as `waiters` is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import httpx
from airflow.triggers.base import BaseTrigger
from vertex_tuning.triggers import TuningJobTrigger

from tests.stacks.bench_triggerer import waiters
from tests.stacks.bench_triggerer.probe import Sleeper
from tests.support.emulator import classification_rows, upload

PROJECT: Final = "bench-project"
LOCATION: Final = "us-central1"
DAY: Final = 86_400


class Contestant:
    """Nobody waits: an idle triggerer. The others are made from this one."""

    title = "idle"
    task_id = waiters.OTHER
    environment: Mapping[str, str] = {}
    waits_for_jobs = False

    def triggers(self, count: int) -> list[BaseTrigger]:  # noqa: ARG002
        """What is to wait, in the order of the map indexes."""
        return []

    def calls(self) -> int:
        """Requests the API has had so far."""
        return 0

    def has_begun(self) -> bool:
        """Whether each job has been looked at, so that all imports and connections are made."""
        return True

    def end(self, seconds: float) -> None:
        """Let the jobs end one after the other within so many seconds, or a little more on a slow machine."""

    def ends(self) -> list[float]:
        """When each job ended, in Unix time."""
        return []


class Sleeping(Contestant):
    """They wait for nothing; one has looked up a connection, which any trigger must that asks anything.

    :param conn_id: that connection
    """

    title = "sleeping"

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id

    def triggers(self, count: int) -> list[BaseTrigger]:
        return [Sleeper(conn_id=self.conn_id if index == 0 else None) for index in range(count)]


class Tuning(Contestant):
    """Our sensor's trigger and the emulator's tuning jobs.

    :param url: of the emulator
    :param conn_id: the connection that leads there
    """

    title = "TuningJobTrigger"
    task_id = waiters.SENSOR
    waits_for_jobs = True

    def __init__(self, url: str, conn_id: str, interval: float) -> None:
        self.client = httpx.Client(base_url=url, timeout=30)
        self.conn_id = conn_id
        self.interval = interval
        self.names: list[str] = []

    def triggers(self, count: int) -> list[BaseTrigger]:
        # Each job runs until it is told to end.
        self._post("/_internal/lifecycle", {"manual": True, "script": [{"state": "JOB_STATE_RUNNING"}]})
        data = upload(str(self.client.base_url), "gs://bench/train.jsonl", classification_rows())
        job = {"baseModel": "gemini-2.5-flash", "supervisedTuningSpec": {"trainingDatasetUri": data}}
        parent = f"/v1/projects/{PROJECT}/locations/{LOCATION}/tuningJobs"
        self.names = [self._post(parent, job)["name"] for _ in range(count)]
        return [self._trigger(name) for name in self.names]

    def _trigger(self, name: str) -> TuningJobTrigger:
        return TuningJobTrigger(
            job_name=name,
            gcp_conn_id=self.conn_id,
            impersonation_chain=None,
            poll_interval=self.interval,
            end_time=time.time() + DAY,
            max_poll_failures=10,
            cancel_on_kill=True,
        )

    def calls(self) -> int:
        return sum(sum(by_status.values()) for by_status in self._counts().values())

    def has_begun(self) -> bool:
        return not {"tuningJobs.get", "tuningJobs.list"}.isdisjoint(self._counts())

    def _counts(self) -> dict[str, dict[str, int]]:
        answer = self.client.get("/_internal/requests", params={"method": "none"}).raise_for_status()
        counts: dict[str, dict[str, int]] = answer.json()["counts"]
        return counts

    def end(self, seconds: float) -> None:
        started = time.monotonic()
        for index, name in enumerate(self.names):
            time.sleep(max(0.0, started + seconds * index / len(self.names) - time.monotonic()))
            self._post(f"/_internal/tuningJobs/{name.rpartition('/')[2]}:advance", {})

    def ends(self) -> list[float]:
        jobs = [self.client.get(f"/v1/{name}").raise_for_status().json() for name in self.names]
        return [datetime.fromisoformat(job["endTime"]).timestamp() for job in jobs]

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.post(path, json=body).raise_for_status().json()
        return answer
