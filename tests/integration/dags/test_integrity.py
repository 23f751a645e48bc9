"""What Airflow sees of the DAG files."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction
from vertex_tuning.operators.notification import ApprovalNotifier
from vertex_tuning.sensors import TuningJobSensor

from tests.support.paths import PROJECT_DIR

STEPS = [
    "upload_dataset",
    "create_tuning_job",
    "wait_for_tuning_job",
    "collect_metrics",
    "smoke_test",
    "evaluate_model",
    "promote_model",
]
OUTCOMES = ["promoted", "refused", "undecided"]
TEARDOWNS = {"cancel_unfinished_jobs": "wait_for_tuning_job", "write_report": "promote_model"}

MOST_OF_AIRFLOW = 0.2
"""Processor time of parsing the tuning's DAG, as a share of `import airflow.sdk`, which is about 1 s: a ratio holds on
any machine."""

# Run by a Python of its own, because imports count once a process.
IMPORT_COST = """
import gc, sys, time
sys.path[:0] = [{plugins!r}, {dags!r}]
started = time.process_time()
import airflow.sdk
airflow_seconds = time.process_time() - started
gc.freeze()  # or a collection of all that Airflow holds, a tenth of a second, falls in one parse and not in the other
started = time.process_time()
import retrain
print((time.process_time() - started) / airflow_seconds)
heavy = ("google.genai", "google.cloud.aiplatform", "google.cloud.storage", "google.api_core", "google.auth", "numpy",
         "airflow.providers.google.common")
print(",".join(name for name in heavy if name in sys.modules))
print(",".join(retrain.retrain_support_triage.task_ids))
"""


@pytest.fixture(scope="module")
def bag(project_dir: Path) -> DagBag:
    return DagBag(dag_folder=str(project_dir / "dags"))


@pytest.fixture
def dag(bag: DagBag) -> DAG:
    return bag.dags["retrain_support_triage"]


def test_all_dag_files_import(bag: DagBag) -> None:
    assert bag.import_errors == {}
    assert "retrain_support_triage" in bag.dags


def test_the_steps_stand_in_order(dag: DAG) -> None:
    assert sorted(dag.task_ids) == sorted([*STEPS, *OUTCOMES, *TEARDOWNS])
    for number, (before, after) in enumerate(itertools.pairwise(STEPS), 1):
        # A task is also wired to the later ones that read its result.
        assert dag.task_dict[before].downstream_task_ids - TEARDOWNS.keys() <= {*STEPS[number:]}
        assert after in dag.task_dict[before].downstream_task_ids


@pytest.mark.parametrize(("teardown", "follows"), TEARDOWNS.items())
def test_a_teardown_runs_whatever_happened_and_never_decides_the_run(dag: DAG, teardown: str, follows: str) -> None:
    assert dag.task_dict[teardown].is_teardown
    assert not dag.task_dict[teardown].on_failure_fail_dagrun
    assert dag.task_dict[teardown].upstream_task_ids == {follows}


def test_every_task_is_retried_with_back_off(dag: DAG) -> None:
    for task in dag.tasks:
        assert (task.retries or 0) >= 3
        assert task.retry_exponential_backoff == 2


def test_the_wait_owns_its_runs_job(dag: DAG) -> None:
    wait = dag.task_dict["wait_for_tuning_job"]
    assert isinstance(wait, TuningJobSensor)
    assert (wait.cancel_on_kill, wait.cancel_on_timeout, wait.resubmit) == (True, True, True)


def test_jobs_without_a_run_are_looked_for_hourly_from_the_start(bag: DagBag) -> None:
    reaper = bag.dags["cancel_orphaned_jobs"]
    assert reaper.is_paused_upon_creation is False
    timetable = DagSerialization.from_dict(DagSerialization.to_dict(reaper)).timetable
    first = timetable.next_dagrun_info(
        last_automated_data_interval=None, restriction=TimeRestriction(earliest=None, latest=None, catchup=False)
    )
    assert first is not None
    now = datetime.now(UTC)
    assert now < first.run_after <= now + timedelta(hours=1)


def test_it_is_documented_tagged_and_runs_alone(dag: DAG) -> None:
    assert "Retrain a Gemini model" in (dag.doc_md or "")
    assert {"vertex-ai", "tuning"} <= set(dag.tags)
    assert (dag.catchup, dag.max_active_runs) == (False, 1)


def test_it_is_scheduled_in_its_time_zone_and_never_in_the_past(dag: DAG) -> None:
    timetable = DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable
    nothing_yet = TimeRestriction(earliest=None, latest=None, catchup=False)
    first = timetable.next_dagrun_info(last_automated_data_interval=None, restriction=nothing_yet)
    assert first is not None
    assert first.run_after > datetime.now(UTC)
    local = first.run_after.in_timezone("Europe/Berlin")
    assert (local.day_of_week, local.hour, local.minute) == (0, 6, 0)


def test_it_waits_for_its_dataset_and_tells_of_its_model(dag: DAG) -> None:
    waits_for = DagSerialization.from_dict(DagSerialization.to_dict(dag)).timetable.asset_condition
    assert [key.name for key, _ in waits_for.iter_assets()] == ["support_triage_dataset"]
    assert [asset.name for asset in dag.task_dict["promote_model"].outlets] == ["support_triage_model"]


def run_python(code: str, home: Path) -> list[str]:
    environment = {**os.environ, "AIRFLOW_HOME": str(home)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_parsing_is_quick_and_loads_no_google_library(project_dir: Path, tmp_path: Path) -> None:
    code = IMPORT_COST.format(plugins=str(project_dir / "plugins"), dags=str(project_dir / "dags"))
    for _ in range(3):  # a machine that is busy with other things makes one slow
        share, heavy, steps = run_python(code, tmp_path)[-3:]
        assert heavy == ""
        assert set(steps.split(",")) == {*STEPS, *OUTCOMES, *TEARDOWNS}
        if float(share) <= MOST_OF_AIRFLOW:
            return
    raise AssertionError(f"Parsing took {share} of the time that Airflow's import takes.")


def test_parsing_needs_no_network(project_dir: Path, tmp_path: Path) -> None:
    blocked = """
