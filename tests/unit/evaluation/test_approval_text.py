"""The question a person is asked, and what becomes of texts from models and data in it."""

from __future__ import annotations

import re
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from html import unescape
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from airflow.providers.standard.operators import hitl
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG
from airflow.sdk.exceptions import DownstreamTasksSkipped, TaskAwaitingInput
from airflow.serialization.serialized_objects import DagSerialization
from markdown_it import MarkdownIt
from vertex_tuning.evaluation.approval_text import approval_text, markdown
from vertex_tuning.exceptions import ConfigurationError, QuestionChangedError
from vertex_tuning.operators.approval import ApproveModelOperator, approval_task, in_words
from vertex_tuning.operators.evaluation import EvaluateModelOperator
from vertex_tuning.operators.report import WriteReportOperator
from vertex_tuning.results import Decision, EvaluationResult

from tests.support.tasks import TaskContext

EVALUATION: dict[str, Any] = {
    "verdict": "better",
    "reasons": [],
    "model": "projects/1/locations/us-central1/models/8@1",
    "champion": {"model": "projects/1/locations/us-central1/models/7@1", "job": None},
    "gates": [{"value": "eval_total_loss.last", "found": 0.1, "limit": "at most 0.5", "verdict": "passed"}],
    "comparison": {
        "values": {
            "sample.exact_share": {"champion": 0.9, "challenger": 0.95},
            "smoke.pass_share": {"champion": None, "challenger": 1.0},
        },
        "notes": ["The models were validated on different data."],
    },
}

VALUES = {"queue_seconds": 3.0, "smoke.pass_share": 1.0, "sample.exact_share": 0.95}

HOSTILE = [
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "![seen](https://evil.example/pixel.png)",
    "<https://evil.example>",
    "&lt;b&gt; &#35;",
    "`code` **bold** _em_ ~~gone~~",
    "# heading",
    "- item",
    "1. item",
    "a | b |",
    "line\n\n| a | b |\n|---|---|",
    "back\\slash \\[x\\](y)",
    "{{ 7 * 7 }}",
    "see https://evil.example, HTTP://evil.example or www.evil.example",
    "somebody@evil.example",
]


def text_about(evaluation: dict[str, Any]) -> str:
    return approval_text(msgspec.convert(evaluation, EvaluationResult), VALUES)


def html(text: str) -> str:
    """As a browser gets it: CommonMark with GitHub's tables, HTML let through."""
    return str(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))


def text_of(page: str) -> str:
    return unescape(page.replace("<p>", "").replace("</p>", "")).strip().replace("\u2060", "")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_comes_out_as_it_is(text: str) -> None:
    assert text_of(html(f"so: {markdown(text)}")) == f"so: {' '.join(text.split())}"


@pytest.mark.parametrize("text", HOSTILE)
def test_wherever_it_stands(text: str) -> None:
    evaluation = {**EVALUATION, "reasons": [text], "model": text}
    evaluation["comparison"] = {"values": {text: {"champion": 1.0, "challenger": 2.0}}, "notes": [text]}
    expected, found = html(text_about(EVALUATION)), html(text_about(evaluation))
    for tag in ("<script", "<a ", "<img", "<em", "<code", "<h1", "<del"):
        assert tag not in found
    assert found.count("<table") == expected.count("<table") == 2
    assert found.count("<strong>") == 1
    assert not re.search(r"(?i)https?://|www\.|@[-\w]+\.\w", unescape(found))  # what Airflow's UI makes links of


def test_what_it_says() -> None:
    page = html(text_about(EVALUATION))
    assert "<strong>Better than the model in use</strong>" in page
    label = "Exact answers on the sample (sample.exact_share)"
    assert f"<td>{label}</td>\n<td>90 %</td>\n<td>95 %</td>" in page
    assert "<td>unknown</td>" in page
    assert "<td>at most 0.5</td>\n<td>passed</td>" in page
    assert "Model in use: projects/1/locations/us-central1/models/7@1" in page


