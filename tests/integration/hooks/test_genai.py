"""The hook against a live local Google Cloud, through the real clients."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from vertex_tuning.exceptions import (
    ConfigurationError,
    ConnectionNotFoundError,
    VertexRequestError,
    VertexUnavailableError,
)
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.experiments import ExperimentsHook
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.job_reader import JobReader
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.jobs.job import TuningJob, terminal_event

from tests.integration.conftest import LOCATION, PROJECT, TRAINING, connection, spec
from tests.support.processes import free_port


def finished(hook: VertexTuningHook, job: TuningJob) -> TuningJob:
    deadline = time.monotonic() + 60
    while not terminal_event(job):
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
        job = hook.get_tuning_job(job.name)
    return job


def test_a_job_is_created_watched_and_its_model_asked(hook: VertexTuningHook) -> None:
    asked = spec(learning_rate_multiplier=2.0, adapter_size=8, display_name="cards", description="A test.")
    created = hook.create_tuning_job(asked, {"team": "cards"})
    assert (created.tuned_model_display_name, created.labels) == ("cards", {"team": "cards"})

    job = finished(hook, created)
    assert job.state == "JOB_STATE_SUCCEEDED"
    assert job.supervised_tuning_spec is not None
    assert job.supervised_tuning_spec.hyper_parameters is not None
    assert job.supervised_tuning_spec.hyper_parameters.adapter_size == "ADAPTER_SIZE_EIGHT"
    assert job.tuning_job_metadata is not None
    assert job.tuning_job_metadata.completed_epoch_count == 3
    assert job.tuned_model is not None
    assert len(job.tuned_model.checkpoints) == 3

    assert job.experiment is not None
    series = {
        one.name: one.points
        for one in ExperimentsHook(GoogleConnection(location=LOCATION)).read_metrics(job.experiment)
    }
    assert {"/train_total_loss", "/eval_total_loss", "/eval_fraction_of_correct_next_step_preds"} <= set(series)
    losses = [point.value for point in series["/train_total_loss"]]
    assert losses[-1] < losses[0]
    assert [point.step for point in series["/train_total_loss"]] == list(range(1, len(losses) + 1))

    contents = [{"role": "user", "parts": [{"text": "My card is stolen, message 999."}]}]
    answer = hook.generate(job.tuned_model.endpoint, contents, {"temperature": 0.0, "max_output_tokens": 8})
    assert answer.text == "stolen"


def test_jobs_are_listed_newest_first_over_all_pages(hook: VertexTuningHook) -> None:
    names = [hook.create_tuning_job(spec(), {"listed": "yes"}).name for _ in range(5)]
    listed = [job.name for job in hook.list_tuning_jobs("labels.listed=yes", page_size=2)]
    assert listed == names[::-1]
    assert set(names) <= {job.name for job in hook.list_tuning_jobs(page_size=3)}


def test_a_running_job_is_cancelled_and_a_finished_one_stays(
    hook: VertexTuningHook, control: Callable[..., None]
) -> None:
    control("lifecycle", labels={"held": "yes"}, script=[{"state": "JOB_STATE_RUNNING", "seconds": 600}])
    held = hook.create_tuning_job(spec(), {"held": "yes"})
    hook.cancel_tuning_job(held.name)
    assert finished(hook, held).state == "JOB_STATE_CANCELLED"

    done = finished(hook, hook.create_tuning_job(spec(epoch_count=1), {}))
    hook.cancel_tuning_job(done.name)
    assert hook.get_tuning_job(done.name).state == "JOB_STATE_SUCCEEDED"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"base_model": "gemini-0.1"}, "gemini-0.1"),
        ({"training_uri": "gs://data/nowhere.jsonl"}, "training_dataset_uri"),
        ({"base_model": "gemini-2.5-pro", "adapter_size": 16}, "adapter"),
    ],
)
def test_what_the_service_refuses_is_permanent_and_in_its_own_words(
    hook: VertexTuningHook, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(VertexRequestError) as error:
        hook.create_tuning_job(spec(**fields), {})
    assert words in str(error.value)
    assert "400" in str(error.value)


@pytest.mark.parametrize("location", ["global", "mars-north1"])
def test_a_region_that_cannot_tune_is_refused(location: str) -> None:
    with pytest.raises(VertexRequestError):
        VertexTuningHook(GoogleConnection(location=location)).create_tuning_job(spec(), {})


@pytest.mark.parametrize("code", [429, 500, 503])
def test_what_passes_by_itself_may_be_retried(hook: VertexTuningHook, control: Callable[..., None], code: int) -> None:
    control("faults", method="tuningJobs.get", error={"code": code, "message": "Later."}, count=1)
    with pytest.raises(VertexUnavailableError, match=r"Later\."):
        hook.get_tuning_job(f"projects/{PROJECT}/locations/{LOCATION}/tuningJobs/1")


def test_a_broken_connection_may_be_retried(hook: VertexTuningHook, control: Callable[..., None]) -> None:
    control("faults", method="tuningJobs.list", drop="before", count=1)
    with pytest.raises(VertexUnavailableError):
        list(hook.list_tuning_jobs())


def test_a_missing_connection_is_named_and_asked_for_again() -> None:
    """Airflow says the same of one it could not look up, as while its API server restarts."""
    with pytest.raises(ConnectionNotFoundError, match="'no_such_connection', which is not defined"):
        GoogleConnection(location=LOCATION, gcp_conn_id="no_such_connection")


@pytest.mark.parametrize("keyfile", ["no JSON", '{"type": "service_account", "private_key": "no JSON"}'])
def test_credentials_that_cannot_work_are_permanent_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, emulator: str, keyfile: str
) -> None:
    broken = connection(emulator, is_anonymous=False, keyfile_dict=keyfile)
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", broken)
    with pytest.raises(ConfigurationError, match="google_cloud_default") as error:
        list(VertexTuningHook(GoogleConnection(location=LOCATION)).list_tuning_jobs())
    assert "no JSON" not in str(error.value)


def keyfile(token_uri: str) -> str:
    """A service account's key, as the Google Cloud console gives it out."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"client_email": "airflow@test-project.iam.gserviceaccount.com", "private_key_id": "1"}
    return json.dumps({"type": "service_account", "token_uri": token_uri, "private_key": pem, **account})


