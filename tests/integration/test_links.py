"""Links to the Cloud console, and to the resources of a local Google Cloud, which has none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.links import ExperimentLink, TuningJobLink
from vertex_tuning.report.run_links import links_of
from vertex_tuning.resources.resource_urls import CONSOLE, endpoint_url, experiment_url, job_url, model_url

from tests.support import report_samples as samples
from tests.support.google_cloud import LOCATION, connection

PLACE = "projects/p/locations/us-central1"


@pytest.fixture
def job(done: dict[str, Any]) -> TuningJob:
    return TuningJob.parse(done)


def opened(address: str) -> dict[str, Any]:
    """What a browser shows that follows a link."""
    navigation = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    answer = httpx.get(address, headers=navigation)
    assert answer.status_code == httpx.codes.OK
    shown: dict[str, Any] = answer.json()
    return shown


def test_resources_of_a_local_google_cloud_open_where_they_are(hook: VertexTuningHook, job: TuningJob) -> None:
    model, local = job.tuned_model, GoogleConnection(location=LOCATION).local_url
    assert model is not None
    assert job.experiment is not None
    assert opened(job_url(job.name, local))["name"] == job.name
    assert opened(experiment_url(job.experiment, local))["name"] == job.experiment
    assert opened(endpoint_url(model.endpoint, local))["name"] == model.endpoint
    shown = opened(model_url(model.model, local))
    assert f"{shown['name']}@{shown['versionId']}" == model.model


def test_a_tasks_links_lead_there(hook: VertexTuningHook, job: TuningJob) -> None:
    task: Any = SimpleNamespace(job=job, connection=GoogleConnection(location=LOCATION))
    key: Any = SimpleNamespace()
    assert opened(TuningJobLink().get_link(task, ti_key=key))["name"] == job.name
    assert opened(ExperimentLink().get_link(task, ti_key=key))["name"] == job.experiment


def test_the_reports_links_lead_there(hook: VertexTuningHook, job: TuningJob) -> None:
    local_url = GoogleConnection(location=LOCATION).local_url
    links = {link.label: link.url for link in links_of(samples.material(vertex_endpoint=local_url, job=job))}
    assert opened(links["Tuning job"] or "")["name"] == job.name
    assert not [url for url in links.values() if url and url.startswith(CONSOLE)]


@pytest.mark.parametrize("extra", [{"vertex_api_endpoint": None}, {"vertex_api_endpoint": "https://private.example"}])
def test_googles_own_are_shown_by_its_console(
    monkeypatch: pytest.MonkeyPatch, emulator: str, extra: dict[str, str | None]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(emulator, **extra))
    job = TuningJob.parse({"name": f"{PLACE}/tuningJobs/1", "state": "JOB_STATE_SUCCEEDED"})
    task: Any = SimpleNamespace(job=job, connection=GoogleConnection(location=LOCATION))
    address = TuningJobLink().get_link(task, ti_key=SimpleNamespace())  # type: ignore[arg-type]
    assert address == f"{CONSOLE}/studio/tuning/tuningjob/us-central1/1?project=p"
    assert experiment_url(f"{PLACE}/metadataStores/default/contexts/e").startswith(CONSOLE)
    assert endpoint_url(f"{PLACE}/endpoints/1").startswith(CONSOLE)
    assert "/versions/2?" in model_url(f"{PLACE}/models/1@2")
