"""Where to look further: everything a run made or used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vertex_tuning.report.content import Link
from vertex_tuning.resources.resource_urls import endpoint_url, experiment_url, job_url, model_url, object_url

if TYPE_CHECKING:
    from vertex_tuning.jobs.job import TuningJob
    from vertex_tuning.report.material import Material


def links_of(given: Material) -> list[Link]:
    """Links to the pages of Airflow and Google Cloud about a run."""
    run = [Link("Run in Airflow", given.run_id, given.run_url)] if given.run_url else []
    return [*run, *(_job_links(given.job, given.vertex_endpoint) if given.job else []), *_object_links(given)]


def _job_links(job: TuningJob, local: str) -> list[Link]:
    model = job.tuned_model
    links = [Link("Tuning job", job.name, job_url(job.name, local))]
    if job.experiment:
        links.append(Link("Experiment", job.experiment, experiment_url(job.experiment, local)))
    if model and model.model:
        links.append(Link("Model", model.model, model_url(model.model, local)))
    if model and model.endpoint:
        links.append(Link("Endpoint", model.endpoint, endpoint_url(model.endpoint, local)))
    return links


def _object_links(given: Material) -> list[Link]:
    upload, folder = given.upload, given.run_folder.rstrip("/")
    uris = {
        "Training data": upload and upload.training_uri,
        "Validation data": upload and upload.validation_uri,
        "Report on the dataset": upload and upload.report_uri,
        "Manifest of the dataset": upload and upload.manifest_uri,
        "All points of the metrics": given.metrics and given.metrics.series_uri,
        "All answers of the smoke test": given.smoke and given.smoke.result_uri,
        "All of the evaluation": given.evaluation and given.evaluation.result_uri,
        "This report as JSON": folder and f"{folder}/report.json",
    }
    return [Link(name, uri, object_url(uri, given.storage_endpoint)) for name, uri in uris.items() if uri]
