"""The smoke test against a model that was really tuned."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from airflow.providers.standard.triggers.temporal import DateTimeTrigger
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred
from vertex_tuning import exceptions
from vertex_tuning.evaluation.generation_settings import default_settings
from vertex_tuning.evaluation.predict import Backoff
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.operators.smoke_test import SmokeTestOperator

from tests.support.google_cloud import VALIDATION
from tests.support.tasks import TaskContext, execute

METHOD = "endpoints.generateContent"
RIGHT = {"name": "right", "prompt": "My card is lost, message 5000.", "equals": "lost"}
WRONG = {"name": "wrong", "prompt": "My card is lost, message 5000.", "equals": "found"}


def smoke_test(done: dict[str, Any], *cases: dict[str, Any], **arguments: Any) -> SmokeTestOperator:
    endpoint = done["tuned_model"]["endpoint"]
    return SmokeTestOperator(task_id="smoke", endpoint=endpoint, cases=list(cases), **arguments)


def test_a_model_that_answers_as_expected_passes(done: dict[str, Any]) -> None:
    result = execute(smoke_test(done, RIGHT, sample_uri=VALIDATION, sample_size=4))
    assert (result["cases"]["passed"], result["sample"]["passed"], result["sample"]["total"]) == (1, 4, 4)
    assert (result["values"]["smoke.pass_share"], result["values"]["sample.exact_share"]) == (1.0, 1.0)
    assert 0 < result["values"]["smoke.latency_p95"] < 10
    assert result["result_uri"] is None


def test_a_model_that_does_not_fails_with_prompt_answer_and_expectation(done: dict[str, Any]) -> None:
    context = TaskContext()
    with pytest.raises(
        exceptions.SmokeTestError, match=r"^Refused: 1 of 2 smoke cases answered as expected, expected all"
    ) as error:
        execute(smoke_test(done, RIGHT, WRONG), context)
    assert "wrong: 'My card is lost, message 5000.' -> 'lost': expected 'found', found 'lost'" in str(error.value)
    assert [answer["name"] for answer in context.xcoms["answers"]["cases"]["answers"]] == ["right", "wrong"]
    assert execute(smoke_test(done, RIGHT, WRONG, min_pass_share=0.5))["cases"]["passed"] == 1


def test_a_refused_model_can_skip_what_follows_instead(done: dict[str, Any]) -> None:
    context = TaskContext()
    with pytest.raises(AirflowSkipException, match=r"^Refused: 0 of 1 smoke cases answered"):
        execute(smoke_test(done, WRONG, on_refused="skip"), context)
    assert context.xcoms["answers"]["cases"]["passed"] == 0
    with pytest.raises(exceptions.ConfigurationError, match="on_refused: found 'ignore'"):
        execute(smoke_test(done, WRONG, on_refused="ignore"))


def test_the_sample_is_judged_only_when_that_is_asked_for(done: dict[str, Any]) -> None:
    cut: dict[str, Any] = {"sample_uri": VALIDATION, "sample_size": 3, "ask_cases": False, "min_sample_share": 1.0}
    assert execute(smoke_test(done, **cut))["sample"]["passed"] == 3
    late = {**cut, "sample_uri": "gs://data/wrong.jsonl"}
    StorageHook(GoogleConnection(location="us-central1")).write_object(
        late["sample_uri"], _with_wrong_answers(), "application/jsonl"
    )
    with pytest.raises(exceptions.SmokeTestError, match=r"0 of 3 examples answered(.|\n)*sample 1: "):
        execute(smoke_test(done, **late))
    assert execute(smoke_test(done, **{**late, "min_sample_share": None}))["values"]["sample.exact_share"] == 0


def _with_wrong_answers() -> bytes:
    turns = [[("user", f"My card is lost, message {n}."), ("model", "found")] for n in range(5)]
    rows = [{"contents": [{"role": role, "parts": [{"text": text}]} for role, text in row]} for row in turns]
    return "\n".join(map(json.dumps, rows)).encode()


def test_cases_of_another_subject_can_be_left_out(done: dict[str, Any]) -> None:
    result = execute(smoke_test(done, WRONG, ask_cases="False", sample_uri=VALIDATION))
    assert (result["cases"]["total"], result["sample"]["total"]) == (0, 10)
    assert "smoke.pass_share" not in result["values"]
    alone = execute(smoke_test(done, WRONG, ask_cases=False, sample_uri="None"))
    assert (alone["values"], alone["cases"]["total"]) == ({}, 0)
    with pytest.raises(exceptions.ConfigurationError, match="found no cases and no sample_uri"):
        execute(smoke_test(done, sample_uri="None"))


def test_a_case_that_is_none_is_named(done: dict[str, Any]) -> None:
    with pytest.raises(exceptions.ConfigurationError, match="`question`"):
        execute(smoke_test(done, {"question": "?"}))


@pytest.mark.parametrize("content", [b"no JSON", b'{"contents": 3}', b'{"contents": [{"parts": "x"}]}'])
def test_a_sample_of_something_else_is_refused(done: dict[str, Any], storage: StorageHook, content: bytes) -> None:
    uri = storage.write_object("gs://data/other.txt", content, "text/plain")
    with pytest.raises(exceptions.DatasetError, match=r"gs://data/other\.txt: .*expected rows"):
        execute(smoke_test(done, RIGHT, sample_uri=uri))


def test_the_whole_result_is_written_and_xcom_has_short_texts(done: dict[str, Any], storage: StorageHook) -> None:
    long = {"prompt": "Well. " * 200 + "My card is lost, message 1."}
    result = execute(smoke_test(done, long, run_folder="gs://bucket/runs/1/", sample_uri=VALIDATION, sample_size=2))
    assert result["result_uri"] == "gs://bucket/runs/1/smoke-test.json"
    whole = json.loads(storage.read_object(result["result_uri"], limit=10**6))
    assert len(result["cases"]["answers"][0]["prompt"]) == 500
    assert whole["cases"]["answers"][0]["prompt"] == long["prompt"]
    assert whole["sample"] == result["sample"]
    assert (whole["values"], whole["endpoint"]) == (result["values"], result["endpoint"])


def deferred(operator: SmokeTestOperator, method: str = "execute", **arguments: Any) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferral:
        getattr(operator, method)(TaskContext(), **arguments)
    return deferral.value


def test_a_long_wait_leaves_the_worker_and_keeps_the_answers(
    done: dict[str, Any], control: Callable[..., None], google_cloud: str
) -> None:
    operator = smoke_test(done, RIGHT, WRONG, sample_uri=VALIDATION, sample_size=6, min_pass_share=0.5, parallel=1)
    operator.patience = 0.0
    # Twice, some prompts are taken (late, so that the fault counts them) and the next is refused.
    control("faults", method=METHOD, delay=0.001, count=3)
    control("faults", method=METHOD, error={"code": 429}, count=1)
    control("faults", method=METHOD, delay=0.001, count=2)
    control("faults", method=METHOD, error={"code": 503}, count=1)

    first = deferred(operator)
    assert first.method_name == "predict_rest"
    assert isinstance(first.trigger, DateTimeTrigger)
    assert 50 < first.trigger.moment.timestamp() - time.time() <= 120
    kept = json.loads(json.dumps(first.kwargs))
    [answers] = kept["answered"]["answers"].values()
    assert [answer["name"] for answer in answers][:3] == ["right", "wrong", "sample 1"]
    second = json.loads(json.dumps(deferred(operator, "predict_rest", **kept).kwargs))
    assert second["deadline"] == kept["deadline"]
    [more] = second["answered"]["answers"].values()
    assert len(answers) < len(more) < 8

    result = operator.predict_rest(TaskContext(), event={}, **second)  # type: ignore[arg-type]
    assert (result["cases"]["passed"], result["sample"]["passed"]) == (1, 6)
    log = httpx.get(f"{google_cloud}/_internal/requests", params={"method": METHOD}).json()["requests"]
    assert sum(request["status"] == 200 for request in log) == 8  # nothing was asked twice


def test_an_operator_that_may_not_leave_waits_on_the_worker(done: dict[str, Any], control: Callable[..., None]) -> None:
    control("faults", method=METHOD, error={"code": 429}, count=2)
    operator = smoke_test(done, RIGHT, deferrable=False)
    operator.patience, operator.backoff = 0.0, Backoff(first=0.1)
    assert execute(operator)["cases"]["passed"] == 1


def test_when_time_is_over_the_task_fails_with_the_last_refusal(
    done: dict[str, Any], control: Callable[..., None]
) -> None:
    control("faults", method=METHOD, error={"code": 429, "message": "Try again later."})
    with pytest.raises(exceptions.EndpointTimeoutError, match=r"429 RESOURCE_EXHAUSTED: Try again later\."):
        execute(smoke_test(done, RIGHT, timeout=0.5))
    with pytest.raises(exceptions.EndpointTimeoutError, match="429"):
        smoke_test(done, RIGHT).predict_rest(TaskContext(), deadline=time.time(), answered=[])  # type: ignore[arg-type]


def test_a_killed_attempt_leaves_its_answers_to_the_next(
    done: dict[str, Any], control: Callable[..., None], google_cloud: str
) -> None:
    """Answers are written while the task runs, so that no prompt is paid for twice."""
    arguments: dict[str, Any] = {"sample_uri": VALIDATION, "sample_size": 6, "run_folder": "gs://bucket/runs/killed"}
    operator = smoke_test(done, RIGHT, WRONG, min_pass_share=0.5, parallel=1, **arguments)
    control("faults", method=METHOD, delay=0.001, count=3)
    control("faults", method=METHOD, error={"code": 400}, count=1)  # stands for the kill: nothing is concluded
    with pytest.raises(exceptions.VertexRequestError):
        execute(operator)
    result = execute(smoke_test(done, RIGHT, WRONG, min_pass_share=0.5, **arguments))
    assert (result["cases"]["total"], result["sample"]["total"]) == (2, 6)
    log = httpx.get(f"{google_cloud}/_internal/requests", params={"method": METHOD}).json()["requests"]
    assert sum(request["status"] == 200 for request in log) == 8
    # Other expectations are other questions: their answers are judged anew.
    changed = {**RIGHT, "equals": "something else"}
    assert execute(smoke_test(done, changed, WRONG, min_pass_share=0.0, **arguments))["cases"]["passed"] == 0


def test_a_model_that_was_tuned_twice_is_asked_as_its_base_model(done: dict[str, Any]) -> None:
    tuned = done["tuned_model"]["model"]
    assert smoke_test(done, RIGHT, base_model=tuned).settings() == default_settings("gemini-2.5-flash")
    deleted = smoke_test(done, RIGHT, base_model=tuned.replace("@1", "@99"))
    assert deleted.settings() == default_settings("")
