"""The messages about a run, received by a mail server."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from airflow.providers.standard.operators import hitl
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskAwaitingInput
from vertex_tuning.config.notify import Notification
from vertex_tuning.exceptions import NotifierError
from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.notifications import sending
from vertex_tuning.operators.approval import approval_task
from vertex_tuning.operators.evaluation import EvaluateModelOperator
from vertex_tuning.operators.notification import ApprovalNotifier, NotifyOperator
from vertex_tuning.registry.aliases import CHAMPION
from vertex_tuning.results import Gain

from tests.support.google_cloud import LOCATION
from tests.support.lineage import train
from tests.support.mail_server import MailServer
from tests.support.notifiers import RECEIVED
from tests.support.tasks import TaskContext

SMTP = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
OWN = "tests.support.notifiers"
TO = "team@example.com"

RECORD: dict[str, Any] = {
    "tuning": "support_triage",
    "key": "0123456789abcdef",
    "kind": "retraining",
    "dag_id": "retrain_support_triage",
    "run_id": "scheduled__2026-11-23",
    "ended": "2026-11-23T06:00:00+00:00",
    "outcome": "promoted",
    "title": "Promoted",
    "sentence": "The new model is better than the model in use and has taken its place.",
    "value": "sample.exact_share",
    "score": {"value": 0.93, "lower": 0.9, "upper": 0.95, "examples": 500},
    "champion_score": {"value": 0.9, "lower": 0.87, "upper": 0.92, "examples": 500},
    "gain": msgspec.to_builtins(Gain(0.03, 0.01, 0.05, 0.95, 500, 20, 5, 0.01)),
    "cost": 0.576,
    "currency": "USD",
    "model": "projects/1/locations/us-central1/models/99@3",
    "base_model": "gemini-3.1-flash-lite",
    "report_url": "https://storage.cloud.google.com/bucket/runs/1/report.html",
    "run_url": "http://localhost:8080/dags/retrain_support_triage/runs/scheduled__2026-11-23",
}


def record(**fields: Any) -> dict[str, Any]:
    """A record as the XCom of a report task."""
    made: dict[str, Any] = msgspec.to_builtins(msgspec.convert({**RECORD, **fields}, RunRecord))
    return made


def notification(on: list[str], notifier: str = SMTP, **arguments: Any) -> Notification:
    return Notification(on=on, notifier=notifier, arguments=arguments or ({"to": TO} if notifier == SMTP else {}))


def notify(*notifications: Notification, context: TaskContext | None = None, **arguments: Any) -> None:
    given: dict[str, Any] = {"record": record(), "tuning": "support_triage", **arguments}
    operator = NotifyOperator(task_id="notify", notify=notifications, **given)
    operator.execute(context or TaskContext())  # type: ignore[arg-type]


# What is sent


@pytest.mark.parametrize(
    ("fields", "event"),
    [
        ({}, "promoted"),
        ({"outcome": "first", "title": "First model"}, "promoted"),
        ({"outcome": "refused", "title": "Refused"}, "refused"),
        ({"outcome": "rejected", "title": "Rejected"}, "refused"),
        ({"outcome": "undecided", "title": "Undecided"}, "undecided"),
        ({"outcome": "failed", "title": "Failed"}, "failed"),
        ({"outcome": "failed", "title": "Over the budget", "over_budget": True}, "budget"),
        ({"outcome": "failed", "title": "Over the budget", "over_budget": True}, "failed"),
        ({"outcome": "skipped", "title": "Over the budget", "over_budget": True}, "budget"),
    ],
)
def test_a_mail_tells_how_a_run_ended(mail: MailServer, fields: dict[str, Any], event: str) -> None:
    others = {"promoted", "refused", "undecided", "failed", "approval_waiting"} - {event}
    quiet = [] if fields.get("over_budget") else [notification(sorted(others))]
    notify(notification([event]), *quiet, record=record(**fields))
    [message] = mail.mails
    assert message["subject"] == f"support_triage: {fields.get('title', 'Promoted')}"
    assert (message["from"], message["to"]) == ("airflow@example.com", TO)
    page = mail.page()
    assert RECORD["sentence"] in page
    assert f'href="{RECORD["report_url"]}"' in page
    assert f'href="{RECORD["run_url"]}"' in page
    assert "+3 percentage points (lower bound +1, upper bound +5, each with 95 % confidence)" in page
    assert "93 % (90 % to 95 %); model in use 90 % (87 % to 92 %)" in page
    assert "USD 0.5760" in page


def test_a_run_over_its_budget_is_one_mail_to_those_who_hear_of_failures_too(mail: MailServer) -> None:
    notify(notification(["failed", "budget"]), record=record(outcome="failed", over_budget=True))
    assert len(mail.mails) == 1


@pytest.mark.parametrize("outcome", ["skipped", "passed"])
def test_a_run_without_news_sends_nothing(mail: MailServer, outcome: str) -> None:
    notify(notification(["promoted", "refused", "undecided", "failed", "budget"]), record=record(outcome=outcome))
    assert mail.mails == []


def test_arguments_are_templates_with_the_message_and_the_tasks_context(mail: MailServer) -> None:
    context = TaskContext()
    context["params"] = {"team": "support@example.com"}
    arguments: dict[str, Any] = {
        "to": ["{{ params.team }}", "boss@example.com"],
        "subject": "[{{ notification.event }}] {{ notification.tuning }} costs {{ notification.cost }}",
        "html_content": "<p>{{ notification.gain | e }}</p>",
    }
    notify(notification(["promoted"], **arguments), context=context)
    assert mail.recipients == [["support@example.com", "boss@example.com"]]
    assert mail.mails[0]["subject"] == "[promoted] support_triage costs USD 0.5760"
    assert mail.page().startswith("<p>+3 percentage points")


def test_any_notifier_gets_the_ready_made_text() -> None:
    notify(notification(["promoted"], f"{OWN}.KeepingNotifier", channel="#models", level=3))
    [message] = RECEIVED
    assert (message["channel"], message["level"]) == ("#models", 3)
    assert message["text"].startswith("support_triage: Promoted\nThe new model is better")
    assert f"Report: {RECORD['report_url']}\nRun in Airflow: {RECORD['run_url']}" in message["text"]
    notify(notification(["promoted"], f"{OWN}.KeepingNotifier", channel="#models", text="{{ notification.title }}!"))
    assert RECEIVED[1]["text"] == "Promoted!"


def test_a_file_of_the_smtp_notifier_is_used_as_it_is(mail: MailServer, tmp_path: Path) -> None:
    (tmp_path / "mail.html").write_text("<b>{{ notification.title }}</b>")
    notify(notification(["promoted"], to=TO, template=str(tmp_path / "mail.html")))
    assert mail.page().strip() == "<b>Promoted</b>"


HOSTILE = [
    "<script>alert(1)</script>",
    "{{ conn.smtp_default.password }}{% for x in range(9) %}{{ 7*7 }}{% endfor %}",
    '"><img src=x onerror=alert(2)>',
    "x\\r\\nBcc: thief@example.com",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_stay_text(mail: MailServer, text: str) -> None:
    hostile = {"title": text, "sentence": text, "reasons": [text], "warnings": [text], "model": text, "run_id": text}
    notify(
        notification(["promoted"]),
        notification(["promoted"], f"{OWN}.KeepingNotifier", channel="x"),
        record=record(**hostile),
    )
    [message], page = mail.mails, mail.page()
    assert message["bcc"] is None
    assert message["subject"] == f"support_triage: {text}"
    assert mail.recipients == [[TO]]
    assert "<script" not in page
    assert "<img" not in page
    assert "49" not in page + RECEIVED[0]["text"]
    assert text in RECEIVED[0]["text"]


def test_a_link_that_is_no_web_address_is_left_out(mail: MailServer) -> None:
    with pytest.raises(msgspec.ValidationError, match="report_url"):
        record(report_url="javascript:alert(1)")
    notify(notification(["promoted"]), record=record(report_url=""))
    assert "javascript" not in mail.page()
    assert ">Report<" not in mail.page()


# Once


def test_a_retry_and_a_clear_send_nothing_again_and_another_outcome_does(mail: MailServer) -> None:
    context, to_both = TaskContext(), notification(["promoted", "failed"])
    notify(to_both, context=context)
    notify(to_both, context=context)
    assert len(mail.mails) == 1
    failed = record(outcome="failed", title="Failed", sentence="Training failed (wait_for_tuning_job).")
    notify(to_both, context=context, record=failed)
    notify(to_both, context=context, record=failed)
    assert [message["subject"] for message in mail.mails] == ["support_triage: Promoted", "support_triage: Failed"]
    notify(to_both, context=TaskContext("another run"))
    assert len(mail.mails) == 3


def test_a_message_that_failed_is_sent_by_the_next_attempt_alone(mail: MailServer) -> None:
    context, both = (
        TaskContext(),
        (
            notification(["promoted"]),
            notification(["promoted"], f"{OWN}.KeepingNotifier", channel="x"),
        ),
    )
    mail.refusal = "451 Come back later"
    with pytest.raises(NotifierError, match="Come back later"):
        notify(*both, context=context)
    assert (len(mail.mails), len(RECEIVED)) == (0, 1)
    mail.refusal = ""
    notify(*both, context=context)
    assert (len(mail.mails), len(RECEIVED)) == (1, 1)


# Notifiers that misbehave


@pytest.mark.parametrize(
    ("notifier", "arguments", "said"),
    [
        ("RaisingNotifier", {}, "RuntimeError"),
        ("LeavingNotifier", {}, "SystemExit"),
        ("HangingNotifier", {}, "took longer than 1 s"),
        ("NoNotifier", {}, "expected a subclass of BaseNotifier|did you mean"),
        ("KeepingNotifier", {"chanel": "x"}, "did you mean `channel`"),
        ("KeepingNotifier", {"channel": "{{ nothing.at.all }}"}, "'nothing' is undefined"),
    ],
)
def test_a_notifier_that_fails_does_not_keep_the_others_from_sending(
    mail: MailServer, monkeypatch: pytest.MonkeyPatch, notifier: str, arguments: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(sending, "SECONDS", 1)
    bad = Notification(on=["promoted"], notifier=f"{OWN}.{notifier}", arguments=arguments)
    with pytest.raises(NotifierError, match=said):
        notify(bad, notification(["promoted"]))
    assert len(mail.mails) == 1


def test_no_secret_is_told(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], mail: MailServer
) -> None:
    caplog.set_level(logging.DEBUG)
    bad = notification(["promoted"], f"{OWN}.RaisingNotifier", token="s3cr3t")
    with pytest.raises(NotifierError) as raised:
        notify(bad)
    assert "s3cr3t" not in str(raised.value)
    assert "chat.example" in str(raised.value)
    logged = caplog.text + "".join(capfd.readouterr())
    assert "RuntimeError" in logged
    assert "s3cr3t" not in logged


# A person must decide


def ask(context: TaskContext, notifier: ApprovalNotifier) -> None:
    """Run the approval task until it waits for a person."""
    with DAG("d", schedule=None):
        evaluation = EvaluateModelOperator(task_id="evaluate", job_name="j", values={}, rule={})
        task = approval_task(evaluation=evaluation, deadline=timedelta(hours=1), notifiers=[notifier])
    with pytest.raises(TaskAwaitingInput):
        task.execute(context)  # type: ignore[arg-type]


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> TaskContext:
    """The context of an approval task, whose report task has left a record; Airflow's API server is not there."""
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **_: None)
    context = TaskContext()
    context["task_instance"] = SimpleNamespace(id="0")
    left = record(outcome="waiting", title="Waiting for approval", sentence="A person decides.")
    context["ti"].xcom_pull = lambda task_ids, key, **_: left if (task_ids, key) == ("draft", "record") else None
    context["ti"].log_url = "http://localhost:8080/dags/d/runs/r/tasks/approve_model?try_number=1"
    return context


