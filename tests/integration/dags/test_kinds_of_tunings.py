"""Whole DAGs of tunings other than the shipped one: summaries with a judge, and training that over-fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from vertex_tuning.hooks.storage import StorageHook

from tests.integration.conftest import LOCATION, PROJECT
from tests.support.emulator import classification_rows, tell, upload

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # the evaluation client's own
    pytest.mark.timeout(400),  # it trains, and imports two large libraries
]

DAG_FILE = """
from airflow.sdk import DAG
from vertex_tuning.pipeline import tuning_pipeline

with DAG("{name}", schedule=None):
    tuning_pipeline("{path}", base_dir="{base_dir}")
"""

Result = Callable[..., Any]


@pytest.fixture
def run_tuning(airflow_db: None, tmp_path: Path, project_dir: Path) -> Callable[[dict[str, Any]], tuple[str, Result]]:
    """Run the DAG of a tuning, given as the fields of its file."""

    def run(fields: dict[str, Any]) -> tuple[str, Result]:
        name = fields.pop("name")
        tunings, dags = tmp_path / "tunings", tmp_path / "dags"
        for folder in (tunings, dags):
            folder.mkdir(exist_ok=True)
        (tunings / f"{name}.yaml").write_text(yaml.safe_dump(fields))
        path = tunings / f"{name}.yaml"
        (dags / f"{name}.py").write_text(DAG_FILE.format(name=name, path=path, base_dir=project_dir))
        DagBundlesManager().sync_bundles_to_db()
        bag = BundleDagBag(dag_folder=str(dags), bundle_path=dags, bundle_name="dags-folder")
        sync_bag_to_db(bag, "dags-folder", None)
        dag_run = bag.dags[name].test()
        instances = {(instance.task_id, instance.map_index): instance for instance in dag_run.get_task_instances()}

        def result(task_id: str, key: str, index: int = -1) -> Any:
            return instances[task_id, index].xcom_pull(task_ids=task_id, key=key, map_indexes=index)

        return str(dag_run.state), result

    return run


def test_a_tuning_for_summaries_runs_through_judge_and_report(
    run_tuning: Any, project_dir: Path, storage: StorageHook
) -> None:
    fields = yaml.safe_load((project_dir / "tests/data/tunings/call_notes.yaml").read_text())
    state, result = run_tuning({**fields, "name": "call_notes"})
    assert state == "success"
    evaluation = result("evaluate_model", "return_value")
    rouge = evaluation["comparison"]["values"]["sample.rouge_l_sum"]
    assert rouge["challenger"] > rouge["baseline"] + 0.2
    assert evaluation["comparison"]["win_rate"]["wins"] > 30  # of 60 pairs with the base model
    report = result("write_report", "return_value")
    assert report["verdict"] == "first"
    page = storage.read_object(report["report_uri"], 10**7).decode()
    assert "The judge&#39;s choices: " in page
    assert "Judge: " in page


def test_training_that_over_fits_gives_the_model_of_its_best_checkpoint(
    run_tuning: Any, project_dir: Path, emulator: str
) -> None:
    data = project_dir / "include/data/support_triage"
    few = (data / "training.jsonl").read_bytes().splitlines(keepends=True)[:40]
    upload(emulator, "gs://data/few.jsonl", b"".join(few))
    state, result = run_tuning(
        {
            "name": "over_fitted",
            "schedule": {"cron": "0 6 * * 1"},
            "display_name": "over-fitted",
            "location": LOCATION,
            "bucket": "bucket",
            "base_model": "gemini-3.1-flash-lite",
            "training_data": "gs://data/few.jsonl",
            "validation_data": str(data / "validation.jsonl"),
            "test_data": str(data / "test.jsonl"),
            "hyper_parameters": {"epoch_count": 40, "adapter_size": 16},
            "gates": [{"value": "overfitting", "max": 0}],
            "smoke_test": {"min_pass_share": 0.0, "cases": [{"prompt": "Where is my parcel?", "equals": "shipping"}]},
            "promotion": {"checkpoint": "best"},
        }
    )
    metrics, promoted = result("collect_metrics", "return_value"), result("promote_model", "return_value")
    assert state == "success", json.dumps(result("evaluate_model", "evaluation"))
    assert metrics["overfitting"]["found"]
    best, last = metrics["best_checkpoint"], metrics["checkpoints"][-1]
    assert best["checkpoint_id"] != last["checkpoint_id"]
    assert promoted["endpoint"] == best["endpoint"] == metrics["endpoint"]


def swept(emulator: str, name: str, **fields: Any) -> dict[str, Any]:
    """A tuning that compares three settings on a few rows of its own."""
    rows = classification_rows(48)
    for kind, part in (("training", rows[:24]), ("validation", rows[24:])):
        part[0]["contents"][0]["parts"][0]["text"] += f" For {name}."
        upload(emulator, f"gs://data/{name}/{kind}.jsonl", part)
    return {
        "name": name,
        "schedule": {"cron": "0 6 * * 1"},
        "display_name": name,
        "location": LOCATION,
        "bucket": "bucket",
        "base_model": "gemini-3.1-flash-lite",
        "training_data": f"gs://data/{name}/training.jsonl",
        "validation_data": f"gs://data/{name}/validation.jsonl",
        "hyper_parameters": {"epoch_count": [1, 8, 2]},
        "smoke_test": {"min_pass_share": 0.0, "cases": [{"prompt": "My card is lost, message 1.", "equals": "lost"}]},
        **fields,
    }


def candidates_of(emulator: str, name: str) -> dict[str, dict[str, Any]]:
    """The jobs of a sweep, by the number of the candidate."""
    listed = httpx.get(f"{emulator}/v1/projects/{PROJECT}/locations/{LOCATION}/tuningJobs").json()
    own = (job for job in listed.get("tuningJobs", ()) if job["labels"].get("airflow-tuning") == name)
    return {job["labels"]["airflow-candidate"]: job for job in own}


def exists(emulator: str, tuned: dict[str, Any]) -> dict[str, bool]:
    """Whether a tuned model and its endpoint exist."""
    names = {kind: tuned[kind] for kind in ("model", "endpoint")}
    return {kind: httpx.get(f"{emulator}/v1/{name}").status_code == 200 for kind, name in names.items()}


def test_the_best_candidate_of_a_sweep_is_promoted_although_another_one_fails(
    run_tuning: Any, emulator: str, storage: StorageHook
) -> None:
    failure = {"code": 3, "message": "The dataset is too odd.", "step": 1}
    tell(emulator, "lifecycle", displayName="swept, candidate 3", failure=failure)
    fields = swept(emulator, "swept", budget={"max_cost": 1.0}, sweep={"keep_candidates": "best"})
    state, result = run_tuning(dict(fields))
    assert state == "success"
    selection = result("select_candidate", "return_value")
    first, second, third = selection["candidates"]
    assert second["value"] < first["value"]
    assert (selection["selected"], third["state"]) == (1, "failed")
    assert "The dataset is too odd." in third["error"]
    jobs = candidates_of(emulator, "swept")
    assert jobs.keys() == {"1", "2", "3"}
    assert result("promote_model", "return_value")["model"] == jobs["2"]["tunedModel"]["model"]
    assert jobs["2"]["tunedModelDisplayName"] == "swept, candidate 2"
    cost = result("upload_dataset", "cost")
    assert cost["epochs"] == 11
    assert sum(int(job["labels"]["airflow-training-tokens"]) for job in jobs.values()) == cost["training_tokens"]
    page = storage.read_object(result("write_report", "report_uri"), 10**7).decode()
    assert "Candidate 2 is selected: Validation loss, last is " in page
    assert "The dataset is too odd." in page
    assert result("delete_candidates", "return_value") == [jobs["1"]["tunedModel"]["model"]]
    assert exists(emulator, jobs["1"]["tunedModel"]) == {"model": False, "endpoint": False}
    assert exists(emulator, jobs["2"]["tunedModel"]) == {"model": True, "endpoint": True}
    # The same data with settings that have made models before: nothing is paid for again.
    state, result = run_tuning({**fields, "hyper_parameters": {"epoch_count": [1, 8]}})
    assert (state, result("write_report", "return_value")["verdict"]) == ("success", "skipped")
    assert candidates_of(emulator, "swept") == jobs


def test_a_sweep_with_too_few_candidates_puts_no_model_into_use(run_tuning: Any, emulator: str) -> None:
    tell(emulator, "lifecycle", displayName="few, .*", failure={"code": 3, "message": "Odd.", "step": 1})
    state, result = run_tuning(swept(emulator, "few"))
    report = result("write_report", "return_value")
    assert (state, report["verdict"]) == ("failed", "failed")
    assert "min_candidates: found 0 of 3 candidates with eval_total_loss.last" in report["reasons"][0]
    assert "Odd." in report["reasons"][0]
    assert result("promote_model", "return_value") is None


@pytest.mark.parametrize(
    ("name", "budget", "end"),
    [
        ("dear", {"max_training_tokens": 2000}, ("failed", "11 epochs of 3 candidates")),
        ("poor", {"max_cost_per_30_days": 0.002, "on_budget": "skip"}, ("success", "")),
    ],
)
def test_no_candidate_is_created_if_the_limit_has_no_room_for_all(
    run_tuning: Any, emulator: str, name: str, budget: dict[str, Any], end: tuple[str, str]
) -> None:
    state, result = run_tuning(swept(emulator, name, budget=budget))
    assert state == end[0]
    assert end[1] in " ".join(result("write_report", "return_value")["reasons"])
    assert candidates_of(emulator, name) == {}
