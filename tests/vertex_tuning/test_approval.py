"""The question a person is asked, and what becomes of texts from models and data in it."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from markdown_it import MarkdownIt
from vertex_tuning.approval import approval_task, approval_text, markdown

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
    expected, found = html(approval_text(EVALUATION, VALUES)), html(approval_text(evaluation, VALUES))
    for tag in ("<script", "<a ", "<img", "<em", "<code", "<h1", "<del"):
        assert tag not in found
    assert found.count("<table") == expected.count("<table") == 2
    assert found.count("<strong>") == 1
    assert not re.search(r"(?i)https?://|www\.|@[-\w]+\.\w", unescape(found))  # what Airflow's UI makes links of


def test_what_it_says() -> None:
    page = html(approval_text(EVALUATION, VALUES))
    assert "<strong>Verdict: better</strong>" in page
    assert "<td>sample.exact_share</td>\n<td>0.9</td>\n<td>0.95</td>" in page
    assert "<td>unknown</td>" in page
    assert "<td>at most 0.5</td>\n<td>passed</td>" in page
    assert "In use: projects/1/locations/us-central1/models/7@1" in page


def test_of_a_first_model_it_says_what_it_answered() -> None:
    page = html(approval_text({**EVALUATION, "champion": None}, VALUES))
    assert "There is no model in use." in page
    assert "<td>sample.exact_share</td>\n<td>0.95</td>" in page
    assert "<td>queue_seconds</td>" not in page


def test_of_many_reasons_the_first_are_shown() -> None:
    text = approval_text({**EVALUATION, "reasons": [f"reason {number}" for number in range(1000)]}, VALUES)
    assert len(text) < 2000


def test_the_task_has_a_deadline_at_which_it_rejects() -> None:
    with DAG("d", schedule=None) as dag:
        task = approval_task(evaluated_by="pipeline.evaluate_model", deadline=timedelta(hours=3))
    assert task.defaults == [ApprovalOperator.REJECT]
    assert task.response_timeout == timedelta(hours=3)
    assert (
        task.body == "{{ ti.xcom_pull(task_ids='pipeline.evaluate_model', key='summary', map_indexes=ti.map_index) }}"
    )
    assert not task.fail_on_reject
    DagSerialization.to_dict(dag)
