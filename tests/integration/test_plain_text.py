"""Foreign text: what may be shown, and what never reaches a log, an error, an XCom or a trigger event as it is."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from airflow.sdk.exceptions import TaskDeferred
from vertex_tuning import exceptions
from vertex_tuning.evaluation import predict
from vertex_tuning.evaluation.cases import parse_cases
from vertex_tuning.evaluation.predict import predict_all
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.experiments import ExperimentsHook
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.hooks.storage import StorageHook

from tests.integration.operators.test_upload_dataset import uploading
from tests.support.emulator import classification_rows, upload
from tests.support.google_cloud import LOCATION, connection
from tests.support.hostile_text import HOSTILE, is_plain
from tests.support.proxy import Answer, Proxy
from tests.support.tasks import TaskContext, create, execute

TRAIN = "projects/1/locations/us-central1/tuningJobs/1"


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
        return VertexTuningHook(GoogleConnection(location=LOCATION))

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


# Google's answers


@pytest.mark.parametrize("text", [text for text in HOSTILE.values() if "\ud83d" not in text])
def test_details_of_refusals_are_plain(control: Callable[..., None], text: str) -> None:
    for method in ("tuningJobs.get", "models.get", "storage.objects.get"):
        control("faults", method=method, error={"code": 403, "message": text})
    for ask in (
        lambda: VertexTuningHook(GoogleConnection(location=LOCATION)).get_tuning_job(TRAIN),
        lambda: RegistryHook(GoogleConnection(location=LOCATION)).get("projects/1/locations/us-central1/models/1@1"),
        lambda: StorageHook(GoogleConnection(location=LOCATION)).find_object("gs://bucket/x"),
    ):
        with pytest.raises(exceptions.VertexRequestError) as error:
            ask()
        assert "403" in str(error.value)
        assert is_plain(str(error.value))


def test_names_of_series_are_plain(done: dict[str, Any], emulator: str, proxied: Proxy) -> None:
    hook = ExperimentsHook(GoogleConnection(location=LOCATION))

    def renamed(_: str, path: str) -> Answer | None:
        if "/timeSeries?" not in path:
            return None
        listed = httpx.get(f"{emulator}{path}").json()["tensorboardTimeSeries"]
        page = {"tensorboardTimeSeries": [{**series, "displayName": "/train\x1b[2J\n"} for series in listed]}
        return 200, "application/json", json.dumps(page).encode()

    proxied.replace = renamed
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
        (lambda: StorageHook(GoogleConnection(location=LOCATION)).find_object("gs://bucket/x"))
        if field.startswith("storage")
        else (lambda: VertexTuningHook(GoogleConnection(location=LOCATION)).get_tuning_job(TRAIN))
    )
    with pytest.raises(exceptions.ConfigurationError, match=f"{field}: found") as error:
        asked()
    assert "sesame" not in "".join(traceback.format_exception(error.value))


# What Airflow's database holds


def test_answers_wait_in_the_run_folder_and_not_in_the_database(
    control: Callable[..., None], done: dict[str, Any], emulator: str
) -> None:
    from vertex_tuning.operators.smoke_test import SmokeTestOperator

    rows = classification_rows(60)
    for row in rows:
        row["contents"][0]["parts"][0]["text"] += "x" * 8000
    uri = upload(emulator, "gs://data/long.jsonl", rows)
    given: dict[str, Any] = {"endpoint": done["tuned_model"]["endpoint"], "sample_uri": uri, "sample_size": 60}

    def leave(**arguments: Any) -> tuple[SmokeTestOperator, dict[str, Any]]:
        # The first 50 are answered (late, so that the fault counts them), the next is refused.
        control("faults", method="endpoints.generateContent", delay=0.001, count=50)
        control("faults", method="endpoints.generateContent", error={"code": 429})
        operator = SmokeTestOperator(task_id="smoke", parallel=1, **given, **arguments)
        operator.patience = 0.0
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


def test_a_display_name_is_shown_plainly() -> None:
    name = "Støtte \u200d 🙂"
    made = execute(create(display_name=name), TaskContext("hostile name"))
    assert made["tuned_model_display_name"] == r"Støtte \u200d 🙂"