def test_a_mail_says_that_a_person_must_decide_and_where(mail: MailServer, waiting: TaskContext) -> None:
    notifier = ApprovalNotifier([notification(["approval_waiting"]), notification(["promoted"])], "draft")
    ask(waiting, notifier)
    ask(waiting, notifier)  # a retry, or a clear
    [message] = mail.mails
    assert message["subject"] == "support_triage: Waiting for approval"
    assert 'href="http://localhost:8080/dags/d/runs/r/tasks/approve_model/required_actions"' in mail.page()


@pytest.mark.parametrize("notifier", ["RaisingNotifier", "LeavingNotifier", "HangingNotifier", "NoNotifier"])
def test_no_notifier_keeps_a_person_from_deciding(
    mail: MailServer, waiting: TaskContext, monkeypatch: pytest.MonkeyPatch, notifier: str
) -> None:
    monkeypatch.setattr(sending, "SECONDS", 1)
    bad = notification(["approval_waiting"], f"{OWN}.{notifier}")
    ask(waiting, ApprovalNotifier([bad, notification(["approval_waiting"])], "draft"))
    assert len(mail.mails) == 1


def test_without_a_record_the_approval_goes_on(waiting: TaskContext, caplog: pytest.LogCaptureFixture) -> None:
    waiting["ti"].xcom_pull = lambda **_: None
    ask(waiting, ApprovalNotifier([notification(["approval_waiting"])], "draft"))
    assert "Nobody was notified" in caplog.text


