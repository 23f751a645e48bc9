"""Lineage as Airflow's OpenLineage provider writes it, by its transport to a file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.emulator import running_emulator
from tests.support.google_cloud import connection

pytest.importorskip("airflow.providers.openlineage", reason="the extra `openlineage` is not installed")

BUCKET = "tuning-data"
TUNING = "support_triage"
RUN = """
import json, pathlib, sys
from airflow.dag_processing.dagbag import DagBag
dag_run = DagBag(dag_folder=sys.argv[1]).dags[sys.argv[2]].test(run_conf=json.loads(sys.argv[3]))
states = {instance.task_id: str(instance.state) for instance in dag_run.get_task_instances()}
pathlib.Path(sys.argv[4]).write_text(json.dumps(states))
"""

Dataset = tuple[str, str]
"""Namespace and name."""


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    with running_emulator(concurrent_tuning_jobs=100) as url:
        httpx.post(f"{url}/storage/v1/b", params={"project": "p"}, json={"name": BUCKET}).raise_for_status()
        yield url


@pytest.fixture(scope="module")
def project(project_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("project")
    for folder in ("dags", "include/tunings", "include/data"):
        shutil.copytree(project_dir / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.fixture(scope="module")
def events(project: Path, emulator: str, airflow_db: None) -> list[dict[str, Any]]:
    """The events of a run that promotes its model."""
    states, found = run(project, emulator, f"retrain_{TUNING}", epoch_count=3)
    assert states["promote_model"] == "success", states
    return found


def run(project: Path, emulator: str, dag_id: str, **conf: Any) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Run a DAG in a new process, because the provider reads its settings once.

    :returns: the state of each task, and the events in their order
    """
    file, states = project / "events.jsonl", project / "states.json"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": connection(emulator),
        "AIRFLOW_VAR_VERTEX_TUNING_BUCKET": BUCKET,
        "AIRFLOW_VAR_VERTEX_TUNING_LOCATION": "us-central1",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps({"type": "file", "log_file_path": str(file), "append": True}),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "tests",
    }
    words = [sys.executable, "-c", RUN, str(project / "dags"), dag_id, json.dumps(conf), str(states)]
    done = subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    events = [json.loads(line) for line in file.read_text().splitlines()]
    file.unlink()
    return json.loads(states.read_text()), events


def datasets(event: dict[str, Any], side: str) -> list[Dataset]:
    return [(dataset["namespace"], dataset["name"]) for dataset in event.get(side, [])]


def completed(events: list[dict[str, Any]], task: str) -> dict[str, Any]:
    [event] = [one for one in events if one["eventType"] == "COMPLETE" and one["job"]["name"].endswith(f".{task}")]
    return event


def reachable(events: list[dict[str, Any]], start: Dataset) -> set[Dataset]:
    """All datasets that come from a dataset, by any number of tasks."""
    following: dict[Dataset, set[Dataset]] = defaultdict(set)
    for event in events:
        for source in datasets(event, "inputs"):
            following[source] |= set(datasets(event, "outputs"))
    seen, at = set[Dataset](), {start}
    while at:
        seen |= at
        at = {target for dataset in at for target in following[dataset]} - seen
    return seen


def test_the_events_lead_from_the_source_file_to_the_model_in_use(project: Path, events: list[dict[str, Any]]) -> None:
    source = ("file", str((project / "include/data/support_triage/training.jsonl").resolve()))
    upload, wait, promote = (
        completed(events, task) for task in ("upload_dataset", "wait_for_tuning_job", "promote_model")
    )
    assert source in datasets(upload, "inputs")
    assert {namespace for namespace, _ in datasets(upload, "outputs")} == {f"gs://{BUCKET}"}
    [model] = datasets(wait, "outputs")
    assert model[0] == "vertexai"
    assert "/models/" in model[1]
    assert datasets(promote, "inputs") == [model]
    [in_use] = datasets(promote, "outputs")
    assert in_use[1].endswith(f"/tunings/{TUNING}@champion")
    assert {model, in_use} < reachable(events, source)


def test_the_facets_are_openlineages_own(events: list[dict[str, Any]]) -> None:
    [training, *_] = completed(events, "upload_dataset")["outputs"]
    assert len(training["facets"]["version"]["datasetVersion"]) == 64
    assert training["outputFacets"]["outputStatistics"]["rowCount"] == 720
    wait = completed(events, "wait_for_tuning_job")
    assert "/tuningJobs/" in wait["run"]["facets"]["externalQuery"]["externalQueryId"]
    [model] = wait["outputs"]
    assert model["facets"]["datasetType"]["datasetType"] == "MODEL"
    assert model["facets"]["version"]["datasetVersion"] == model["name"].rpartition("@")[2]
    create = completed(events, "create_tuning_job")
    assert datasets(create, "inputs") == datasets(wait, "inputs")
    assert datasets(create, "outputs") == []


def test_a_task_that_fails_before_it_has_data_says_nothing_wrong(
    project: Path, emulator: str, airflow_db: None
) -> None:
    (project / "bad.jsonl").write_text("not JSON\n")
    states, events = run(project, emulator, f"retrain_{TUNING}", training_data="bad.jsonl")
    assert states["upload_dataset"] == "failed"
    [failed] = [one for one in events if one["eventType"] == "FAIL" and one["job"]["name"].endswith(".upload_dataset")]
    assert datasets(failed, "outputs") == []
