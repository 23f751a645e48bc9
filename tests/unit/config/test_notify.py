"""The messages that a tuning's file asks for: what is refused, with field, value and expectation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from vertex_tuning.__main__ import main
from vertex_tuning.config.loader import load_tuning
from vertex_tuning.config.notifiers import create_notifier, notifier_mistakes
from vertex_tuning.config.notify import Notification
from vertex_tuning.exceptions import ConfigurationError

from tests.support.paths import PROJECT_DIR

SAMPLE = (PROJECT_DIR / "include/tunings/support_triage.yaml").read_text()
SMTP = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
OWN = "tests.support.notifiers"


def written(folder: Path, *notify: dict[str, Any]) -> Path:
    path = folder / "support_triage.yaml"
    path.write_text(f"{SAMPLE}\n{yaml.safe_dump({'notify': list(notify)})}")
    return path


def mistakes(folder: Path, **fields: Any) -> list[str]:
    """What is said of a message, when the file is read or its notifier is imported, after the name of the file."""
    try:
        tuning = load_tuning(written(folder, {"on": ["failed"], "notifier": SMTP, **fields}))
    except ConfigurationError as error:
        return [line.partition(": ")[2] for line in str(error).splitlines()]
    return [line.partition(": ")[2] for line in notifier_mistakes([tuning])]


EVENTS = "expected 'promoted', 'refused', 'undecided', 'failed', 'approval_waiting', 'overdue', 'budget' or 'retiring'."
A_PATH = f"expected the dotted path of a notifier class, e.g. {SMTP}."
NO_TEMPLATE = "expected a Jinja template; unexpected end of template, expected 'end of print statement'."


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"on": ["promotd"]}, f"on[0]: found 'promotd', {EVENTS}"),
        ({"on": []}, "on: found [], expected at least 1 of them."),
        ({"on": "failed"}, "on: found 'failed', expected a list."),
        ({"to": "x"}, "to: unknown field; expected one of on, notifier, arguments, overdue_hours."),
        ({"argument": {}}, "argument: unknown field; did you mean `arguments`?"),
        ({"notifier": "SmtpNotifier"}, f"notifier: found 'SmtpNotifier', {A_PATH}"),
        ({"notifier": "a.b; import os"}, f"notifier: found 'a.b; import os', {A_PATH}"),
        ({"arguments": ["x"]}, "arguments: found ['x'], expected fields and their values."),
        ({"arguments": {"to": ["{{ x"]}}, f"arguments.to[0]: {NO_TEMPLATE}"),
        (
            {"on": ["overdue"], "arguments": {"to": "x"}},
            "overdue_hours: found nothing, expected the hours after which a run is overdue.",
        ),
        ({"overdue_hours": 5}, "overdue_hours: found 5, expected 'overdue' in notify[0].on."),
        ({"on": ["overdue"], "overdue_hours": 0}, "overdue_hours: found 0, expected 0.01 or more."),
    ],
)
def test_a_mistake_is_named_when_the_file_is_read(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    assert mistakes(tmp_path, **fields) == [f"notify[0].{said}"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "arguments.to: found nothing, expected a value: SmtpNotifier requires it."),
        (
            {"arguments": {"to": "x", "form_email": "y"}},
            "arguments.form_email: found an argument that SmtpNotifier does not take; did you mean `from_email`?",
        ),
        (
            {"notifier": SMTP.replace("SmtpN", "N")},
            "notifier: found 'airflow.providers.smtp.notifications.smtp.Notifier', which is no notifier class of "
            "Airflow; did you mean `SmtpNotifier`?",
        ),
        (
            {"notifier": "nobody.has.This"},
            "notifier: found 'nobody.has.This', whose module cannot be imported (ModuleNotFoundError: No module named "
            "'nobody'); expected a class of an installed package.",
        ),
        (
            {"notifier": "json.dumps"},
            "notifier: found 'json.dumps', which is no notifier class of Airflow; expected a subclass of BaseNotifier.",
        ),
        (
            {"arguments": {"to": "x", "template": "/nowhere/mail.html"}},
            "arguments: SmtpNotifier refuses them (FileNotFoundError: [Errno 2] No such file or directory: "
            "'/nowhere/mail.html'); expected arguments that it takes.",
        ),
    ],
)
def test_a_notifier_that_cannot_be_created_is_named(tmp_path: Path, fields: dict[str, Any], said: str) -> None:
    assert mistakes(tmp_path, **fields) == [f"notify[0].{said}"]


def test_arguments_may_be_templates(tmp_path: Path) -> None:
    assert mistakes(tmp_path, arguments={"to": "{{ var.value.team }}", "cc": ["a@example.com"]}) == []


def test_the_lint_command_imports_the_notifiers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = written(tmp_path, {"on": ["failed"], "notifier": SMTP, "arguments": {"to": "team@example.com"}})
    assert main(["lint", str(good)]) == 0
    wrong = written(tmp_path, {"on": ["failed"], "notifier": SMTP, "arguments": {"too": "team@example.com"}})
    assert main(["lint", str(wrong)]) == 1
    assert "tunings/support_triage: notify[0].arguments.too: found an argument" in capsys.readouterr().err


def test_no_value_of_an_argument_is_quoted(tmp_path: Path) -> None:
    for arguments in ({"to": "x", "password": "s3cr3t"}, {"to": "s3cr3t {{"}):
        found = mistakes(tmp_path, arguments=arguments)
        assert found
        assert "s3cr3t" not in str(found)


def test_the_field_on_needs_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "support_triage.yaml"
    path.write_text(f"{SAMPLE}\nnotify:\n  - on: [failed]\n    notifier: {SMTP}\n    arguments: {{to: a@x.com}}\n")
    [notification] = load_tuning(path).notify
    assert notification.on == ["failed"]


def test_a_notifier_gets_the_ready_made_message_only_where_it_renders_one() -> None:
    made = create_notifier(Notification(on=["failed"], notifier=SMTP, arguments={"to": "x", "subject": "own"}))
    assert (vars(made)["subject"], vars(made)["html_content"]) == ("own", "{{ notification.html }}")
    made = create_notifier(Notification(on=["failed"], notifier=f"{OWN}.KeepingNotifier", arguments={"channel": "x"}))
    assert vars(made)["text"] == "{{ notification.text }}"