def test_of_a_first_model_it_says_what_it_answered() -> None:
    page = html(text_about({**EVALUATION, "champion": None}))
    assert "There is no model in use." in page
    assert "First model: nothing to compare with" in html(
        text_about({**EVALUATION, "champion": None, "verdict": "first"})
    )
    assert "(sample.exact_share)</td>\n<td>95 %</td>" in page
    assert "queue_seconds" not in page


def test_the_base_model_stands_beside_the_others() -> None:
    evaluation = {**EVALUATION, "baseline": "gemini-2.5-flash"}
    values = {"sample.exact_share": {"baseline": 0.2, "champion": 0.9, "challenger": 0.95}}
    evaluation["comparison"] = {"values": values}
    page = html(text_about(evaluation))
    assert "Base model, not tuned: gemini-2.5-flash" in page
    assert "<th>base model</th>\n<th>model in use</th>\n<th>new model</th>" in page
    assert "<td>20 %</td>\n<td>90 %</td>\n<td>95 %</td>" in page
    first = html(text_about({**evaluation, "champion": None, "verdict": "first"}))
    assert "<th>base model</th>\n<th>new model</th>" in first
    assert "<td>20 %</td>\n<td>95 %</td>" in first


def test_the_gain_and_its_bounds_are_said_with_the_rule() -> None:
    gain = {
        "observed": 0.05,
        "lower": 0.012,
        "upper": 0.088,
        "confidence": 0.95,
        "examples": 200,
        "better": 14,
        "worse": 4,
    }
    rule = {"value": "sample.exact_share"}
    comparison = {**EVALUATION["comparison"], "rule": rule, "gain": gain}
    page = html(text_about({**EVALUATION, "comparison": comparison}))
    assert "Gain +5 percentage points (lower bound +1.2, upper bound +8.8, each with 95 % confidence)." in page
    assert "The new model must be shown to be at most 2 percentage points lower." in page


def test_of_many_reasons_the_first_are_shown() -> None:
    text = text_about({**EVALUATION, "reasons": [f"reason {number}" for number in range(1000)]})
    assert len(text) < 2000


def test_the_task_has_a_deadline_at_which_it_rejects() -> None:
    with DAG("d", schedule=None) as dag:
        evaluation = EvaluateModelOperator(task_id="evaluate", job_name="j", values={}, rule={})
        task = approval_task(evaluation=evaluation, deadline=timedelta(hours=3))
    assert task.defaults == [ApprovalOperator.REJECT]
    assert task.response_timeout == timedelta(hours=3)
    assert "Without an answer within 3 hours, nothing is changed." in task.subject
    assert not task.fail_on_reject
    DagSerialization.to_dict(dag)


@pytest.mark.parametrize("deadline", [timedelta(0), timedelta(hours=1e-10), timedelta(hours=-1)])
def test_a_deadline_that_leaves_no_time_is_refused(deadline: timedelta) -> None:
    with DAG("d", schedule=None):
        evaluation = EvaluateModelOperator(task_id="evaluate", job_name="j", values={}, rule={})
        with pytest.raises(ConfigurationError, match=r"deadline: found .*, expected more than"):
            approval_task(evaluation=evaluation, deadline=deadline)


def rendered(task: ApproveModelOperator, **xcoms: Any) -> str:
    """The question, of what the tasks of the run have left by `task__key`."""
    instance = SimpleNamespace(
        map_index=-1, task=None, xcom_pull=lambda task_ids, key, **_: xcoms.get(f"{task_ids}__{key}")
    )
    task.render_template_fields({"ti": instance, "task": task})  # type: ignore[typeddict-item]
    return str(task.body)


def asking(*, reported: bool = False, **arguments: Any) -> ApproveModelOperator:
    with DAG("d", schedule=None, params={"epoch_count": 3}):
        evaluation = EvaluateModelOperator(task_id="evaluate", job_name="j", values={}, rule={})
        report = WriteReportOperator(task_id="draft") if reported else None
        return approval_task(evaluation=evaluation, report=report, deadline=timedelta(hours=72), **arguments)


