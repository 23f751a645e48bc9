"""A resource name decides which host gets the access token, so only names of resources are taken for ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import requests
from google.oauth2.credentials import Credentials
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.experiments import ExperimentsHook
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.resources.resource_names import (
    ResourceKind,
    ResourceName,
    check_location_form,
    check_project,
    location_of,
)

from tests.support.tasks import TaskContext, execute, sensor

PLACES = [
    "evil.example#",
    "evil.example?",
    "evil.example:8443?",
    "evil.example\\",
    "evil.example%2f",
    "evil.example;",
    "evil.example&x=",
    " evil.example#",
    "evil.example\t#",
    "127.0.0.1:9?",
    "[::1]:9?",
    "us-central1#",
    "us-central1?",
    "us-central1\n",
    "US-CENTRAL1",
    "us-central1@evil.example",
    "../us-central1",
    "evil.example",
    "\uff55\uff53-central1",
    "",
]
NAMES = {
    "tuningJobs": "projects/1/locations/us-central1/tuningJobs/123",
    "models": "projects/my-project/locations/europe-west4/models/12@1",
    "endpoints": "projects/example.com:old-project/locations/us/endpoints/7",
    "contexts": "projects/1/locations/us-central1/metadataStores/default/contexts/tuning-experiment-2026",
}


@pytest.mark.parametrize(("kind", "name"), NAMES.items())
def test_names_are_read_and_written_back(kind: ResourceKind, name: str) -> None:
    parsed = ResourceName.parse(name, kind)
    assert str(parsed) == name
    assert parsed.id == name.rpartition("/")[2]
    assert location_of(f"{name}:someMethod") == parsed.location


@pytest.mark.parametrize(("kind", "name"), NAMES.items())
def test_a_name_of_another_kind_or_with_anything_around_it_is_refused(kind: ResourceKind, name: str) -> None:
    others = [other for other in NAMES if other != kind]
    for wrong in (f"{name} ", f"/{name}", f"{name}?alt=media", f"{name}#", f"{name}/..", f"{name}\n", name + "/x/1"):
        with pytest.raises(ConfigurationError, match="expected projects/PROJECT/locations/LOCATION"):
            ResourceName.parse(wrong, kind)
    for other in others:
        with pytest.raises(ConfigurationError):
            ResourceName.parse(name, other)  # type: ignore[arg-type]


def test_a_base_model_may_have_a_version() -> None:
    name = "projects/1/locations/us/publishers/google/models/gemini-2.5-flash@001"
    assert str(ResourceName.parse(name, "publishers")) == name


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_location_is_refused(place: str) -> None:
    with pytest.raises(ConfigurationError, match="location"):
        check_location_form(place)
    with pytest.raises(ConfigurationError):
        ResourceName.parse(f"projects/1/locations/{place}/tuningJobs/1", "tuningJobs")
    with pytest.raises(ConfigurationError):
        location_of(f"projects/1/locations/{place}/tuningJobs/1")


@pytest.mark.parametrize("project", ["", "a/b", "p#", "p?x", "p\n", "P", "a" * 80, ".", "../x"])
def test_what_is_no_project_is_refused(project: str) -> None:
    with pytest.raises(ConfigurationError, match="project_id"):
        check_project(project)


@pytest.mark.parametrize("location", ["us-central1", "europe-west12", "northamerica-northeast1", "us", "eu", "global"])
def test_locations_are_taken(location: str) -> None:
    assert check_location_form(location) == location


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Host and URL of every request of the product; none leaves."""
    hosts: list[tuple[str, str]] = []
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", '{"conn_type": "google_cloud_platform"}')
    monkeypatch.setattr(GoogleConnection, "get_credentials", lambda _: Credentials(token="SECRET"))

    def with_requests(_: Any, request: requests.PreparedRequest, **__: Any) -> None:
        hosts.append((httpx.URL(str(request.url)).host, str(request.url)))
        raise requests.ConnectionError("stopped")

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", with_requests)
    return hosts


CALLS: dict[str, Callable[[str], Any]] = {
    "sensor": lambda place: execute(sensor(f"projects/1/locations/{place}/tuningJobs/1"), TaskContext()),
    "cancel": lambda place: VertexTuningHook(
        GoogleConnection(location="us-central1", project_id="p")
    ).cancel_tuning_job(f"projects/1/locations/{place}/tuningJobs/1"),
    "list": lambda place: list(VertexTuningHook(GoogleConnection(location=place, project_id="p")).list_tuning_jobs()),
    "model": lambda place: RegistryHook(GoogleConnection(location="us-central1", project_id="p")).get(
        f"projects/1/locations/{place}/models/1@1"
    ),
    "experiment": lambda place: ExperimentsHook(GoogleConnection(location="us-central1", project_id="p")).read_metrics(
        f"projects/1/locations/{place}/metadataStores/default/contexts/x"
    ),
    "endpoint": lambda place: VertexTuningHook(GoogleConnection(location="us-central1", project_id="p")).generate(
        f"projects/1/locations/{place}/endpoints/1", [{"role": "user", "parts": [{"text": "x"}]}], {}
    ),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("place", PLACES)
def test_the_token_goes_nowhere_else(sent: list[tuple[str, str]], call: str, place: str) -> None:
    with pytest.raises(ConfigurationError):
        CALLS[call](place)
    assert sent == []


@pytest.mark.parametrize(
    "name",
    [
        "projects/1/locations/us-central1/tuningJobs/../../../../v1/projects/1/secrets",
        "projects/1/locations/us-central1/tuningJobs/1?alt=media&x=",
        "projects/1/locations/us-central1/endpoints/1",
        "x/locations/us-central1/anything",
    ],
)
def test_only_a_tuning_job_is_read_or_cancelled_as_one(sent: list[tuple[str, str]], name: str) -> None:
    hook = VertexTuningHook(GoogleConnection(location="us-central1", project_id="p"))
    for call in (hook.get_tuning_job, hook.cancel_tuning_job):
        with pytest.raises(ConfigurationError, match="tuningJobs"):
            call(name)
    assert sent == []
