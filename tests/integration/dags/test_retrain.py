"""The whole DAG against the local Google Cloud, in this process."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from vertex_tuning.deployment import deployment_id
from vertex_tuning.history.run_history import history_folder, read_history
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.registry.promotion import ModelAliases

from tests.support.emulator import classification_rows, running_emulator
from tests.support.google_cloud import PROJECT, connection
from tests.support.models import take_out_of_use

BUCKET = "tuning-data"


@pytest.fixture(scope="module")
def emulator() -> Iterator[str]:
    with running_emulator(concurrent_tuning_jobs=100) as url:
        httpx.post(f"{url}/storage/v1/b", params={"project": "p"}, json={"name": BUCKET}).raise_for_status()
        yield url


@pytest.fixture
def dag(
    project_dir: Path, tmp_path: Path, emulator: str, airflow_db: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DAG]:
    """The project's DAG, in a copy of the project that the test may change."""
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(emulator))
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_BUCKET", BUCKET)
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_LOCATION", "us-central1")
    for folder in ("dags", "include/tunings", "include/data"):
        shutil.copytree(project_dir / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    yield DagBag(dag_folder=str(tmp_path / "dags")).dags["retrain_support_triage"]
    for kind in ("faults", "lifecycle", "requests"):
        httpx.delete(f"{emulator}/_internal/{kind}").raise_for_status()


def run(dag: DAG, **conf: Any) -> tuple[str, dict[str, str], Any]:
    """Run the DAG.

    :returns: the run's state, each task's, and a function giving a task's result
    """
    # Read again, because dag.test() leaves a run's values in the DAG.
    dag_run = DagBag(dag_folder=dag.fileloc).dags[dag.dag_id].test(run_conf=conf)
    instances = {instance.task_id: instance for instance in dag_run.get_task_instances()}
    states = {task_id: str(instance.state) for task_id, instance in instances.items()}

    def result(task_id: str, key: str = "return_value") -> Any:
        return instances[task_id].xcom_pull(task_ids=task_id, key=key)

    return str(dag_run.state), states, result


def jobs_of(emulator: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{emulator}/v1/projects/p/locations/us-central1/tuningJobs").raise_for_status().json()
    listed: list[dict[str, Any]] = answer.get("tuningJobs", [])
    return listed


def page_of(emulator: str, uri: str) -> str:
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    answer = httpx.get(f"{emulator}/storage/v1/b/{bucket}/o/{quote(name, safe='')}", params={"alt": "media"})
    return answer.raise_for_status().text


def test_a_model_is_retrained_from_data_to_answers(dag: DAG, emulator: str) -> None:
    state, states, result = run(dag, epoch_count=3, display_name="from a test")
    assert state == "success", states
    assert {task_id for task_id, state in states.items() if state != "success"} == {"refused", "undecided"}
    job = result("wait_for_tuning_job")
    assert job["tuned_model_display_name"] == "from a test"
    assert job["supervised_tuning_spec"]["hyper_parameters"]["epoch_count"] == 3
    assert job["labels"]["team"] == "support"
    losses = result("collect_metrics")["metrics"]["/eval_total_loss"]
    assert losses["last"] < losses["first"]
    assert result("smoke_test")["cases"]["passed"] == result("smoke_test")["cases"]["total"] > 0
    evaluation = result("evaluate_model")
    assert evaluation["verdict"] == "first"
    share = evaluation["comparison"]["values"]["sample.exact_share"]
    assert share["challenger"] > 0.7 > 0.3 > share["baseline"]  # it beats the base model
    assert result("promote_model")["model"] == job["tuned_model"]["model"]
    assert "The new model is in use" in page_of(emulator, result("write_report")["report_uri"])
    folder = history_folder(BUCKET, deployment_id(), "support_triage")
    record = read_history(StorageHook(GoogleConnection(location="us-central1")), folder).records[0]
    assert (record.outcome, record.model, record.dag_id) == ("first", job["tuned_model"]["model"], dag.dag_id)
    assert record.report_uri == result("write_report")["report_uri"]
    assert record.started
    contexts = f"{emulator}/v1/projects/{PROJECT}/locations/us-central1/metadataStores/default/contexts"
    experiment = httpx.get(f"{contexts}/airflow-support-triage").raise_for_status().json()
    listed = httpx.get(contexts, params={"filter": f'parent_contexts:"{experiment["name"]}"'}).raise_for_status().json()
    assert "first" in [context["metadata"]["_metrics"]["verdict"] for context in listed["contexts"]]


def test_a_failing_job_ends_the_run_with_the_services_words(dag: DAG, emulator: str, caplog: Any, capfd: Any) -> None:
    failure = {"code": 3, "message": "Row 7 is beyond learning.", "step": 2}
    httpx.post(f"{emulator}/_internal/lifecycle", json={"failure": failure}).raise_for_status()
    state, states, result = run(dag, force="yes")
    assert state == "failed"
    assert states["wait_for_tuning_job"] == "failed"
    assert states["collect_metrics"] == states["smoke_test"] == "upstream_failed"
    assert "Row 7 is beyond learning." in capfd.readouterr().out
    assert "Row 7 is beyond learning." in page_of(emulator, result("write_report")["report_uri"])


@pytest.mark.parametrize("rows", [[], [{"contents": []}], ["no JSON at all"]])
def test_a_bad_dataset_is_refused_before_a_job_exists(dag: DAG, tmp_path: Path, emulator: str, rows: list[Any]) -> None:
    before = jobs_of(emulator)
    (tmp_path / "bad.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    state, states, _ = run(dag, training_data="bad.jsonl")
    assert (state, states["upload_dataset"]) == ("failed", "failed")
    assert jobs_of(emulator) == before


@pytest.mark.parametrize(("on_budget", "ends"), [("fail", "failed"), ("skip", "success")])
def test_a_run_above_the_budget_ends_before_its_job(
    dag: DAG, tmp_path: Path, emulator: str, on_budget: str, ends: str, caplog: Any, capfd: Any
) -> None:
    file = tmp_path / "include/tunings/support_triage.yaml"
    limits = f"budget:\n  max_cost_per_30_days: 0.001\n  on_budget: {on_budget}\n"
    file.write_text(file.read_text().replace("budget:\n", limits))
    before = len(jobs_of(emulator))
    state, states, _ = run(dag, epoch_count=1, force=True)
    assert (state, states["upload_dataset"], len(jobs_of(emulator))) == (ends, "success", before)
    assert states["create_tuning_job"] == {"fail": "failed", "skip": "skipped"}[on_budget]
    assert states["wait_for_tuning_job"] == {"fail": "upstream_failed", "skip": "skipped"}[on_budget]
    said = caplog.text + "".join(capfd.readouterr())
    assert "for this run, expected at most USD 0.0010 together. This run trains nothing." in said


def test_other_data_is_asked_about_itself(dag: DAG, tmp_path: Path) -> None:
    for name, count in (("train", 120), ("validation", 24)):
        rows = classification_rows(count)
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    state, states, result = run(
        dag, training_data="train.jsonl", validation_data="validation.jsonl", epoch_count=6, ask_smoke_cases="No"
    )
    assert state == "success", states
    evaluation = result("evaluate_model", "evaluation")
    assert evaluation["answers"]["challenger"]["sample"] == {"passed": 24, "total": 24}


@pytest.mark.parametrize(
    ("conf", "advice"),
    [
        ({"epochs": 3}, "unknown key 'epochs'; did you mean `epoch_count`?"),
        ({"skip": True}, "unknown key 'skip'; expected one of base_model, training_data"),
    ],
)
def test_a_run_with_a_key_that_nothing_reads_is_refused_before_anything_is_uploaded(
    dag: DAG, emulator: str, capfd: Any, conf: dict[str, Any], advice: str
) -> None:
    before = jobs_of(emulator)
    state, states, _ = run(dag, **conf)
    assert (state, states["upload_dataset"], states["create_tuning_job"]) == ("failed", "failed", "upstream_failed")
    assert advice in capfd.readouterr().out
    assert jobs_of(emulator) == before


@pytest.mark.parametrize(
    "values",
    [
        {"epoch_count": 0},
        {"adapter_size": 3},
        {"base_model": "gemini-0.1"},
        {"training_data": " "},
        {"force": "perhaps"},
        {"force": 2},
        {"ask_smoke_cases": ""},
    ],
)
def test_the_form_refuses_values_beyond_its_limits(dag: DAG, values: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=next(iter(values))):
        run(dag, **values)


# The model in use


def shuffled(path: Path) -> str:
    """The training data with every answer given to another question."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    answers = [row["contents"][-1] for row in rows]
    random.Random(1).shuffle(answers)
    for row, answer in zip(rows, answers, strict=True):
        row["contents"][-1] = answer
    (path.parent / "shuffled.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str((path.parent / "shuffled.jsonl").relative_to(path.parents[3]))


def in_use() -> str:
    champion = ModelAliases(RegistryHook(GoogleConnection(location="us-central1")), "support_triage").current().champion
    assert champion
    return champion.name


@pytest.mark.timeout(300)
def test_a_better_model_takes_over_and_a_worse_one_never_does(dag: DAG, tmp_path: Path, emulator: str) -> None:
    take_out_of_use("support_triage")
    assert run(dag, epoch_count=1)[0] == "failed"  # it has hardly learnt anything: its gates keep it out
    state, states, result = run(dag, epoch_count=3, force=True)
    assert state == "success", states
    first = result("promote_model")["model"]

    state, states, _ = run(dag, epoch_count=3)
    assert (state, states["create_tuning_job"], states["promote_model"]) == ("success", "skipped", "skipped")

    worse = shuffled(tmp_path / "include/data/support_triage/training.jsonl")
    state, states, result = run(dag, training_data=worse, ask_smoke_cases=False)
    assert (state, states["evaluate_model"], states["promote_model"]) == ("failed", "failed", "upstream_failed")
    assert (states["refused"], states["promoted"]) == ("success", "upstream_failed")
    assert result("write_report")["verdict"] == "refused"
    assert in_use() == first

    state, states, result = run(dag, epoch_count=5)
    assert state == "success", states
    assert result("evaluate_model")["verdict"] in ("better", "equal")
    assert result("promote_model") == {**result("promote_model"), "previous": first}
    assert in_use() == result("promote_model")["model"] != first