EVALUATED = {"evaluate__summary": "**Better**", "evaluate__return_value": {"verdict": "better"}}


def test_the_question_links_to_the_report() -> None:
    url = "http://127.0.0.1:8085/storage/v1/b/b/o/runs%2F1%2Freport.html?alt=media"
    question = rendered(asking(reported=True), **EVALUATED, draft__report_url=url)
    assert f'<a href="{url}">The report of this run</a>' in html(question)
    assert rendered(asking(reported=True), **EVALUATED) == rendered(asking(), **EVALUATED) == "**Better**"


def test_nobody_is_asked_about_an_evaluation_that_was_marked_by_hand() -> None:
    with pytest.raises(ConfigurationError, match=r"^evaluate has no result; was it marked by hand\?"):
        rendered(asking())


def test_the_person_may_give_a_reason_and_is_not_asked_for_the_dags_own_form() -> None:
    assert list(asking().serialized_params) == ["reason"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Airflow was told to ask; its API server is not there."""
    questions: list[str] = []
    monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **request: questions.append(request["body"]))
    return questions


def ask(task: ApproveModelOperator, context: TaskContext) -> None:
    context["task_instance"] = SimpleNamespace(id="0")
    with pytest.raises(TaskAwaitingInput):
        task.execute(context)  # type: ignore[arg-type]


def test_the_same_question_may_be_asked_again_and_another_one_fails_before_it_is(asked: list[str]) -> None:
    context, task = TaskContext(), asking()
    task.body = "first"
    ask(task, context)
    ask(task, context)  # a retry, or a clear of this task alone
    task.body = "the evaluation was cleared and came to something else"
    with pytest.raises(QuestionChangedError, match=r"no approval was requested\. Start a new run"):
        task.execute(context)  # type: ignore[arg-type]
    assert asked == ["first", "first"]
    ask(task, TaskContext())  # a new run
    assert len(asked) == 3


AT = datetime(2026, 3, 2, 7, 10, tzinfo=UTC)
ADA = {"id": "1", "name": "Ada\x1b[31m"}


@pytest.mark.parametrize(
    ("event", "said", "skips"),
    [
        (
            {"chosen_options": ["Approve"], "responded_by_user": ADA, "params_input": {}},
            r"Approved by Ada\x1b[31m on 2026-03-02 07:10:00 UTC.",
            False,
        ),
        (
            {"chosen_options": ["Reject"], "responded_by_user": ADA, "params_input": {"reason": " It\nswears. "}},
            r"Rejected by Ada\x1b[31m on 2026-03-02 07:10:00 UTC. Reason given: It\nswears.",
            True,
        ),
        (
            {"chosen_options": ["Reject"], "responded_by_user": None, "params_input": {"reason": ""}, "timedout": True},
            "No answer within 72 hours.",
            True,
        ),
    ],
)
def test_who_decided_is_said_and_kept_before_what_follows_is_skipped(
    event: dict[str, Any], said: str, skips: bool, capfd: Any
) -> None:
    context = TaskContext()
    task = asking()
    with task.dag:
        task >> EmptyOperator(task_id="promote")
    context["task"] = task
    with pytest.raises(DownstreamTasksSkipped) if skips else nullcontext():
        task.execute_complete(context, {"responded_at": AT, **event})  # type: ignore[arg-type]
    decision = msgspec.convert(context.xcoms["decision"], Decision)
    assert said == f"{decision}" + (f" Reason given: {decision.reason}" if decision.reason else "")
    log = capfd.readouterr().out
    assert said in log
    assert not skips or log.index(said) < log.index("Skipping downstream tasks")


@pytest.mark.parametrize(
    ("time", "words"),
    [
        (timedelta(hours=72), "72 hours"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(seconds=15), "15 seconds"),
    ],
)
def test_how_long_there_was_to_answer(time: timedelta, words: str) -> None:
    assert in_words(time) == words