def read_a_job() -> None:
    VertexTuningHook(GoogleConnection(location=LOCATION)).get_tuning_job(
        f"projects/{PROJECT}/locations/{LOCATION}/tuningJobs/1"
    )


def read_a_job_in_the_triggerer() -> None:
    JobReader(GoogleConnection(location=LOCATION)).get(f"projects/{PROJECT}/locations/{LOCATION}/tuningJobs/1")


class RefusingTokenServer(BaseHTTPRequestHandler):
    """Answers as Google's does to a key that was deleted."""

    def do_POST(self) -> None:
        answer = b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}'
        self.send_response(HTTPStatus.BAD_REQUEST)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def refusing_token_uri() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), RefusingTokenServer) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()


@pytest.mark.parametrize("read", [read_a_job, read_a_job_in_the_triggerer])
def test_a_token_server_out_of_reach_may_be_back_and_one_that_refuses_will_not(
    monkeypatch: pytest.MonkeyPatch, emulator: str, refusing_token_uri: str, read: Callable[[], None]
) -> None:
    nobody = connection(emulator, is_anonymous=False, keyfile_dict=keyfile(f"http://127.0.0.1:{free_port()}/token"))
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", nobody)
    with pytest.raises(VertexUnavailableError, match="refused"):
        read()
    refusing = connection(emulator, is_anonymous=False, keyfile_dict=keyfile(refusing_token_uri))
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", refusing)
    with pytest.raises(ConfigurationError, match="Invalid JWT Signature"):
        read()


def test_a_missing_project_is_named(monkeypatch: pytest.MonkeyPatch, emulator: str) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(emulator, project=""))
    with pytest.raises(ConfigurationError, match="project_id"):
        _ = GoogleConnection(location=LOCATION).project


