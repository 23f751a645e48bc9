"""Lineage of a retraining for Airflow's OpenLineage provider: source files, dataset, model version, model in use.

Only that provider calls these functions, so that nothing else needs it. Names follow OpenLineage's rules for datasets
(https://openlineage.io/docs/spec/naming). They have none for Vertex AI: models have the namespace `vertexai` and their
resource name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.resources.resource_names import ResourceName
from vertex_tuning.results import FileSummary, UploadResult
from vertex_tuning.text.plain_text import plain, without_secrets

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

MODELS: Final = "vertexai"
"""Namespace of models and of jobs."""
SOURCES_NAMED: Final = 200
"""Most source files of a dataset in its event."""
NAME_IN_EVENT: Final = 1000
"""Most characters of the name of a file in an event."""


def upload_lineage(sources: Sequence[str], uploaded: UploadResult) -> OperatorLineage:
    """From the source files to the files of the dataset.

    :param sources: absolute paths, or URIs
    :param uploaded: the dataset
    """
    from airflow.providers.openlineage.extractors import OperatorLineage

    files = [
        (uploaded.training_uri, uploaded.training),
        (uploaded.validation_uri, uploaded.validation),
        (uploaded.test_uri, uploaded.test),
    ]
    # Data that is used without a copy is its own source.
    written = [(uri, summary) for uri, summary in files if uri and summary and uri not in sources]
    return OperatorLineage(
        inputs=[_file(source) for source in list(dict.fromkeys(sources))[:SOURCES_NAMED]],
        outputs=[_written_file(uri, summary) for uri, summary in written],
    )


def job_lineage(job: TuningJob) -> OperatorLineage:
    """From the files of the dataset, and a model that is tuned further, to the tuned model."""
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.facet_v2 import external_query_run

    method = job.supervised_tuning_spec or job.preference_optimization_spec
    files = [method.training_dataset_uri, method.validation_dataset_uri] if method else []
    before = job.pre_tuned_model.tuned_model_name if job.pre_tuned_model else ""
    tuned = job.tuned_model.model if job.tuned_model else ""
    run = external_query_run.ExternalQueryRunFacet(externalQueryId=job.name, source=MODELS)
    return OperatorLineage(
        inputs=[*map(_file, filter(None, files)), *map(_model, _versions([before]))],
        outputs=[*map(_model, _versions([tuned]))],
        run_facets={"externalQuery": run},
    )


def promotion_lineage(model: str, tuning: str, alias: str) -> OperatorLineage:
    """From a model version to the model in use of a tuning, which is the same version by another name.

    :param model: `projects/…/models/ID@VERSION`
    :param tuning: name of the tuning
    :param alias: alias of the model in use
    """
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import symlinks_dataset

    place = ResourceName.parse(model, "models")
    same = symlinks_dataset.Identifier(namespace=MODELS, name=model, type="MODEL")
    facets = {**_model_facets(model), "symlinks": symlinks_dataset.SymlinksDatasetFacet(identifiers=[same])}
    in_use = f"projects/{place.project}/locations/{place.location}/tunings/{tuning}@{alias}"
    return OperatorLineage(inputs=[_model(model)], outputs=[OutputDataset(MODELS, in_use, facets=facets)])


def _versions(models: Iterable[str]) -> list[str]:
    return [model for model in models if model]


def _model(model: str) -> Any:
    from openlineage.client.event_v2 import Dataset

    return Dataset(MODELS, model, facets=_model_facets(model))


def _model_facets(model: str) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_type_dataset, dataset_version_dataset

    return {
        "datasetType": dataset_type_dataset.DatasetTypeDatasetFacet(datasetType="MODEL"),
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=model.rpartition("@")[2]),
    }


def _file(uri: str) -> Any:
    from openlineage.client.event_v2 import Dataset

    return Dataset(*file_identity(uri))


def _written_file(uri: str, summary: FileSummary) -> Any:
    """A file of the dataset, with its content's hash as its version."""
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import dataset_version_dataset, output_statistics_output_dataset

    size = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=summary.rows, size=summary.bytes, fileCount=1
    )
    version = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=summary.sha256)
    return OutputDataset(
        *file_identity(uri),
        facets={"version": version} if summary.sha256 else {},
        outputFacets={"outputStatistics": size},
    )


def file_identity(uri: str) -> tuple[str, str]:
    """Namespace and name of a file: (`gs://BUCKET`, `NAME`), or (`file`, `/PATH`) of a local file.

    :param uri: absolute path, or a URI without secrets in its user, query or fragment: these are left out
    """
    uri = without_secrets(uri)
    if "://" not in uri:
        return "file", plain(uri, NAME_IN_EVENT)
    parts = urlsplit(uri)
    return plain(f"{parts.scheme}://{parts.netloc}", NAME_IN_EVENT), plain(parts.path.lstrip("/"), NAME_IN_EVENT)
