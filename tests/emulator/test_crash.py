"""Killed between any two changes: after a restart nothing of a job is there twice, and nothing is lost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from include.gcp_emulator.app import Emulator
from tests.emulator.jobs import request
from tests.emulator.vertex import LOCATION
from tests.support.emulator import FAST, classification_rows
from tests.support.waiting import wait_until_async

MADE_BY_A_JOB = {
    "tuningJobs": 1,
    "models": 1,
    "endpoints": 2,
    "contexts": 2,
    "artifacts": 1,
    "tensorboards": 1,
    "tensorboardExperiments": 1,
    "tensorboardRuns": 1,
    "timeSeries": 3,
}


class Process:
    """An emulator without a socket, and what a client says to it."""

    def __init__(self, emulator: Emulator, client: httpx.AsyncClient) -> None:
        self.emulator, self.client = emulator, client

    async def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        response = await self.client.request(method, path, json=body)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    async def get(self, name: str) -> dict[str, Any]:
        return await self.call("GET", f"/v1/{name}")

    async def tune(self, **fields: Any) -> dict[str, Any]:
        return await self.call("POST", f"/v1/{LOCATION}/tuningJobs", request(**fields))

    async def rebase(self, job: dict[str, Any], **fields: Any) -> dict[str, Any]:
        body = {"tunedModelRef": {"tuningJob": job["name"]}} | fields
        return await self.call("POST", f"/v1/{LOCATION}/tuningJobs:rebaseTunedModel", body)

    async def upload(self) -> None:
        await self.call("POST", "/storage/v1/b?project=p", {"name": "datasets"})
        rows = "\n".join(map(json.dumps, classification_rows(12)))
        path = "/upload/storage/v1/b/datasets/o?uploadType=media&name=train.jsonl"
        (await self.client.post(path, content=rows)).raise_for_status()

    async def all_ended(self) -> None:
        await wait_until_async(lambda: not self.emulator.tuning.lifecycle.active, pause=0.01)


@asynccontextmanager
async def process(data_dir: Path) -> AsyncIterator[Process]:
    emulator = Emulator(replace(FAST, data_dir=data_dir))
    app = Starlette(routes=emulator.routes)
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://emulator")
    async with emulator.lifespan(app), client:
        yield Process(emulator, client)


def kill_after(db: sqlite3.Connection, kind: str, writes: int = 1, containing: str = "") -> None:
    """Let so many resources of a kind be written, and nothing at all from then on, as if the process were gone.

    :param containing: only count those with this in their body
    """
    left = writes

    def gone(written: str, body: str) -> bool:
        nonlocal left
        dead = left <= 0
        left -= written == kind and containing in body
        return dead

    db.create_function("gone", 2, gone)
    for place, (change, row) in enumerate(
        (("INSERT ON resource", "NEW.kind, NEW.body"), ("DELETE ON resource", "'', ''"), ("INSERT ON point", "'', ''"))
    ):
        stop = f"SELECT RAISE(ABORT, 'killed') WHERE gone({row})"
        db.execute(f"CREATE TEMP TRIGGER kill_{place} BEFORE {change} BEGIN {stop}; END")


@pytest.mark.parametrize(
    ("kind", "writes"),
    [
        ("tuningJobs", 1), ("tuningJobs", 3), ("contexts", 1), ("contexts", 2), ("artifacts", 1), ("timeSeries", 1),
        ("models", 1), ("models", 2), ("endpoints", 1), ("endpoints", 2), ("endpoints", 4),
    ],
)  # fmt: skip
async def test_a_job_is_never_doubled(tmp_path: Path, kind: str, writes: int) -> None:
    async with process(tmp_path) as killed:
        await killed.upload()
        kill_after(killed.emulator.store.db, kind, writes)
        job = await killed.tune()
        await killed.all_ended()
        assert (await killed.get(job["name"]))["state"] != "JOB_STATE_SUCCEEDED"
    async with process(tmp_path) as again:
        await again.all_ended()
        assert (await again.get(job["name"]))["state"] == "JOB_STATE_SUCCEEDED"
        found = again.emulator.store.everything()
        assert {made: len(found[made]) for made in MADE_BY_A_JOB} == MADE_BY_A_JOB
        assert len(set(found["points"].values())) == 1


async def test_a_rebase_cut_off_at_its_end_keeps_the_endpoint_it_takes_over(tmp_path: Path) -> None:
    async with process(tmp_path) as killed:
        await killed.upload()
        old = await killed.tune(exportLastCheckpointOnly=True)
        await killed.all_ended()
        kill_after(killed.emulator.store.db, "endpoints")
        operation = await killed.rebase(old, deployToSameEndpoint=True)
        await killed.all_ended()
    async with process(tmp_path) as again:
        await again.all_ended()
        endpoint = (await again.get(old["name"]))["tunedModel"]["endpoint"]
        assert (await again.get(endpoint))["deployedModels"]
        assert (await again.get(operation["name"]))["response"]["tunedModel"]["endpoint"] == endpoint


async def test_an_operation_whose_job_has_ended_ends_after_a_kill(tmp_path: Path) -> None:
    async with process(tmp_path) as killed:
        await killed.upload()
        old = await killed.tune()
        await killed.all_ended()
        kill_after(killed.emulator.store.db, "tuningJobs", containing='"JOB_STATE_SUCCEEDED"')
        operation = await killed.rebase(old)
        await killed.all_ended()
    async with process(tmp_path) as again:
        await again.all_ended()
        assert (await again.get(operation["name"]))["done"] is True