# A base model retires

RETIRED = "gemini-2.5-flash was retired on 2026-10-20"


def folder() -> str:
    return f"gs://bucket/datasets/notices/{uuid4().hex}"


def test_the_retirement_of_a_base_model_is_announced_once_in_all_runs(mail: MailServer) -> None:
    both, place = notification(["promoted", "retiring"]), folder()
    for run in ("first", "second"):
        notify(both, context=TaskContext(run), base_model="gemini-2.5-flash", notices_folder=place)
    subjects = [message["subject"] for message in mail.mails]
    assert subjects == [
        "support_triage: Promoted",
        "support_triage: Retirement of a base model",
        "support_triage: Promoted",
    ]
    assert RETIRED in mail.page(1)
    assert "Set base_model to gemini-3.5-flash-lite" in mail.page(1)


def test_an_announcement_that_failed_is_repeated_by_the_next_run(mail: MailServer) -> None:
    place = folder()
    mail.refusal = "451 Come back later"
    with pytest.raises(NotifierError):
        notify(notification(["retiring"]), base_model="gemini-2.5-flash", notices_folder=place)
    mail.refusal = ""
    notify(notification(["retiring"]), base_model="gemini-2.5-flash", notices_folder=place)
    assert len(mail.mails) == 1


def test_without_a_folder_each_run_announces_a_retirement(mail: MailServer) -> None:
    for run in ("first", "second"):
        notify(notification(["retiring"]), context=TaskContext(run), base_model="gemini-2.5-flash")
    assert len(mail.mails) == 2


def test_the_base_of_the_model_in_use_counts_as_well(mail: MailServer) -> None:
    name = "announced_by_mail"
    job = train(name, epoch_count=1)
    assert job.tuned_model
    RegistryHook(GoogleConnection(location=LOCATION)).merge_aliases(job.tuned_model.model, [CHAMPION])
    given: dict[str, Any] = {"tuning": name, "location": LOCATION, "notices_folder": folder()}
    notify(notification(["retiring"]), record=record(outcome="skipped"), base_model="gemini-3.1-flash-lite", **given)
    [_] = mail.mails
    assert RETIRED in mail.page()


@pytest.mark.parametrize("wanted", ["promoted", "retiring"])
def test_a_base_model_that_stays_is_no_news(mail: MailServer, wanted: str) -> None:
    notify(notification([wanted]), record=record(outcome="skipped"), base_model="gemini-3.1-flash-lite")
    assert mail.mails == []
