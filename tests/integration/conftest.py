"""The local Google Cloud behind the connection `google_cloud_default`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from uuid import uuid4

import httpx
import pytest
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.jobs.submission import SearchTiming
from vertex_tuning.operators.tuning_job import CancelUnfinishedJobsOperator

from tests.support.emulator import classification_rows, one_certificate, running_emulator, tell, upload
from tests.support.google_cloud import LOCATION, PROJECT, TRAINING, VALIDATION, connection, spec
from tests.support.proxy import Proxy, proxy_before
from tests.support.scripted_jobs import ScriptedJobs
from tests.support.tasks import TaskContext, create, execute

__all__ = ["LOCATION", "PROJECT", "TRAINING", "VALIDATION", "connection", "spec"]

Control = Callable[..., None]


@pytest.fixture(scope="session", autouse=True)
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with one_certificate(tmp_path_factory.mktemp("certificates")):
        yield


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    with running_emulator(concurrent_tuning_jobs=10_000) as url:
        httpx.post(f"{url}/storage/v1/b", params={"project": PROJECT}, json={"name": "bucket"}).raise_for_status()
        upload(url, TRAINING, classification_rows(120))
        upload(url, VALIDATION, classification_rows(24))
        yield url


@pytest.fixture(scope="session")
def cleaner() -> Iterator[httpx.Client]:
    """One client for all tests."""
    with httpx.Client() as client:
        yield client


@pytest.fixture(autouse=True)
def google_cloud(emulator: str, cleaner: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Every test talks to the emulator, and leaves its log of requests empty."""
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(emulator))
    yield emulator
    cleaner.delete(f"{emulator}/_internal/requests").raise_for_status()


@pytest.fixture
def proxied(emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Something before the local Google Cloud that can answer in its place."""
    with proxy_before(emulator) as made:
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(made.url))
        yield made


@pytest.fixture
def control(google_cloud: str, cleaner: httpx.Client) -> Iterator[Control]:
    """Tell the emulator what goes wrong (`faults`) or how jobs run (`lifecycle`), until the test ends."""
    told = set()

    def tell(kind: str, **rule: Any) -> None:
        told.add(kind)
        cleaner.post(f"{google_cloud}/_internal/{kind}", json=rule).raise_for_status()

    yield tell
    for kind in told:
        cleaner.delete(f"{google_cloud}/_internal/{kind}").raise_for_status()


@pytest.fixture
def jobs(control: Control, hook: VertexTuningHook) -> ScriptedJobs:
    """The jobs of this test."""
    return ScriptedJobs(control, hook)


@pytest.fixture
def context() -> TaskContext:
    """Of a task in a run of this test's own."""
    return TaskContext(uuid4().hex)


@pytest.fixture
def crowded(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A service with quota for one job, which refuses the next."""
    with running_emulator(concurrent_tuning_jobs=1, quota_mode="refuse") as url:
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(url))
        for uri in (TRAINING, VALIDATION):
            upload(url, uri, classification_rows(24))
        yield url


@pytest.fixture
def crowded_jobs(crowded: str) -> ScriptedJobs:
    """The jobs of this test in the crowded service."""
    return ScriptedJobs(partial(tell, crowded), VertexTuningHook(GoogleConnection(location=LOCATION)))


@pytest.fixture
def hook() -> VertexTuningHook:
    return VertexTuningHook(GoogleConnection(location=LOCATION))


@pytest.fixture
def storage() -> StorageHook:
    return StorageHook(GoogleConnection(location=LOCATION))


@pytest.fixture(scope="session")
def succeeded() -> dict[str, Any]:
    result: dict[str, Any] = {}
    return result


@pytest.fixture
def done(succeeded: dict[str, Any]) -> dict[str, Any]:
    """A job that has succeeded, as the create operator returns it."""
    if not succeeded:
        context = TaskContext("a run that succeeds")
        succeeded.update(execute(create(wait_for_completion=True, deferrable=False, epoch_count=6), context))
    return succeeded


@pytest.fixture(scope="session", autouse=True)
def quick_whole_runs() -> Iterator[None]:
    """The teardown of a whole run searches briefly: the local Google Cloud lists a new job at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CancelUnfinishedJobsOperator, "search_timing", SearchTiming(list_lag=0.5))
        patch.setattr(CancelUnfinishedJobsOperator, "search_pause", 0.1)
        yield
