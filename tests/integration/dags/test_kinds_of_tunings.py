"""Whole DAGs of tunings other than the shipped one: summaries with a judge, and training that over-fits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from vertex_tuning.hooks.storage import StorageHook

from tests.integration.conftest import LOCATION
from tests.support.emulator import upload

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

Result = Callable[[str, str], Any]


@pytest.fixture
def run_tuning(airflow_db: None, tmp_path: Path, project_dir: Path) -> Callable[[dict[str, Any]], tuple[str, Result]]:
    """Run the DAG of a tuning, given as the fields of its file."""

    def run(fields: dict[str, Any]) -> tuple[str, Result]:
        name = fields.pop("name")
        tunings, dags = tmp_path / "tunings", tmp_path / "dags"
        for folder in (tunings, dags):
            folder.mkdir()
        (tunings / f"{name}.yaml").write_text(yaml.safe_dump(fields))
        path = tunings / f"{name}.yaml"
        (dags / f"{name}.py").write_text(DAG_FILE.format(name=name, path=path, base_dir=project_dir))
        DagBundlesManager().sync_bundles_to_db()
        bag = BundleDagBag(dag_folder=str(dags), bundle_path=dags, bundle_name="dags-folder")
        sync_bag_to_db(bag, "dags-folder", None)
        dag_run = bag.dags[name].test()
        instances = {instance.task_id: instance for instance in dag_run.get_task_instances()}
        return str(dag_run.state), lambda task_id, key: instances[task_id].xcom_pull(task_ids=task_id, key=key)

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
