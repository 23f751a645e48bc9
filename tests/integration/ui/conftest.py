"""Airflow's API server in this process, with the plugin of the project's folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI
from fastapi.routing import Mount
from fastapi.testclient import TestClient
from vertex_tuning.deployment import deployment_id
from vertex_tuning.history.run_history import HistoryIndex, IndexEntry, history_folder, keep_record
from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.ui.addresses import URL_PREFIX
from vertex_tuning.ui.app import create_tunings_app

from tests.support.dag_access import OWNER
from tests.support.google_cloud import LOCATION
from tests.support.paths import PROJECT_DIR

BUCKET = "ui-bucket"
BUNDLE = "dags-folder"
TUNINGS = ("alpha", "beta")

Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def tunings_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tunings")


@pytest.fixture
def tunings(tunings_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the tunings alpha and beta."""
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__TUNINGS_DIRS", str(tunings_dir))
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_LOCATION", LOCATION)
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_BUCKET", BUCKET)
    sample = PROJECT_DIR / "include" / "tunings" / "support_triage.yaml"
    for name in TUNINGS:
        shutil.copy(sample, tunings_dir / f"{name}.yaml")
    yield tunings_dir
    for path in tunings_dir.iterdir():
        path.unlink()


@pytest.fixture(scope="session")
def _database(airflow_db: None) -> None:
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    with create_session() as session:
        if session.get(DagBundleModel, BUNDLE) is None:
            session.add(DagBundleModel(name=BUNDLE))
            session.flush()
        for name in TUNINGS:
            for kind in ("retrain", "rollback"):
                session.add(
                    DagModel(dag_id=f"{kind}_{name}", bundle_name=BUNDLE, is_stale=False, is_paused=False, fileloc="x")
                )


@pytest.fixture(scope="session")
def airflow_app(_database: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    from airflow.api_fastapi.app import create_app, purge_cached_app

    settings = {
        "AIRFLOW__CORE__AUTH_MANAGER": "tests.support.dag_access.DagAccessManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "owner:admin,alpha:viewer,beta:viewer,noruns:viewer",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(tmp_path_factory.mktemp("auth") / "passwords.json"),
        "AIRFLOW__API_AUTH__JWT_SECRET": "secret of sixty-four characters, " * 2,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        purge_cached_app()
        yield create_app("core")
        purge_cached_app()


@pytest.fixture
def server(airflow_app: FastAPI, tunings: Path) -> Iterator[TestClient]:
    """The API server. Nothing is in the caches of the plugin's application, which is a new one."""
    [mount] = [route for route in airflow_app.routes if isinstance(route, Mount) and route.path == URL_PREFIX]
    mount.app = create_tunings_app()
    with TestClient(airflow_app, follow_redirects=False) as client:
        yield client


@pytest.fixture
def ask(server: TestClient) -> Ask:
    """Send a GET request as a user; without a name, as nobody."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    def get(path: str, user: str | None = OWNER) -> Any:
        headers = {}
        if user:
            token = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=user, role="viewer"))
            headers["Authorization"] = f"Bearer {token}"
        return server.get(f"/vertex-tuning{path}", headers=headers)

    return get


@pytest.fixture
def folder_of(storage: StorageHook) -> Iterator[Callable[[str], str]]:
    """The folder of a tuning's history; the objects of these folders are deleted afterwards."""
    used: list[str] = []

    def of(tuning: str) -> str:
        used.append(history_folder(BUCKET, deployment_id(), tuning))
        return used[-1]

    yield of
    bucket = storage.storage.bucket(BUCKET)
    for folder in set(used):
        for blob in list(bucket.list_blobs(prefix=f"{folder.partition(BUCKET)[2].strip('/')}/")):
            blob.delete()


@pytest.fixture
def keep(storage: StorageHook, folder_of: Callable[[str], str], google_cloud: str) -> Callable[..., RunRecord]:
    """Write a record to the history of a tuning."""
    _make_bucket(google_cloud)

    def write(number: int, tuning: str = "alpha", **fields: Any) -> RunRecord:
        record = made(number, tuning, **fields)
        keep_record(storage, folder_of(tuning), record)
        return record

    return write


def _make_bucket(url: str) -> None:
    from tests.support.emulator import upload

    upload(url, f"gs://{BUCKET}/empty", b"")


def made(number: int, tuning: str = "alpha", **fields: Any) -> RunRecord:
    """A record of a run; the runs are an hour apart."""
    given = {
        "tuning": tuning,
        "key": f"{number:016x}",
        "kind": "retraining",
        "dag_id": f"retrain_{tuning}",
        "run_id": f"manual__{number}",
        "started": f"2026-0{number // 600 % 9 + 1}-{number // 24 % 25 + 1:02}T{number % 24:02}:00:00Z",
        "ended": f"2026-0{number // 600 % 9 + 1}-{number // 24 % 25 + 1:02}T{number % 24:02}:40:00Z",
        "outcome": "promoted",
        "title": "Promoted",
        "reasons": ["The new model is better."],
        "model": f"projects/1/locations/{LOCATION}/models/{1000 + number}@1",
        "job": f"projects/1/locations/{LOCATION}/tuningJobs/{1000 + number}",
        "experiment": f"projects/1/locations/{LOCATION}/metadataStores/default/contexts/tuning-{number}",
        "value": "sample.exact_share",
        "score": {"value": 0.8 + number % 10 / 100, "lower": 0.75, "upper": 0.92, "examples": 400},
        "gain": {
            "observed": 0.02, "lower": 0.001, "upper": 0.04, "confidence": 0.95, "examples": 400, "better": 20,
            "worse": 12,
        },
        "training_loss": 0.31,
        "validation_loss": 0.42,
        "cost": 1.25,
        "currency": "USD",
        "report_uri": f"gs://{BUCKET}/datasets/run-{number}/report.html",
        "metrics_uri": f"gs://{BUCKET}/datasets/run-{number}/metrics.json",
    }  # fmt: skip
    return msgspec.convert({**given, **fields}, RunRecord)


def write_history(storage: StorageHook, folder: str, records: list[RunRecord]) -> None:
    """Write a whole history with a fresh index."""
    entries = {}
    for record in records:
        storage.write_object(f"{folder}/{record.key}.json", msgspec.json.encode(record), "application/json")
    for found in storage.list_objects(f"{folder}/*.json"):
        key = found.uri.rpartition("/")[2].removesuffix(".json")
        entries[key] = IndexEntry(found.generation, next(record for record in records if record.key == key))
    storage.write_object(f"{folder}/index.json", msgspec.json.encode(HistoryIndex(runs=entries)), "application/json")
