"""URLs of resources in the Cloud console, or on a local Google Cloud, which has no console. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from vertex_tuning.resources.resource_names import location_of, project_of

CONSOLE: Final = "https://console.cloud.google.com/vertex-ai"


def _resource_url(name: str, local: str) -> str:
    """URL of a resource on a local Google Cloud."""
    return f"{local.rstrip('/')}/v1/{quote(name, safe='/@')}"


def job_url(job: str, local: str = "") -> str:
    """URL of the tuning job's page. The Gen AI SDK shows the same path of the console in notebooks.

    :param job: resource name of the tuning job
    :param local: base URL of a local Google Cloud; empty for the Cloud console
    """
    if local:
        return _resource_url(job, local)
    job_id = job.rpartition("/")[2]
    return f"{CONSOLE}/studio/tuning/tuningjob/{location_of(job)}/{job_id}?project={project_of(job)}"


def experiment_url(experiment: str, local: str = "") -> str:
    """URL of the experiment's page, with the curves of its metrics.

    :param experiment: resource name of the experiment's context
    :param local: base URL of a local Google Cloud; empty for the Cloud console
    """
    if local:
        return _resource_url(experiment, local)
    experiment_id = experiment.rpartition("/")[2]
    location, project = location_of(experiment), project_of(experiment)
    return f"{CONSOLE}/locations/{location}/experiments/{experiment_id}/metrics?project={project}"


def model_url(model: str, local: str = "") -> str:
    """URL of the page of a model's version.

    :param model: `projects/…/models/ID@VERSION`; without a version the default version
    :param local: base URL of a local Google Cloud; empty for the Cloud console
    """
    if local:
        return _resource_url(model, local)
    model_id, _, version = model.rpartition("/")[2].partition("@")
    place = f"locations/{location_of(model)}/models/{quote(model_id)}"
    return f"{CONSOLE}/models/{place}/versions/{quote(version or 'default')}?project={project_of(model)}"


def endpoint_url(endpoint: str, local: str = "") -> str:
    """URL of the endpoint's page.

    :param endpoint: `projects/…/endpoints/ID`
    :param local: base URL of a local Google Cloud; empty for the Cloud console
    """
    if local:
        return _resource_url(endpoint, local)
    place = f"locations/{location_of(endpoint)}/endpoints/{quote(endpoint.rpartition('/')[2])}"
    return f"{CONSOLE}/online-prediction/{place}?project={project_of(endpoint)}"


def object_url(uri: str, storage_endpoint: str = "") -> str:
    """URL at which a signed-in person can open an object of Cloud Storage in a browser.

    :param uri: `gs://BUCKET/NAME`
    :param storage_endpoint: base URL of a local Cloud Storage; empty for Google's
    """
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    if storage_endpoint:
        return f"{storage_endpoint.rstrip('/')}/storage/v1/b/{quote(bucket)}/o/{quote(name, safe='')}?alt=media"
    return f"https://storage.cloud.google.com/{quote(bucket)}/{quote(name)}"
