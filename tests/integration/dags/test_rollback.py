"""The way back, against the local Google Cloud, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from vertex_tuning.deployment import deployment_id
from vertex_tuning.history.run_history import history_folder, read_history
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.registry.aliases import CHAMPION, PREVIOUS, ROLLED_BACK

from tests.support.emulator import classification_rows, running_emulator, upload
from tests.support.google_cloud import LOCATION, TRAINING, VALIDATION, connection
from tests.support.lineage import aliases, train

TUNING = "support_triage"
HISTORY = history_folder("data", deployment_id(), TUNING)


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    with running_emulator(concurrent_tuning_jobs=100) as url:
        upload(url, TRAINING, classification_rows(120))
        upload(url, VALIDATION, classification_rows(24))
        yield url


@pytest.fixture
def dag(project_dir: Path, emulator: str, airflow_db: None, monkeypatch: pytest.MonkeyPatch) -> DAG:
    """The project's DAG, about other messages: the tuning's own model takes long to learn."""
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(emulator))
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_LOCATION", "us-central1")
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_BUCKET", "data")
    dag = DagBag(dag_folder=str(project_dir / "dags" / "rollback.py")).dags[f"rollback_{TUNING}"]
    prompt = "My card is late, message 3."
    monkeypatch.setattr(dag.task_dict["smoke_test"], "cases", [{"prompt": prompt, "equals": "late"}])
    return dag


@pytest.fixture
def models(dag: DAG, emulator: str) -> Iterator[tuple[str, str]]:
    """The previous model and the one in use."""
    found = [
        job.tuned_model.model for job in (train(TUNING, epoch_count=6), train(TUNING, epoch_count=1)) if job.tuned_model
    ]
    previous, champion = found
    registry = RegistryHook(GoogleConnection(location=LOCATION))
    registry.merge_aliases(previous, [PREVIOUS])
    registry.merge_aliases(champion, [CHAMPION])
    yield previous, champion
    for model in found:
        registry.merge_aliases(model, [f"-{alias}" for alias in (CHAMPION, PREVIOUS, ROLLED_BACK)])


def run(dag: DAG) -> tuple[str, dict[str, str], Any]:
    """:returns: the run's state, each task's, and the rollback's result"""
    dag_run = dag.test()
    instances = {instance.task_id: instance for instance in dag_run.get_task_instances()}
    states = {task_id: str(instance.state) for task_id, instance in instances.items()}
    return str(dag_run.state), states, instances["roll_back"].xcom_pull(task_ids="roll_back")


def test_the_previous_model_is_in_use_again_after_its_smoke_test(dag: DAG, models: tuple[str, str]) -> None:
    previous, champion = models
    state, states, result = run(dag)
    assert state == "success", states
    assert (result["model"], result["rolled_back"]) == (previous, champion)
    assert aliases(TUNING) == {previous: [CHAMPION], champion: [ROLLED_BACK]}
    state, states, _ = run(dag)
    assert (state, states["find_previous"], states["roll_back"]) == ("failed", "failed", "upstream_failed")
    assert aliases(TUNING) == {previous: [CHAMPION], champion: [ROLLED_BACK]}


def test_it_says_what_it_found_and_leaves_a_report(
    dag: DAG, models: tuple[str, str], emulator: str, capfd: Any
) -> None:
    previous, champion = models
    dag_run = dag.test()
    log = capfd.readouterr().out
    for told in (f"In use: {champion}", f"Before it: {previous}", f"Now in use: {previous}"):
        assert told in log
    [report] = [one for one in dag_run.get_task_instances() if one.task_id == "write_report"]
    result = report.xcom_pull(task_ids="write_report")
    assert (result["verdict"], str(dag_run.state)) == ("rolled_back", "success")
    page = httpx.get(result["report_url"]).raise_for_status().text
    for told in ("The previous model is in use again.", previous, champion, "My card is late, message 3."):
        assert told in page
    assert "/rollbacks/" in result["report_uri"]
    record = read_history(StorageHook(GoogleConnection(location=LOCATION)), HISTORY).records[0]
    assert (record.kind, record.outcome, record.run_id) == ("rollback", "rolled_back", dag_run.run_id)
    assert (record.model, record.compared_model) == (previous, champion)
    assert record.started


def test_one_that_cannot_be_done_leaves_a_report_too(dag: DAG, emulator: str) -> None:
    dag_run = dag.test()
    [report] = [one for one in dag_run.get_task_instances() if one.task_id == "write_report"]
    result = report.xcom_pull(task_ids="write_report")
    assert (result["verdict"], str(dag_run.state)) == ("failed", "failed")
    assert "nothing to go back to" in httpx.get(result["report_url"]).text


def test_one_that_fails_its_smoke_test_stays_out(
    dag: DAG, models: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    previous, champion = models
    monkeypatch.setattr(dag.task_dict["smoke_test"], "cases", [{"prompt": "My card is late.", "equals": "never said"}])
    state, states, _ = run(dag)
    assert (state, states["smoke_test"], states["roll_back"]) == ("failed", "failed", "upstream_failed")
    assert aliases(TUNING) == {previous: [PREVIOUS], champion: [CHAMPION]}


def test_one_whose_endpoint_is_gone_stays_out(dag: DAG, models: tuple[str, str], emulator: str) -> None:
    previous, champion = models
    for endpoint in RegistryHook(GoogleConnection(location=LOCATION)).get(previous).endpoints:
        [deployed] = httpx.get(f"{emulator}/v1/{endpoint}").json()["deployedModels"]
        body = {"deployedModelId": deployed["id"]}
        httpx.post(f"{emulator}/v1/{endpoint}:undeployModel", json=body).raise_for_status()
    state, states, _ = run(dag)
    assert (state, states["find_previous"]) == ("failed", "failed")
    assert aliases(TUNING) == {previous: [PREVIOUS], champion: [CHAMPION]}


def test_it_is_started_by_hand_only_and_tells_of_the_model(dag: DAG) -> None:
    assert dag.timetable.can_be_scheduled is False
    assert dag.is_paused_upon_creation is False  # or a rollback would wait until somebody finds the switch
    assert [asset.name for asset in dag.task_dict["roll_back"].outlets] == [f"{TUNING}_model"]
    assert "previous model" in (dag.doc_md or "")