import sys
def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise RuntimeError(f"{event} {args}")
sys.addaudithook(refuse)
"""
    code = IMPORT_COST.format(plugins=str(project_dir / "plugins"), dags=str(project_dir / "dags"))
    assert run_python(blocked + code, tmp_path)[-1].split(",")[: len(STEPS)] == STEPS


@pytest.fixture
def project(project_dir: Path, tmp_path: Path) -> Path:
    """A copy of the project's DAGs, tunings and data that a test may change."""
    for folder in ("dags", "include/tunings", "include/data"):
        shutil.copytree(project_dir / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def change(project: Path, before: str, after: str, name: str = "support_triage") -> None:
    """Write the sample's tuning, with a change, as the tuning of a name."""
    text = (project / "include/tunings/support_triage.yaml").read_text()
    assert before in text
    (project / f"include/tunings/{name}.yaml").write_text(text.replace(before, after))


def parse(project: Path) -> tuple[set[str], list[str]]:
    """:returns: the ids of the DAGs, and what is said in the error of check_tunings.py, the only one there may be"""
    bag = DagBag(dag_folder=str(project / "dags"))
    assert {Path(path).name for path in bag.import_errors} <= {"check_tunings.py"}
    [message] = bag.import_errors.values() or [""]
    return set(bag.dags), message.rpartition("ConfigurationError: ")[2].splitlines()


OWN = {"retrain_support_triage", "rollback_support_triage", "cancel_orphaned_jobs"}


def test_a_project_without_mistakes_has_no_import_error(project: Path) -> None:
    assert parse(project) == (OWN, [])


def test_a_wrong_tuning_is_an_import_error_by_name_and_leaves_the_others_alone(project: Path) -> None:
    change(project, "epoch_count: 4", "epoch_count: 0", "wrong")
    (project / "include/tunings/.#wrong.yaml").symlink_to("me@host.123")
    dags, lines = parse(project)
    assert dags == OWN
    assert lines == [
        "tunings/.#wrong.yaml: found a link to nowhere, expected a file.",
        "tunings/wrong.yaml, line 23: hyper_parameters.epoch_count: found 0, expected 1 or more.",
    ]


def test_data_and_prices_that_are_not_there_are_told_and_cost_no_dag(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(project, "training_data: include/data/support_triage/training.jsonl", "training_data: trainin.jsonl")
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__PRICES", str(project / "prices.yaml"))
    dags, [prices, data] = parse(project)
    assert dags == OWN
    assert prices.startswith("prices: found no file at ")
    assert data.startswith("tunings/support_triage: training_data: trainin.jsonl: found no file")


@pytest.mark.parametrize("source", ["gs://data/train.jsonl", "exports/{{ ds }}.jsonl"])
def test_data_that_only_a_run_knows_is_not_looked_for(project: Path, source: str) -> None:
    change(project, "training_data: include/data/support_triage/training.jsonl", f'training_data: "{source}"')
    assert parse(project) == (OWN, [])


def test_dags_without_tunings_say_what_to_deploy(project: Path) -> None:
    shutil.rmtree(project / "include")
    dags, [line] = parse(project)
    assert dags == set()
    assert "found no such folder" in line
    assert "include/tunings and the data files they name" in line


def test_tunings_may_lie_inside_the_dags_folder(project: Path) -> None:
    (project / "include").rename(project / "dags/include")
    assert parse(project) == (OWN, [])


NOTIFY = """
notify:
  - on: [{event}]
    notifier: {notifier}
    arguments: {{to: team@example.com}}
    overdue_hours: {hours}
"""
SMTP = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"


def notifying(project: Path, event: str, notifier: str = SMTP) -> None:
    """Let the sample's tuning send a message."""
    hours = "30" if event == "overdue" else "null"
    change(project, "promotion:", f"{NOTIFY.format(event=event, notifier=notifier, hours=hours)}promotion:")


def test_a_notifier_that_does_not_exist_is_told_and_costs_no_dag(project: Path) -> None:
    notifying(project, "failed", "airflow.providers.smtp.notifications.smtp.MailNotifier")
    dags, [line] = parse(project)
    assert dags == OWN
    assert line.startswith("tunings/support_triage: notify[0].notifier: found 'airflow.providers.smtp.")


def test_messages_about_the_end_of_a_run_are_a_teardown_after_the_report(project: Path) -> None:
    notifying(project, "failed")
    dag = DagBag(dag_folder=str(project / "dags/retrain.py")).dags["retrain_support_triage"]
    notify = dag.task_dict["notify"]
    assert notify.is_teardown
    assert not notify.on_failure_fail_dagrun
    assert notify.upstream_task_ids == {"write_report"}
    assert dag.deadline is None
    DagSerialization.to_dict(dag)


@pytest.mark.parametrize("event", ["approval_waiting", "overdue"])
def test_other_messages_need_no_task(project: Path, event: str) -> None:
    notifying(project, event)
    dag = DagBag(dag_folder=str(project / "dags/retrain.py")).dags["retrain_support_triage"]
    assert "notify" not in dag.task_dict
    assert bool(dag.deadline) == (event == "overdue")
    DagSerialization.to_dict(dag)


def test_a_person_is_notified_by_the_approval_task(project: Path) -> None:
    change(project, "require_approval: false", "require_approval: true")
    file = project / "include/tunings/support_triage.yaml"
    file.write_text(file.read_text() + NOTIFY.format(event="approval_waiting", notifier=SMTP, hours="null"))
    approve = (
        DagBag(dag_folder=str(project / "dags/retrain.py")).dags["retrain_support_triage"].task_dict["approve_model"]
    )
    assert isinstance(approve, ApprovalOperator)
    [notifier] = approve.notifiers
    assert isinstance(notifier, ApprovalNotifier)
    assert notifier.report_task_id == "draft_report"


def test_parsing_does_not_import_the_notifiers(project: Path, tmp_path: Path) -> None:
    notifying(project, "failed")
    code = IMPORT_COST.format(plugins=str(PROJECT_DIR / "plugins"), dags=str(project / "dags"))
    *_, steps, is_imported = run_python(f"{code}print({SMTP.rpartition('.')[0]!r} in sys.modules)", tmp_path)
    assert "notify" in steps.split(",")
    assert is_imported == "False"


def test_a_base_model_that_retires_is_told_where_people_look(project: Path) -> None:
    change(project, "base_model: gemini-3.1-flash-lite", "base_model: gemini-2.5-flash")
    dag = DagBag(dag_folder=str(project / "dags/retrain.py")).dags["retrain_support_triage"]
    note = "gemini-2.5-flash was retired on 2026-10-20: Google will probably refuse to tune it."
    advice = "Set base_model to gemini-3.5-flash-lite or gemini-3.1-flash-lite, which Google recommends,"
    for text in (dag.description or "", dag.doc_md or ""):
        assert note in text
        assert advice in text
    assert "retiring-base-model" in dag.tags
    assert (dag.params.get_param("base_model").description or "").count("was retired on") == 1


def test_a_base_model_that_stays_has_no_warning(dag: DAG) -> None:
    assert "retiring-base-model" not in dag.tags
    assert "retired" not in f"{dag.description}{dag.doc_md}{dag.params.get_param('base_model').description}"


def test_a_person_stands_between_evaluation_and_promotion_if_asked_for(project: Path) -> None:
    change(project, "require_approval: false", "require_approval: true\n  approval_hours: 5")
    dag = DagBag(dag_folder=str(project / "dags")).dags["retrain_support_triage"]
    approve = dag.task_dict["approve_model"]
    assert isinstance(approve, ApprovalOperator)
    assert dag.task_dict["draft_report"].upstream_task_ids == {"evaluate_model"}
    assert approve.upstream_task_ids == {"draft_report", "evaluate_model"}
    assert list(approve.params) == ["reason"]
    assert approve.downstream_task_ids == {"promote_model"}
    assert approve.response_timeout == timedelta(hours=5)
    assert dag.task_dict["promote_model"].trigger_rule == "all_success"
