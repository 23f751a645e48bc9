"""When a retraining starts: at fixed times, when data arrives, or by hand alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import airflow.models.dagrun
import pytest
import yaml
from airflow.assets.manager import AssetManager
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models import DagModel, DagRun
from airflow.models.asset import AssetDagRunQueue, AssetEvent, AssetModel
from airflow.models.trigger import Trigger
from airflow.sdk import DAG
from airflow.triggers.base import TriggerEvent
from airflow.utils.session import create_session
from airflow.utils.types import DagRunType
from sqlalchemy import delete, select, update
from vertex_tuning import timetables

from tests.support.google_cloud import LOCATION
from tests.support.pubsub import SUBSCRIPTION

Make = Callable[[dict[str, Any] | None], DAG]
HEAVY = ("google.pubsub_v1", "google.cloud.pubsub_v1", "googleapiclient", "google.auth", "grpc", "google.api_core")


@pytest.fixture(autouse=True)
def changed_dags(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Airflow store a changed DAG at once; by default it waits for half a minute."""
    monkeypatch.setenv("AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL", "0")


@pytest.fixture
def project(project_dir: Path, tmp_path: Path, airflow_db: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_BUCKET", "bucket")
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_LOCATION", LOCATION)
    for folder in ("dags", "include/tunings", "include/data"):
        shutil.copytree(project_dir / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture
def retraining(project: Path) -> Make:
    """The retraining DAG of the sample with another schedule, switched on in Airflow's database."""

    def make(schedule: dict[str, Any] | None) -> DAG:
        write_fields(project, schedule=schedule)
        return load(project / "dags" / "retrain.py")

    return make


def write_fields(project: Path, **fields: Any) -> None:
    path = project / "include/tunings/support_triage.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | fields))


def load(path: Path) -> DAG:
    DagBundlesManager().sync_bundles_to_db()
    with create_session() as session:
        for table in (DagRun, AssetEvent, AssetDagRunQueue, Trigger):
            session.execute(delete(table))
        session.execute(update(DagModel).values(is_paused=False))
    for _ in range(2):  # a DAG that was new, and so paused, has no watchers
        bag = BundleDagBag(dag_folder=str(path), bundle_path=path.parent, bundle_name="dags-folder")
        assert bag.import_errors == {}
        sync_bag_to_db(bag, "dags-folder", None)
        with create_session() as session:
            session.execute(update(DagModel).values(is_paused=False))
    [dag] = bag.dags.values()
    return dag


def start_due_runs() -> list[DagRun]:
    """Have the scheduler start the runs for which events wait.

    :returns: all runs
    """
    with create_session() as session:
        models, triggered = DagModel.dags_needing_dagruns(session)[:2]
        waiting = [model for model in models if model.dag_id in triggered]
        SchedulerJobRunner(Job())._create_dag_runs_asset_triggered(dag_models=waiting, session=session)
    with create_session() as session:
        runs = list(session.scalars(select(DagRun)))
        for run in runs:
            assert run.consumed_asset_events is not None
        return runs


def update_asset(name: str) -> None:
    with create_session() as session:
        asset = session.scalars(select(AssetModel).where(AssetModel.name == name)).one()
        AssetManager.register_asset_change(asset=asset.to_serialized(), session=session)


@pytest.mark.parametrize("schedule", [None, {}])
def test_a_tuning_without_times_runs_by_hand_or_by_event(retraining: Make, schedule: dict[str, Any] | None) -> None:
    dag = retraining(schedule)
    with create_session() as session:
        model = session.get(DagModel, dag.dag_id)
        assert model
        assert model.next_dagrun_create_after is None
    assert start_due_runs() == []
    update_asset("support_triage_dataset")
    assert [run.run_type for run in start_due_runs()] == ["asset_triggered"]


@pytest.mark.parametrize("times", [{}, {"cron": "0 6 * * 1"}])
def test_a_burst_of_messages_starts_one_run(retraining: Make, times: dict[str, Any]) -> None:
    retraining({"watch": {"subscription": SUBSCRIPTION}, **times})
    with create_session() as session:
        trigger = session.scalars(select(Trigger)).one()
        assert trigger.classpath == "vertex_tuning.new_data.NewDataTrigger"
        assert trigger.kwargs["subscription"] == SUBSCRIPTION
        assert [asset.name for asset in trigger.assets] == ["support_triage_dataset"]
        trigger_id = trigger.id
    for number in range(3):
        payload = {"messages": 1, "objects": [f"gs://my-bucket/exports/{number}.jsonl"]}
        Trigger.submit_event(trigger_id, TriggerEvent(payload))
    [run] = start_due_runs()
    first, *_ = run.consumed_asset_events
    assert first.extra["payload"] == {"messages": 1, "objects": ["gs://my-bucket/exports/0.jsonl"]}
    assert len(start_due_runs()) == 1


def test_data_alone_starts_no_run_where_it_waits_for_a_time(retraining: Make) -> None:
    dag = retraining({"cron": "0 6 * * 1", "only_with_new_data": True, "watch": {"subscription": SUBSCRIPTION}})
    with create_session() as session:
        assert session.scalars(select(Trigger)).one().assets  # the watcher runs all the same
        model = session.get(DagModel, dag.dag_id)
        assert model
        assert model.next_dagrun_create_after
    update_asset("support_triage_dataset")
    assert start_due_runs() == []


def run_scheduled(dag: DAG, monkeypatch: pytest.MonkeyPatch, when: datetime) -> dict[str, str]:
    """Run a DAG as at a fixed time.

    :returns: the state of each task
    """
    create = airflow.models.dagrun.get_or_create_dagrun

    def create_scheduled(**arguments: Any) -> DagRun:
        run = create(**arguments)
        run.run_type = DagRunType.SCHEDULED
        arguments["session"].commit()
        return run

    with monkeypatch.context() as patch:
        patch.setattr(airflow.models.dagrun, "get_or_create_dagrun", create_scheduled)
        run = dag.test(logical_date=when)
    return {instance.task_id: str(instance.state) for instance in run.get_task_instances()}


EVALUATED = '''
"""The two tasks of a retraining that tell which data was used."""

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, Asset
from vertex_tuning.timetables import skip_without_new_data

DATA = Asset("evaluated_dataset")


def evaluate():
    import os
    if os.environ.get("EVALUATION_FAILS"):
        raise RuntimeError("no quota")


with DAG("evaluated", schedule=[DATA], catchup=False) as dag:
    upload = EmptyOperator(task_id="upload_dataset", inlets=[DATA], pre_execute=skip_without_new_data(DATA))
    upload >> PythonOperator(task_id="evaluate_model", python_callable=evaluate)
'''
MONDAY = datetime(2026, 11, 2, 6, tzinfo=UTC)


def test_a_run_at_a_fixed_time_is_skipped_unless_data_came_since_the_last_evaluation(
    tmp_path: Path, airflow_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evaluated.py").write_text(EVALUATED)
    dag = load(tmp_path / "evaluated.py")

    def run(week: int) -> str:
        return run_scheduled(dag, monkeypatch, MONDAY + timedelta(weeks=week))["upload_dataset"]

    assert run(0) == "success"  # nothing was trained before
    assert run(1) == "skipped"
    update_asset("evaluated_dataset")
    monkeypatch.setenv("EVALUATION_FAILS", "1")
    assert run(2) == "success"
    assert run(3) == "success"  # the data of the failed run was not evaluated yet
    monkeypatch.delenv("EVALUATION_FAILS", raising=False)
    assert run(4) == "success"
    assert run(5) == "skipped"
    by_hand = dag.test(logical_date=MONDAY + timedelta(weeks=6))
    assert {str(instance.state) for instance in by_hand.get_task_instances()} == {"success"}


@pytest.mark.parametrize("settings", [{"epoch_count": 2}, {"epoch_count": [2, 3]}])
def test_a_run_without_new_data_costs_nothing_and_succeeds(
    retraining: Make,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    google_cloud: str,
    capfd: Any,
    settings: dict[str, Any],
) -> None:
    write_fields(project, hyper_parameters=settings)
    dag = retraining({"cron": "0 6 * * 1", "only_with_new_data": True})
    monkeypatch.setattr(timetables, "_last_read", lambda _: "2026-11-02T06:00:00+00:00")
    states = run_scheduled(dag, monkeypatch, MONDAY + timedelta(weeks=1))
    succeeded = {task_id for task_id, state in states.items() if state == "success"}
    assert succeeded == {"write_report", "cancel_unfinished_jobs"}
    assert set(states.values()) == {"success", "skipped"}
    assert "Found no event of the asset support_triage_dataset since 2026-11-02" in capfd.readouterr().out


PARSE = """
import sys
sys.path[:0] = [{plugins!r}, {dags!r}]
import retrain
print(",".join(name for name in {names!r} if name in sys.modules))
"""


@pytest.mark.parametrize("watched", [True, False])
def test_a_watched_subscription_makes_no_dag_file_load_the_client(
    project: Path, project_dir: Path, tmp_path: Path, watched: bool
) -> None:
    write_fields(project, schedule={"watch": {"subscription": SUBSCRIPTION}} if watched else {})
    code = PARSE.format(
        plugins=str(project_dir / "plugins"), dags=str(project / "dags"), names=(*HEAVY, "vertex_tuning.new_data")
    )
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ("vertex_tuning.new_data" if watched else "")
