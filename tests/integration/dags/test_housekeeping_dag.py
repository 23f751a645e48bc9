"""The DAG that deletes old models: only for tunings with the field, and dry by default."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, DagBag, sync_bag_to_db

from tests.support.google_cloud import LOCATION
from tests.support.lineage import models


@pytest.fixture
def project(project_dir: Path, tmp_path: Path, airflow_db: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_BUCKET", "bucket")
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_LOCATION", LOCATION)
    for folder in ("dags", "include/tunings", "include/data"):
        shutil.copytree(project_dir / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def set_housekeeping(project: Path, **rules: Any) -> DagBag:
    path = project / "include/tunings/support_triage.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"housekeeping": rules}))
    return DagBag(dag_folder=str(project / "dags"))


def test_a_project_that_does_not_ask_for_it_has_no_such_dag(project: Path) -> None:
    assert "housekeeping" not in DagBag(dag_folder=str(project / "dags")).dags


def test_it_runs_each_night_and_only_tells_what_it_would_delete(project: Path, control: Any) -> None:
    made = models(control, "support_triage", 2)
    set_housekeeping(project, keep_models=1, keep_days=1)
    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(str(project / "dags"), bundle_path=project / "dags", bundle_name="dags-folder")
    sync_bag_to_db(bag, "dags-folder", None)
    dag = bag.dags["housekeeping"]
    assert dag.task_ids == ["support_triage"]
    run = dag.test()
    assert str(run.state) == "success"
    [instance] = run.get_task_instances()
    result = instance.xcom_pull(task_ids="support_triage")
    assert result["dry_run"] is True
    assert set(made) <= set(result["kept"])


@pytest.mark.parametrize(
    ("rules", "mistake"),
    [
        ({"keep_models": 0}, "housekeeping.keep_models: found 0, expected 1 or more."),
        ({"keep_days": 0}, "housekeeping.keep_days: found 0, expected 1 or more."),
        ({"keep_days": "90 days"}, "housekeeping.keep_days: found '90 days', expected a number."),
        ({"dryrun": False}, "housekeeping.dryrun: unknown field; did you mean `dry_run`?"),
        ({"dry_run": "no"}, "housekeeping.dry_run: found 'no', expected true or false."),
    ],
)
def test_a_mistake_shows_when_the_file_is_read(project: Path, rules: dict[str, Any], mistake: str) -> None:
    bag = set_housekeeping(project, **rules)
    [error] = bag.import_errors.values()
    assert mistake in error
    assert "housekeeping" not in bag.dags
