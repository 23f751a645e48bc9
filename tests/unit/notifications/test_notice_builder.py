"""The ready-made messages, from the record of a run."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from vertex_tuning.config.notify import AFTER_THE_RUN
from vertex_tuning.history.record_builder import build_record
from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.notifications.notice import COLOURS
from vertex_tuning.notifications.notice_builder import OUTCOME_EVENTS, end_events, run_notice
from vertex_tuning.operators.report import TASK_IDS
from vertex_tuning.report.build import build
from vertex_tuning.report.content import RunOutcome
from vertex_tuning.results import Role

from tests.support import report_samples as samples


def record_of(**fields: Any) -> RunRecord:
    given = samples.material(evaluation=samples.compared_evaluation(verdict="better", reasons=["Enough."]))
    for field, value in fields.items():
        setattr(given, field, value)
    return build_record(given, build(given), tuning="support_triage", key="0123456789abcdef")


def test_each_event_has_a_colour_and_each_outcome_an_event_or_none() -> None:
    assert {*OUTCOME_EVENTS.values(), "budget", "retiring"} == AFTER_THE_RUN
    assert set(COLOURS) == {*AFTER_THE_RUN, "approval_waiting", "overdue"}
    assert set(get_args(RunOutcome)) - OUTCOME_EVENTS.keys() == {"passed", "waiting", "skipped", "rolled_back"}


def test_a_message_has_what_the_report_has() -> None:
    record = record_of()
    assert end_events(record) == ["promoted"]
    notice = run_notice(record, "promoted")
    assert notice.subject == "support_triage: Promoted"
    assert notice.gain.startswith("-5 percentage points (lower bound -8.36")
    assert notice.score.startswith("Exact answers on the sample 85 % (79.")
    assert notice.cost.startswith("USD 0.57")
    assert notice.text.splitlines()[3] == "- Enough."


@pytest.mark.parametrize("secret", ["https://user:s3cr3t@host/x", "https://host/upload?signature=s3cr3t"])
def test_a_message_about_an_error_has_no_secret(secret: str) -> None:
    states = {TASK_IDS[Role.UPLOAD]: "failed"}
    record = record_of(states=states, errors={Role.UPLOAD: f"{secret} does not respond"}, evaluation=None)
    notice = run_notice(record, "failed")
    for text in (notice.text, notice.html, notice.subject):
        assert "s3cr3t" not in text
    assert "does not respond" in notice.text


def test_a_subject_is_one_short_line() -> None:
    notice = msgspec.structs.replace(run_notice(record_of(), "failed"), title="x\r\nBcc: a@b" + "y" * 1000)
    assert "\n" not in notice.subject
    assert "\r" not in notice.subject
    assert len(notice.subject) == 200