def test_the_tasks_own_project_comes_first() -> None:
    assert GoogleConnection(location=LOCATION).project == PROJECT
    assert GoogleConnection(location=LOCATION, project_id="another").project == "another"


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("us-central1", "us-central1-aiplatform.googleapis.com"),
        ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("eu", "aiplatform.eu.rep.googleapis.com"),
    ],
)
def test_without_an_endpoint_in_the_connection_google_itself_is_asked(
    monkeypatch: pytest.MonkeyPatch, location: str, host: str
) -> None:
    asked: list[str] = []

    def answer(_: Any, request: httpx.Request, **__: Any) -> httpx.Response:
        asked.append(str(request.url))
        body = {"name": f"projects/1/locations/{location}/tuningJobs/2", "state": "JOB_STATE_PENDING"}
        return httpx.Response(200, json=body, request=request)

    monkeypatch.setattr(httpx.Client, "send", answer)
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection("", vertex_api_endpoint=""))
    VertexTuningHook(GoogleConnection(location=location)).create_tuning_job(spec(training_uri=TRAINING), {})
    assert asked == [f"https://{host}/v1beta1/projects/{PROJECT}/locations/{location}/tuningJobs"]


def test_metrics_and_storage_of_google_itself_are_asked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def answer(_: Any, request: requests.PreparedRequest, **__: Any) -> requests.Response:
        asked.append(str(request.url))
        response = requests.Response()
        response.status_code, response.request = 404, request
        response._content = json.dumps({"error": {"code": 404, "message": "none"}}).encode()
        return response

    monkeypatch.setattr(requests.Session, "send", answer)
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection("", vertex_api_endpoint=""))
    with pytest.raises(VertexRequestError):
        ExperimentsHook(GoogleConnection(location="europe-west4")).read_metrics(
            "projects/1/locations/europe-west4/metadataStores/default/contexts/tuning-experiment-1"
        )
    with (
        pytest.raises(VertexRequestError),
        StorageHook(GoogleConnection(location="europe-west4")).open_object("gs://b/o") as file,
    ):
        file.read()
    assert asked[0].startswith("https://europe-west4-aiplatform.googleapis.com/v1/projects/1/")
    assert asked[1].startswith("https://storage.googleapis.com/")


# Answers that are not Google's, and odd ones that are


PROXY = b"<html><title>Sign in</title></html>"
ABORTED = b'{"error": {"code": 409, "message": "Aborted.", "status": "ABORTED"}}'


@pytest.mark.parametrize(("code", "body"), [(403, PROXY), (404, PROXY), (302, PROXY), (401, PROXY), (409, ABORTED)])
@pytest.mark.parametrize("read", [read_a_job, read_a_job_in_the_triggerer])
def test_what_google_did_not_refuse_for_good_may_be_retried(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[], None], code: int, body: bytes
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            httpx.Client, "send", lambda _, request, **__: httpx.Response(code, content=body, request=request)
        )
        patch.setattr(requests.Session, "send", lambda _, request, **__: answered(code, body, request))
        with pytest.raises(VertexUnavailableError):
            read()


def answered(code: int, body: bytes, request: requests.PreparedRequest) -> requests.Response:
    response = requests.Response()
    response.status_code, response.request, response._content = code, request, body
    return response


def test_an_empty_page_does_not_end_the_list(monkeypatch: pytest.MonkeyPatch, hook: VertexTuningHook) -> None:
    jobs = [{"name": f"projects/1/locations/us-central1/tuningJobs/{number}"} for number in (1, 2)]
    pages = iter([{"nextPageToken": "a"}, {"tuningJobs": jobs[:1], "nextPageToken": "b"}, {"nextPageToken": "c"},
                  {"tuningJobs": jobs[1:]}])  # fmt: skip
    monkeypatch.setattr(
        requests.Session, "send", lambda _, request, **__: answered(200, json.dumps(next(pages)).encode(), request)
    )
    assert [job.name for job in hook.list_tuning_jobs()] == [job["name"] for job in jobs]
