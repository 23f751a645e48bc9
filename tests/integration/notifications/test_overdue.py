"""A run that takes too long, as Airflow's scheduler and executors treat its deadline."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.models.dagrun import DagRun
from airflow.models.deadline import Deadline
from airflow.models.serialized_dag import SerializedDagModel
from airflow.sdk.execution_time.callback_supervisor import execute_callback
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select
from vertex_tuning.config.notify import Notification
from vertex_tuning.notifications.overdue import send_overdue

from tests.support.mail_server import MailServer

DAG_FILE = """
from airflow.sdk import DAG
from airflow.providers.standard.operators.empty import EmptyOperator
from vertex_tuning.config.tuning import SmokeTest, Tuning
from vertex_tuning.notifications.overdue import overdue_alerts

SMTP = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
tuning = Tuning(
    name="slow",
    base_model="gemini-3.1-flash-lite",
    training_data="gs://bucket/train.jsonl",
    validation_data="gs://bucket/validation.jsonl",
    bucket="bucket",
    smoke_test=SmokeTest(cases=[{"prompt": "?"}]),
    notify=[
        {"on": ["overdue", "failed"], "overdue_hours": 30, "notifier": SMTP, "arguments": {"to": "team@example.com"}},
        {
            "on": ["overdue"],
            "overdue_hours": 48,
            "notifier": SMTP,
            "arguments": {"to": ["{{ dag_run.dag_id }}@x.com", "{{ var.value.on_call }}"]},
        },
    ],
)
with DAG("slow", schedule=None, deadline=overdue_alerts(tuning)):
    EmptyOperator(task_id="wait")
"""


@pytest.fixture
def deadlines(tmp_path: Path, airflow_db: None) -> Iterator[list[Deadline]]:
    """The deadlines of a new run, the earliest first, in a session that ends with the test."""
    (tmp_path / "slow.py").write_text(DAG_FILE)
    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(dag_folder=str(tmp_path), bundle_path=tmp_path, bundle_name="dags-folder")
    assert bag.import_errors == {}
    sync_bag_to_db(bag, "dags-folder", None)
    with create_session() as session:
        found = SerializedDagModel.get("slow", session=session)
        assert found
        run = found.dag.create_dagrun(
            run_id=f"manual__{uuid4().hex}",
            run_after=datetime.now(UTC),
            run_type=DagRunType.MANUAL,
            triggered_by=DagRunTriggeredByType.TEST,
            state=DagRunState.QUEUED,
            session=session,
        )
        session.flush()
        query = select(Deadline).where(Deadline.dagrun_id == run.id).order_by(Deadline.deadline_time)
        yield list(session.scalars(query))
        session.rollback()


def miss(deadline: Deadline, state: DagRunState) -> tuple[bool, str | None]:
    """What happens after the time of a deadline: the scheduler queues the callback, and an executor calls it."""
    from sqlalchemy.orm import object_session

    session = object_session(deadline)
    assert session
    run = session.get(DagRun, deadline.dagrun_id)
    assert run
    run.state = state
    session.flush()
    deadline.handle_miss(session)
    data = deadline.callback.data
    return execute_callback(data["path"], data["kwargs"], Path("slow.py"), None, structlog.get_logger())


def test_each_message_has_a_deadline_from_the_queueing_of_the_run(deadlines: list[Deadline]) -> None:
    queued = [deadline.dagrun.queued_at for deadline in deadlines]
    hours = [(deadline.deadline_time - at) / timedelta(hours=1) for deadline, at in zip(deadlines, queued, strict=True)]
    assert hours == [30, 48]


@pytest.mark.parametrize("state", [DagRunState.RUNNING, DagRunState.QUEUED])
def test_a_run_that_has_not_ended_is_told(
    deadlines: list[Deadline], mail: MailServer, state: DagRunState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_VAR_ON_CALL", "ada@example.com")
    for deadline in deadlines:
        assert miss(deadline, state) == (True, None)
    assert mail.recipients == [["team@example.com"], ["slow@x.com", "ada@example.com"]]
    assert mail.mails[0]["subject"] == "slow: Overdue"
    assert "The run has not ended after 30 hours." in mail.page(0)
    assert f'href="http://localhost:8080/dags/slow/runs/{deadlines[0].dagrun.run_id}"' in mail.page(0)


@pytest.mark.parametrize("state", [DagRunState.FAILED, DagRunState.SUCCESS])
def test_airflow_keeps_the_deadline_of_a_failed_run_which_is_not_told(
    deadlines: list[Deadline], mail: MailServer, state: DagRunState
) -> None:
    assert miss(deadlines[0], state) == (True, None)
    assert mail.mails == []


def test_a_notifier_that_fails_is_no_error_of_the_callback(mail: MailServer, caplog: pytest.LogCaptureFixture) -> None:
    broken = Notification(on=["overdue"], notifier="tests.support.notifiers.RaisingNotifier", overdue_hours=1)
    run: dict[str, Any] = {"state": "running", "dag_id": "d", "dag_run_id": "r", "queued_at": "2026-03-02T06:00:00Z"}
    send_overdue("t", broken.model_dump_json(), {"dag_run": run})
    assert "overdue: not sent by tests.support.notifiers.RaisingNotifier: RuntimeError" in caplog.text
