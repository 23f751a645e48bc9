"""Whole runs of the project's DAG, and who hears of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from tests.support.mail_server import MailServer
from tests.support.models import take_out_of_use

NOTIFY = """
notify:
  - on: [promoted, refused, undecided, failed, budget]
    notifier: airflow.providers.smtp.notifications.smtp.SmtpNotifier
    arguments: {{to: team@example.com}}
  - on: [promoted, failed]
    notifier: {other}
"""

RunDag = Callable[..., tuple[str, dict[str, str]]]


@pytest.fixture
def run(
    project_dir: Path, tmp_path: Path, airflow_db: None, monkeypatch: pytest.MonkeyPatch, mail: MailServer
) -> RunDag:
    """Run the DAG of the sample's tuning, with messages. It gives the states of the run and of its tasks."""
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_BUCKET", "bucket")
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_LOCATION", "us-central1")
    for folder in ("dags", "include/tunings", "include/data"):
        shutil.copytree(project_dir / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    file = tmp_path / "include/tunings/support_triage.yaml"
    text = file.read_text()

    def run_dag(
        *changes: tuple[str, str], other: str = "tests.support.notifiers.RaisingNotifier", **conf: Any
    ) -> tuple[str, dict[str, str]]:
        changed = text
        for before, after in changes:
            assert before in changed
            changed = changed.replace(before, after)
        file.write_text(changed + NOTIFY.format(other=other))
        dag_run = (
            DagBag(dag_folder=str(tmp_path / "dags/retrain.py")).dags["retrain_support_triage"].test(run_conf=conf)
        )
        return str(dag_run.state), {task.task_id: str(task.state) for task in dag_run.get_task_instances()}

    return run_dag


def test_a_promotion_is_told_with_its_numbers_though_another_notifier_fails(run: RunDag, mail: MailServer) -> None:
    take_out_of_use("support_triage")
    state, states = run(epoch_count=3, force=True)
    assert (state, states["promote_model"], states["notify"]) == ("success", "success", "failed")
    [message] = mail.mails
    assert message["subject"] == "support_triage: First model"
    page = mail.page()
    for part in ("Exact answers on the sample", "base model", "USD ", "report.html", "/runs/manual__", "models/"):
        assert part in page, part


def test_a_run_that_fails_at_its_first_task_is_told(run: RunDag, mail: MailServer, tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text("no JSON <b>at all</b>\n")
    state, states = run(other="tests.support.notifiers.NoNotifier", training_data="bad.jsonl")
    assert (state, states["upload_dataset"], states["notify"]) == ("failed", "failed", "failed")
    [message] = mail.mails
    assert message["subject"] == "support_triage: Failed"
    assert "Dataset failed (upload_dataset)" in mail.page()
    assert "bad.jsonl, line 1" in mail.page()
    assert "<b>at all" not in mail.page()


@pytest.mark.parametrize(("on_budget", "ends"), [("fail", "failed"), ("skip", "success")])
def test_a_run_over_its_budget_is_told(run: RunDag, mail: MailServer, on_budget: str, ends: str) -> None:
    limits = f"budget:\n  max_cost_per_30_days: 0.001\n  on_budget: {on_budget}\n"
    state, states = run(("budget:\n", limits), epoch_count=1, force=True)
    assert state == ends, states
    [message] = mail.mails
    assert message["subject"] == "support_triage: Over the budget"
    assert "max_cost_per_30_days: found" in mail.page()


def test_a_run_is_told_though_its_report_cannot_be_written(
    run: RunDag, mail: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", '{"conn_type": "google_cloud_platform", "extra": "no JSON"}'
    )
    state, states = run()
    assert (state, states["upload_dataset"], states["write_report"]) == ("failed", "failed", "failed")
    [message] = mail.mails
    assert message["subject"] == "support_triage: Failed"
