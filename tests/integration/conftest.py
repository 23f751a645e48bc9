"""The local Google Cloud behind the connection `google_cloud_default`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.jobs.spec import TuningSpec

from tests.support.emulator import classification_rows, running_emulator, upload
from tests.support.proxy import Proxy, proxy_before

PROJECT = "test-project"
LOCATION = "us-central1"
TRAINING = "gs://data/train.jsonl"
VALIDATION = "gs://data/validation.jsonl"


def connection(url: str, **extra: Any) -> str:
    """A Google Cloud connection, as AIRFLOW_CONN_… holds it."""
    endpoints = {"vertex_api_endpoint": url, "storage_api_endpoint": url}
    return json.dumps(
        {
            "conn_type": "google_cloud_platform",
            "extra": {"project": PROJECT, "is_anonymous": True, **endpoints, **extra},
        }
    )


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    with running_emulator(concurrent_tuning_jobs=10_000) as url:
        httpx.post(f"{url}/storage/v1/b", params={"project": PROJECT}, json={"name": "bucket"}).raise_for_status()
        upload(url, TRAINING, classification_rows(120))
        upload(url, VALIDATION, classification_rows(24))
        yield url


@pytest.fixture(scope="session")
def cleaner() -> Iterator[httpx.Client]:
    """One for all tests: a client reads all CA certificates when it is made, which takes 50 ms."""
    with httpx.Client() as client:
        yield client


@pytest.fixture(autouse=True)
def google_cloud(emulator: str, cleaner: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Every test talks to the emulator, and leaves it without faults and scripts."""
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(emulator))
    yield emulator
    for kind in ("faults", "lifecycle", "requests"):
        cleaner.delete(f"{emulator}/_internal/{kind}").raise_for_status()


@pytest.fixture
def proxied(emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Something before the local Google Cloud that can answer in its place."""
    with proxy_before(emulator) as made:
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(made.url))
        yield made


@pytest.fixture
def control(emulator: str) -> Callable[..., None]:
    """Tell the emulator what goes wrong (`faults`) or how jobs run (`lifecycle`)."""

    def tell(kind: str, **rule: Any) -> None:
        httpx.post(f"{emulator}/_internal/{kind}", json=rule).raise_for_status()

    return tell


@pytest.fixture
def hook() -> VertexTuningHook:
    return VertexTuningHook(GoogleConnection(location=LOCATION))


@pytest.fixture
def storage() -> StorageHook:
    return StorageHook(GoogleConnection(location=LOCATION))


def spec(**fields: Any) -> TuningSpec:
    """A small job on data that is learnt in a moment."""
    given = {"base_model": "gemini-2.5-flash", "training_uri": TRAINING, "validation_uri": VALIDATION, "epoch_count": 3}
    return TuningSpec.parse(**{**given, **fields})


@pytest.fixture(scope="session")
def succeeded() -> dict[str, Any]:
    result: dict[str, Any] = {}
    return result


@pytest.fixture
def done(succeeded: dict[str, Any]) -> dict[str, Any]:
    """A job that has succeeded, as the create operator returns it."""
    from tests.support.tasks import TaskContext, create, execute

    if not succeeded:
        context = TaskContext("a run that succeeds")
        succeeded.update(execute(create(wait_for_completion=True, deferrable=False, epoch_count=6), context))
    return succeeded
