"""Asking a model that was really tuned many prompts, while the service is slow, overloaded or not ready."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from vertex_tuning import exceptions
from vertex_tuning.evaluation.cases import SmokeCase, parse_cases
from vertex_tuning.evaluation.generation_settings import default_settings
from vertex_tuning.evaluation.predict import Backoff, PredictLaterError, predict_all
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.results import SmokeAnswer

from tests.support.emulator import upload
from tests.support.google_cloud import LOCATION, connection
from tests.support.tasks import TaskContext, create, execute

METHOD = "endpoints.generateContent"
WORDS = ("lost", "stolen", "late")


@pytest.fixture
def endpoint(done: dict[str, Any]) -> str:
    return str(done["tuned_model"]["endpoint"])


@pytest.fixture
def requests(google_cloud: str) -> Callable[[], list[dict[str, Any]]]:
    """The predictions that were asked for so far."""

    def read() -> list[dict[str, Any]]:
        log = httpx.get(f"{google_cloud}/_internal/requests", params={"method": METHOD}).raise_for_status().json()
        return list(log["requests"])

    return read


def questions(count: int) -> list[SmokeCase]:
    asked = [(WORDS[number % 3], number) for number in range(count)]
    return parse_cases([{"prompt": f"My card is {word}, message {n}.", "equals": word} for word, n in asked])


def soon(seconds: float = 30) -> float:
    return time.time() + seconds


def ask(hook: VertexTuningHook, endpoint: str, cases: list[SmokeCase], **arguments: Any) -> list[SmokeAnswer]:
    """`predict_all` that tries again soon."""
    return predict_all(hook, endpoint, cases, backoff=Backoff(first=0.01, longest=0.1), **arguments)


def ask_one(hook: VertexTuningHook, endpoint: str, **case: Any) -> SmokeAnswer:
    fields = {"prompt": "My card is lost, message 1.", **case}
    [answer] = ask(
        hook, endpoint, [case.under(default_settings("")) for case in parse_cases([fields])], deadline=soon()
    )
    return answer


def test_answers_come_in_the_order_of_the_cases(hook: VertexTuningHook, endpoint: str) -> None:
    cases = questions(7)
    answers = ask(hook, endpoint, cases, deadline=soon())
    assert [answer.answer for answer in answers] == [case.equals for case in cases]
    assert [answer.name for answer in answers] == [case.name for case in cases]
    assert all(a.problem == "" and a.tokens > 0 and a.latency > 0 and a.finish_reason == "STOP" for a in answers)
    assert ask(hook, endpoint, [], deadline=soon()) == []


def test_so_many_are_asked_at_once_and_no_more(
    hook: VertexTuningHook, endpoint: str, control: Callable[..., None], requests: Callable[[], list[dict[str, Any]]]
) -> None:
    control("faults", method=METHOD, delay=0.3)
    ask(hook, endpoint, questions(9), parallel=3, deadline=soon())
    spans = []
    for request in requests():
        end = datetime.fromisoformat(request["time"])
        spans.append((end - timedelta(milliseconds=request["milliseconds"]), end))
    overlaps = [sum(start <= moment < end for start, end in spans) for moment, _ in spans]
    assert len(spans) == 9
    assert max(overlaps) == 3


@pytest.mark.parametrize(
    "fault",
    [
        {"error": {"code": 404, "message": "Not found."}, "count": 3},
        {"error": {"code": 400, "status": "FAILED_PRECONDITION", "message": "no traffic_split"}, "count": 3},
        {"error": {"code": 429, "message": "Resource exhausted."}, "probability": 0.6},
        {"error": {"code": 503}, "probability": 0.6},
        {"drop": "before", "count": 3},
    ],
    ids=["not there yet", "not deployed yet", "429 storm", "503", "broken connections"],
)
def test_refusals_that_pass_are_waited_out(
    hook: VertexTuningHook, endpoint: str, control: Callable[..., None], fault: dict[str, Any]
) -> None:
    control("faults", method=METHOD, **fault)
    answers = ask(hook, endpoint, questions(8), deadline=soon())
    assert [answer.problem for answer in answers] == [""] * 8


def test_a_pause_is_no_latency(hook: VertexTuningHook, endpoint: str, control: Callable[..., None]) -> None:
    control("faults", method=METHOD, error={"code": 429}, count=6)
    started = time.monotonic()
    answer = ask_one(hook, endpoint)
    assert answer.latency < (time.monotonic() - started) / 2


def test_a_slow_answer_is_a_failed_case(hook: VertexTuningHook, endpoint: str, control: Callable[..., None]) -> None:
    control("faults", method=METHOD, delay=0.4, count=1)
    assert "expected an answer within 0.3 s, found 0." in ask_one(hook, endpoint, max_latency=0.3).problem


def test_a_model_that_stays_overloaded_is_left_with_the_answers_it_gave(
    hook: VertexTuningHook, endpoint: str, control: Callable[..., None], requests: Callable[[], list[dict[str, Any]]]
) -> None:
    cases = questions(12)
    hook.generate(endpoint, cases[0].contents(), {})  # the client's first request takes longer than others
    control("faults", method=METHOD, error={"code": 429}, probability=0.5)
    with pytest.raises(PredictLaterError, match="429") as later:
        ask(hook, endpoint, cases, deadline=soon(), parallel=2, patience=0.02)
    kept = later.value.answers
    assert 0 < len(kept) < 12
    before = sum(request["status"] == 200 for request in requests())
    assert before == len(kept) + 1  # no answer is thrown away

    httpx.delete(f"{hook.connection.endpoint(LOCATION)}/_internal/faults").raise_for_status()
    answers = ask(hook, endpoint, cases, deadline=soon(), answered=kept)
    assert [answer.problem for answer in answers] == [""] * 12
    assert [a for a in answers if a in kept] == sorted(kept, key=answers.index)
    assert len([r for r in requests() if r["status"] == 200]) == 12 + 1


def test_when_time_is_over_the_last_refusal_is_named(
    hook: VertexTuningHook, endpoint: str, control: Callable[..., None]
) -> None:
    control("faults", method=METHOD, error={"code": 503, "message": "Down for repairs."})
    started = time.monotonic()
    with pytest.raises(exceptions.EndpointTimeoutError, match=r"503 UNAVAILABLE: Down for repairs\."):
        ask(hook, endpoint, questions(8), deadline=soon(0.5), patience=math.inf)
    assert time.monotonic() - started < 5


def test_an_endpoint_that_never_comes_is_waited_for_until_time_is_over(hook: VertexTuningHook, endpoint: str) -> None:
    missing = endpoint.rpartition("/")[0] + "/1234567890"
    with pytest.raises(exceptions.EndpointTimeoutError, match="404 NOT_FOUND"):
        ask(hook, missing, questions(1), deadline=soon(0.3))


@pytest.mark.parametrize("code", [400, 403])
def test_what_waiting_cannot_help_ends_it_at_once_and_names_the_case(
    hook: VertexTuningHook, endpoint: str, control: Callable[..., None], code: int
) -> None:
    control("faults", method=METHOD, error={"code": code, "message": "Never."}, count=1)
    with pytest.raises(exceptions.VertexRequestError, match=rf"Case 'My card is .*': .*{code} .*Never\."):
        ask(hook, endpoint, questions(4), deadline=soon())


def test_an_answer_that_was_cut_off_says_so(hook: VertexTuningHook, google_cloud: str) -> None:
    turns = [("user", "What is lost?"), ("model", "It is the card that is lost.")]
    row = {"contents": [{"role": role, "parts": [{"text": text}]} for role, text in turns]}
    uri = upload(google_cloud, "gs://data/sentences.jsonl", [row] * 30)
    job = execute(
        create(training_uri=uri, validation_uri="", wait_for_completion=True, deferrable=False),
        TaskContext("sentences"),
    )
    case = {"prompt": "What is lost?", "generation_config": {"max_output_tokens": 2, "temperature": 0.0}}
    answer = ask_one(hook, job["tuned_model"]["endpoint"], **case)
    assert (len(answer.answer.split()), answer.finish_reason) == (2, "MAX_TOKENS")
    assert "cut off at generation_config.max_output_tokens" in answer.problem
    assert ask_one(hook, job["tuned_model"]["endpoint"], **case, finish_reason=["STOP", "MAX_TOKENS"]).problem == ""


def test_an_empty_answer_says_so(hook: VertexTuningHook, endpoint: str) -> None:
    answer = ask_one(hook, endpoint, generation_config={"stop_sequences": ["lost"]})
    assert (answer.answer, answer.problem) == ("", "the answer was empty")


SAFETY = {"finishReason": "SAFETY", "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "blocked": True}]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "the service sent no candidate"),
        ({"candidates": []}, "the service sent no candidate"),
        ({"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "Violent."}}, "blocked: SAFETY Violent."),
        ({"promptFeedback": {"blockReason": "JAILBREAK"}}, "the prompt was blocked: JAILBREAK"),
        ({"candidates": [SAFETY]}, "found SAFETY (the safety filters stopped it)"),
        ({"candidates": [{"finishReason": "STOP", "content": {"role": "model"}}]}, "the answer was empty"),
        ({"candidates": [{"finishReason": "STOP", "content": {"parts": []}}]}, "the answer was empty"),
        (
            {"candidates": [{"finishReason": "STOP", "content": {"parts": [{"functionCall": {"name": "f"}}]}}]},
            "the answer was empty",
        ),
        (
            {"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "x", "thought": True}]}}]},
            "the answer was empty",
        ),
        ({"candidates": [{"content": {"parts": [{"text": "x"}]}}]}, "found FINISH_REASON_UNSPECIFIED"),
        ({"candidates": [{"finishReason": "STOP", "content": {"parts": [{"text": "\ud800\0"}]}}]}, "found '?\ufffd'"),
    ],
)
def test_whatever_the_service_sends_is_a_verdict_and_no_crash(
    monkeypatch: pytest.MonkeyPatch, body: dict[str, Any], words: str
) -> None:
    asked: list[str] = []

    def answer(_: Any, request: httpx.Request, **__: Any) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200, content=json.dumps(body), request=request)

    monkeypatch.setattr(httpx.Client, "send", answer)
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection("", vertex_api_endpoint=""))
    verdict = ask_one(
        VertexTuningHook(GoogleConnection(location="us-central1")),
        "projects/1/locations/eu/endpoints/2",
        equals="right",
    )
    assert words in verdict.problem
    # The location is the endpoint's, not the hook's.
    host = "https://aiplatform.eu.rep.googleapis.com"
    assert asked == [f"{host}/v1beta1/projects/1/locations/eu/endpoints/2:generateContent"]
