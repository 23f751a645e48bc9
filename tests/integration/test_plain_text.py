"""Foreign text: what may be shown, and what never reaches a log, an error, an XCom or a trigger event as it is."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import TaskDeferred
from hypothesis import given
from hypothesis import strategies as st
from vertex_tuning import exceptions
from vertex_tuning.evaluation import predict
from vertex_tuning.evaluation.approval_text import markdown
from vertex_tuning.evaluation.cases import parse_cases
from vertex_tuning.evaluation.comparison import parse_rule
from vertex_tuning.evaluation.predict import predict_all
from vertex_tuning.hooks.experiments import ExperimentsHook
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.jobs.job import TuningJob, terminal_event
from vertex_tuning.jobs.reconciliation import compare_with_service
from vertex_tuning.operators.report import keep_error
from vertex_tuning.plain_text import plain, plain_lines, storable_json, without_secrets
from vertex_tuning.report.parts import answers
from vertex_tuning.results import AnswerSet, SmokeAnswer

from tests.integration.conftest import LOCATION, connection
from tests.integration.operators.test_upload_dataset import uploading
from tests.support.emulator import classification_rows, upload
from tests.support.tasks import TaskContext, create, execute, sensor

HOSTILE = {
    "terminal escape": "\x1b[1A\x1b[2Kgone",
    "8-bit control": "\x9b1A",
    "line of a log": "x\n[2026-01-01T00:00:00Z] INFO - Marking task as SUCCESS",
    "carriage return": "right\rwrong",
    "NEL": "a\x85b",
    "line separator": "a\u2028b\u2029c",
    "NUL": "a\0b",
    "lone surrogate": "a\ud83d",
    "right to left": "\u202egnp.exe\u2069",
    "zero width": "a\u200bb\u200d\u2060\ufeff\u00ad",
    "tags": "a\U000e0068\U000e0069",
    "filler": "\u3164\u115f",
}
TRAIN = "projects/1/locations/us-central1/tuningJobs/1"


def is_plain(text: str) -> bool:
    return len(text.splitlines()) <= 1 and plain(text, len(text) + 1) == text


class TestPlain:
    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("Ünïcode, 日本語, עברית, 🙂 ❤️", "Ünïcode, 日本語, עברית, 🙂 ❤️"),
            ("12\u00a0000 €", "12\u00a0000 €"),
            (r"C:\temp {n}", r"C:\temp {n}"),
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\x1b[2J\x07\x9b", r"\x1b[2J\x07\x9b"),
            ("\0\ud800", r"\x00\ud800"),
            ("\u202e\u200b\u2028", r"\u202e\u200b\u2028"),
            ("\U000e0041\u3164", r"\U000e0041\u3164"),
        ],
    )
    def test_escapes_what_cannot_be_seen_and_nothing_else(self, text: str, shown: str) -> None:
        assert plain(text) == shown

    @given(st.text(st.characters(codec=None)), st.integers(1, 40))
    def test_any_text_becomes_one_line_that_can_be_seen_and_stored(self, text: str, limit: int) -> None:
        shown = plain(text, limit)
        assert len(shown) <= limit
        assert len(shown.splitlines()) <= 1
        assert "\0" not in shown.encode().decode()
        assert plain(shown, limit) == shown

    def test_lines_of_its_own_stay(self) -> None:
        assert plain_lines("a\x1b\n\tb\n", 100) == "a\\x1b\n\\tb\n"
        assert len(plain_lines("\x1b\n" * 10**6, 50)) == 50

    def test_json_loses_what_postgresql_cannot_hold_at_any_depth(self) -> None:
        value = {"\0": ["\ud800", {"a": "x\0"}, 1, None]}
        assert storable_json(value) == {"\ufffd": ["?", {"a": "x\ufffd"}, 1, None]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "503 POST https://storage.googleapis.com/upload/storage/v1/b/b/o?uploadType=resumable&upload_id=KEY: x",
            "503 POST https://storage.googleapis.com/upload/storage/v1/b/b/o?… x",
        ),
        (
            "Max retries exceeded with url: /upload/storage/v1/b/b/o?uploadType=resumable&upload_id=KEY (Caused by x)",
            "Max retries exceeded with url: /upload/storage/v1/b/b/o?… (Caused by x)",
        ),
        ("'https://me:KEY@host:8080/x'", "'https://host:8080/x'"),
        ("s3://AKIA:a/KEY@bucket/x", "s3://bucket/x"),
        ("https://host/x?KEY", "https://host/x?…"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
        ("gs://bucket/part-?.jsonl", "gs://bucket/part-?.jsonl"),
        ("Is it a=b? Yes.", "Is it a=b? Yes."),
    ],
)
def test_urls_have_neither_user_nor_query(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown


# Jobs


def job(**fields: Any) -> TuningJob:
    return TuningJob.parse({"name": TRAIN, "state": "JOB_STATE_FAILED", **fields})


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
class TestJobs:
    def test_the_error_is_one_plain_line(self, text: str) -> None:
        event = terminal_event(job(error={"code": 3, "message": text}))
        with pytest.raises(exceptions.TuningJobFailedError) as error:
            sensor(TRAIN).execute_complete(TaskContext(), event, TRAIN)  # type: ignore[arg-type]
        assert is_plain(str(error.value))

    def test_names_are_plain_and_all_of_it_can_be_stored(self, text: str) -> None:
        found = job(
            tuned_model_display_name=text,
            description=text,
            labels={text: text},
            base_model=text,
            error={"code": 3, "message": text},
        )
        assert is_plain(str(found.tuned_model_display_name))
        event = json.dumps(terminal_event(found))
        event.encode()
        assert "\\u0000" not in event
        assert TuningJob.parse(found.as_xcom()) == found

    def test_reasons_for_dropped_examples(self, text: str) -> None:
        stats = {"total_truncated_example_count": 1, "dropped_example_reasons": [text]}
        found = job(tuning_data_stats={"supervised_tuning_data_stats": stats})
        [warning] = compare_with_service({"rows": 3, "tokens": 3}, found)
        assert is_plain(warning)


def test_a_long_error_of_a_job_is_cut() -> None:
    error = job(error={"code": 3, "message": "x" * 10**6}).error
    assert error
    assert len(error.message) == 2000


# Models and cases


@pytest.fixture
def responding(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], VertexTuningHook]:
    """A hook that is answered with this body, whatever it asks."""

    def respond(body: dict[str, Any]) -> VertexTuningHook:
        monkeypatch.setattr(
            httpx.Client,
            "send",
            lambda _, request, **__: httpx.Response(200, content=json.dumps(body), request=request),
        )
        return VertexTuningHook(location=LOCATION)

    return respond


ENDPOINT = "projects/1/locations/us-central1/endpoints/2"


@pytest.mark.filterwarnings("ignore:(?s).* is not a valid FinishReason")  # the client's own
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
class TestModels:
    @pytest.mark.parametrize("where", ["answer", "block reason", "finish reason"])
    def test_what_they_say_writes_no_line_of_its_own(
        self, responding: Any, text: str, where: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        if where == "block reason":
            body: dict[str, Any] = {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": text}}
        else:
            # The client itself takes no finish reason that is half a character.
            reason = text.replace("\ud83d", "") if where == "finish reason" else "STOP"
            body = {"candidates": [{"finishReason": reason, "content": {"parts": [{"text": f"a {text} b"}]}}]}
        cases = parse_cases([{"prompt": "?", "equals": "right"}])
        with caplog.at_level("INFO", predict.log.name):
            [answer] = predict_all(responding(body), ENDPOINT, cases, deadline=0)
        assert all(is_plain(said) for said in [*caplog.messages, answer.problem, answer.finish_reason])
        assert all(is_plain(one) for one in (answer.cut().answer, answer.cut().prompt))
        answer.answer.encode()
        assert "\0" not in answer.answer

    def test_names_of_cases(self, text: str) -> None:
        [named, unnamed] = parse_cases([{"name": text, "prompt": "x"}, {"prompt": text}])
        assert is_plain(named.name)
        assert is_plain(unnamed.name)
        rule = parse_rule({"value": "sample.exact_share", "no_regression": [text]}, [named])
        assert rule.no_regression == [named.name]

    def test_their_answers_on_the_page(self, text: str) -> None:
        one = SmokeAnswer("n", text, f"first line\n{text}", text, latency=0.1, tokens=3, finish_reason="STOP")
        shown = answers(AnswerSet(0, 1, [one]))
        assert shown
        assert all(map(is_plain, shown.answers[0].answer.split("\n")))
        assert shown.answers[0].answer.startswith("first line\n")

    def test_in_the_approval(self, text: str) -> None:
        assert is_plain(markdown(text).replace("\u2060", ""))

    def test_errors_that_are_kept_for_the_report(self, text: str) -> None:
        context: Any = TaskContext()
        context["exception"] = ValueError(f"first line\n{text}")
        keep_error(context)
        assert all(map(is_plain, context.xcoms["error"].split("\n")))
        assert context.xcoms["error"].startswith("first line\n")


# Google's answers


@pytest.mark.parametrize("text", [text for text in HOSTILE.values() if "\ud83d" not in text])
def test_details_of_refusals_are_plain(control: Callable[..., None], text: str) -> None:
    for method in ("tuningJobs.get", "models.get", "storage.objects.get"):
        control("faults", method=method, error={"code": 403, "message": text})
    for ask in (
        lambda: VertexTuningHook(location=LOCATION).get_tuning_job(TRAIN),
        lambda: RegistryHook(location=LOCATION).get("projects/1/locations/us-central1/models/1@1"),
        lambda: StorageHook(location=LOCATION).find_object("gs://bucket/x"),
    ):
        with pytest.raises(exceptions.VertexRequestError) as error:
            ask()
        assert "403" in str(error.value)
        assert is_plain(str(error.value))


def test_names_of_series_are_plain(done: dict[str, Any], control: Callable[..., None], monkeypatch: Any) -> None:
    hook = ExperimentsHook(location=LOCATION)
    pages = hook._rest.pages

    def renamed(*arguments: Any, **query: Any) -> Any:
        return ({**one, "displayName": "/train\x1b[2J\n"} for one in pages(*arguments, **query))

    monkeypatch.setattr(hook._rest, "pages", renamed)
    assert {series.name for series in hook.read_metrics(done["experiment"])} == {r"/train\x1b[2J\n"}


def test_the_address_of_an_upload_session_is_a_key_and_stays_out_of_log_and_error(
    tmp_path: Any, storage: StorageHook, control: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b"x" * 9_000_000)
    for _ in range(2):  # the session is begun (late, so that the fault counts it), and its first bytes are refused
        control("faults", method="storage.objects.insert", delay=0.001, count=1)
        control("faults", method="storage.objects.insert", error={"code": 400, "message": "Broken."}, count=1)
    with pytest.raises(exceptions.VertexRequestError, match="400") as error:
        storage.upload_once(str(tmp_path / "rows.jsonl"), "bucket", "session.jsonl")
    said = "".join(traceback.format_exception(error.value)) + capfd.readouterr().out
    assert "Sending it once more" in said
    assert "/upload/storage/v1/b/bucket/o?…" in said
    assert "upload_id" not in said


@pytest.mark.parametrize("field", ["vertex_api_endpoint", "storage_api_endpoint"])
@pytest.mark.parametrize(
    "url",
    ["https://me:open-sesame@host", "https://open-sesame@host/x", "https://host/x?key=open-sesame", "me:open-sesame@h"],
)
def test_a_password_in_an_endpoint_is_refused_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, emulator: str, field: str, url: str
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(emulator, **{field: url}))
    asked: Callable[[], Any] = (
        (lambda: StorageHook(location=LOCATION).find_object("gs://bucket/x"))
        if field.startswith("storage")
        else (lambda: VertexTuningHook(location=LOCATION).get_tuning_job(TRAIN))
    )
    with pytest.raises(exceptions.ConfigurationError, match=f"{field}: found") as error:
        asked()
    assert "sesame" not in "".join(traceback.format_exception(error.value))


# What Airflow's database holds


def test_answers_wait_in_the_run_folder_and_not_in_the_database(
    done: dict[str, Any], emulator: str, control: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vertex_tuning.operators.smoke_test import SmokeTestOperator

    rows = classification_rows(60)
    for row in rows:
        row["contents"][0]["parts"][0]["text"] += "x" * 8000
    uri = upload(emulator, "gs://data/long.jsonl", rows)
    monkeypatch.setattr(predict, "MAX_WAIT_ON_WORKER", 0.0)
    given: dict[str, Any] = {"endpoint": done["tuned_model"]["endpoint"], "sample_uri": uri, "sample_size": 60}

    def leave(**arguments: Any) -> tuple[SmokeTestOperator, dict[str, Any]]:
        # The first 50 are answered (late, so that the fault counts them), the next is refused.
        control("faults", method="endpoints.generateContent", delay=0.001, count=50)
        control("faults", method="endpoints.generateContent", error={"code": 429})
        operator = SmokeTestOperator(task_id="smoke", parallel=1, **given, **arguments)
        with pytest.raises(TaskDeferred) as deferred:
            execute(operator)
        for kind in ("faults", "requests"):
            httpx.delete(f"{emulator}/_internal/{kind}").raise_for_status()
        return operator, json.loads(json.dumps(deferred.value.kwargs))

    def asked() -> int:
        log = httpx.get(f"{emulator}/_internal/requests", params={"method": "endpoints.generateContent"}).json()
        return len(log["requests"])

    operator, kwargs = leave(run_folder="gs://bucket/runs/long")
    assert len(json.dumps(kwargs)) < 500
    result = operator.predict_rest(TaskContext(), **kwargs)  # type: ignore[arg-type]
    assert (result["sample"]["total"], asked()) == (60, 10)
    assert len(result["sample"]["answers"]) == 20
    whole = json.loads(operator.storage.read_object(result["result_uri"], 10**7))
    assert len(whole["sample"]["answers"]) == 60
    assert len(whole["sample"]["answers"][0]["prompt"]) > 8000

    operator, kwargs = leave()
    assert 50_000 < len(json.dumps(kwargs)) < 150_000
    assert operator.predict_rest(TaskContext(), **kwargs)["sample"]["total"] == 60  # type: ignore[arg-type]
    assert 10 < asked() <= 50


def test_answers_that_are_gone_are_asked_for_again(done: dict[str, Any]) -> None:
    from vertex_tuning.operators.smoke_test import SmokeTestOperator

    operator = SmokeTestOperator(
        task_id="smoke",
        endpoint=done["tuned_model"]["endpoint"],
        cases=[{"prompt": "My card is lost, message 1.", "equals": "lost"}],
    )
    kept = "gs://bucket/none/answers-so-far-smoke.json"
    assert operator.predict_rest(TaskContext(), answered=kept)["cases"]["passed"] == 1  # type: ignore[arg-type]


# Datasets


@pytest.mark.parametrize("given", ["s3://AKIA:open/sesame@b/x.jsonl", "s3://AKIA:sesame@b/x", "s3://A%3Asesame@b/x",
    "gs://me:sesame@bucket/x.jsonl", "abfs://me:sesame@account/x", "me:sesame@s3://b/x", "https://b/x?key=sesame",
    "s3://b/x.jsonl?X-Amz-Signature=sesame", "s3://sesame@b/x.jsonl"])  # fmt: skip
def test_a_password_in_the_address_of_data_is_refused_and_not_quoted(tmp_path: Any, given: str) -> None:
    with pytest.raises(exceptions.TuningError) as error:
        execute(uploading(tmp_path, training_data=given))
    assert "sesame" not in "".join(traceback.format_exception(error.value))


@pytest.mark.parametrize("given", ["a_b://x/rows.jsonl", "{}/x://../rows.jsonl", "dir://{}/rows.jsonl", "://rows.jsonl",
    "zip://{}/rows.jsonl", "reference://x", "github://o:r@/x", "filecache://x", "S-3://x", "1://x"])  # fmt: skip
def test_a_scheme_that_is_not_on_the_list_is_refused(tmp_path: Any, given: str) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    with pytest.raises(exceptions.ConfigurationError, match="before ://, expected a local path or one of"):
        execute(uploading(tmp_path, training_data=given.format(tmp_path)))


def test_a_display_name_is_shown_plainly(control: Callable[..., None]) -> None:
    name = "Støtte \u200d 🙂"
    made = execute(create(display_name=name), TaskContext("hostile name"))
    assert made["tuned_model_display_name"] == r"Støtte \u200d 🙂"
