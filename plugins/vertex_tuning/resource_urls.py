"""Addresses of resources: in the Cloud console, or of the resource itself where a local Google Cloud has it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from vertex_tuning.resource_names import location_of, project_of

if TYPE_CHECKING:
    from vertex_tuning.jobs.job import TuningJob

CONSOLE: Final = "https://console.cloud.google.com/vertex-ai"


def _resource_url(name: str, local: str) -> str:
    """Where a local Google Cloud shows a resource."""
    return f"{local.rstrip('/')}/v1/{quote(name, safe='/@')}"


def job_url(job: TuningJob, local: str = "") -> str:
    """The tuning job's page; the console's paths are those the Gen AI SDK shows in notebooks.

    :param local: base URL of a local Google Cloud, which has no console; likewise in the functions below
    """
    if local:
        return _resource_url(job.name, local)
    job_id = job.name.rpartition("/")[2]
    return f"{CONSOLE}/studio/tuning/tuningjob/{location_of(job.name)}/{job_id}?project={project_of(job.name)}"


def experiment_url(experiment: str, local: str = "") -> str:
    """The experiment's page: the curves as TensorBoard draws them."""
    if local:
        return _resource_url(experiment, local)
    experiment_id = experiment.rpartition("/")[2]
    location, project = location_of(experiment), project_of(experiment)
    return f"{CONSOLE}/locations/{location}/experiments/{experiment_id}/metrics?project={project}"


def model_url(model: str, local: str = "") -> str:
    """The page of a model's version; `model` is `projects/…/models/ID@VERSION`."""
    if local:
        return _resource_url(model, local)
    model_id, _, version = model.rpartition("/")[2].partition("@")
    place = f"locations/{location_of(model)}/models/{quote(model_id)}"
    return f"{CONSOLE}/models/{place}/versions/{quote(version or 'default')}?project={project_of(model)}"


def endpoint_url(endpoint: str, local: str = "") -> str:
    """The endpoint's page."""
    if local:
        return _resource_url(endpoint, local)
    place = f"locations/{location_of(endpoint)}/endpoints/{quote(endpoint.rpartition('/')[2])}"
    return f"{CONSOLE}/online-prediction/{place}?project={project_of(endpoint)}"


def object_url(uri: str, storage_endpoint: str = "") -> str:
    """Where a person who is signed in can open an object in a browser.

    :param uri: `gs://BUCKET/NAME`
    :param storage_endpoint: base URL of Cloud Storage when it is not Google's own
    """
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if storage_endpoint:
        return f"{storage_endpoint.rstrip('/')}/storage/v1/b/{quote(bucket)}/o/{quote(name, safe='')}?alt=media"
    return f"https://storage.cloud.google.com/{quote(bucket)}/{quote(name)}"
