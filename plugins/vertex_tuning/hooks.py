"""The only module that talks to Google: one method per thing we ask.

Imported inside `execute` and `run`, never by a DAG file: the Google libraries behind it take seconds to load.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import IO, TYPE_CHECKING, Any, Final

from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import PreconditionFailed
from google.genai import Client, errors, types
from google.oauth2.credentials import Credentials

from vertex_tuning.connection import GoogleConnection
from vertex_tuning.exceptions import (
    VertexRequestError,
    VertexUnavailableError,
)
from vertex_tuning.google_errors import creating, google_errors
from vertex_tuning.jobs import ADAPTER_SIZES, IDENTITY_LABEL, TuningJob, location_of
from vertex_tuning.metrics import Point, Series
from vertex_tuning.reader import PAGE_SIZE, TIMEOUT
from vertex_tuning.specs import TuningSpec

if TYPE_CHECKING:
    from google.cloud import storage
    from google.cloud.aiplatform_v1 import MetadataServiceClient, TensorboardServiceClient

MAX_SERIES_PER_READ: Final = 20
"""`tensorboards.batchRead` takes no more."""

CANCEL_PAUSES: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each try to cancel; together well within the 30 s a killed trigger is given."""


class VertexTuningHook(GoogleConnection):
    """Asks Vertex AI and Cloud Storage for what retraining a Gemini model needs; parameters as its base's."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # Kept, because a Gen AI client closes its connections as soon as nobody holds it.
        self._clients: dict[str, Client] = {}

    def client(self, resource_name: str | None = None) -> Client:
        """A Gen AI client for the location of a resource, or for the hook's own."""
        location = location_of(resource_name) if resource_name else self.location
        if location not in self._clients:
            self._clients[location] = self._make_client(location)
        return self._clients[location]

    def _make_client(self, location: str) -> Client:
        credentials = self.get_credentials()
        if self._get_field("is_anonymous"):
            # The Gen AI client insists on a token, which anonymous credentials cannot give.
            credentials = Credentials(token="anonymous")  # noqa: S106
        return Client(
            vertexai=True,
            project=self.project,
            location=location,
            credentials=credentials,
            http_options=types.HttpOptions(
                base_url=self.endpoint(location), api_version="v1beta1", timeout=int(TIMEOUT * 1000)
            ),
        )

    # Tuning jobs

    def create_tuning_job(self, spec: TuningSpec, labels: Mapping[str, str]) -> TuningJob:
        """Create a job. This costs money; it is sent once and never repeated from here.

        :raises QuotaExceededError: when the project may not have another job just now; nothing was created
        :raises LostAnswerError: when it is not known whether the job was created
        """
        config = types.CreateTuningJobConfig(
            validation_dataset=(
                types.TuningValidationDataset(gcs_uri=spec.validation_uri) if spec.validation_uri else None
            ),
            tuned_model_display_name=spec.display_name,
            description=spec.description,
            epoch_count=spec.epoch_count,
            learning_rate_multiplier=spec.learning_rate_multiplier,
            adapter_size=types.AdapterSize(ADAPTER_SIZES[spec.adapter_size]) if spec.adapter_size else None,
            export_last_checkpoint_only=spec.export_last_checkpoint_only or None,
            pre_tuned_model_checkpoint_id=spec.checkpoint_id,
            labels=dict(labels),
        )
        with creating(), google_errors("creating the tuning job"), warnings.catch_warnings():
            # The client calls its tuning module experimental at every first use; that is our version pin's concern.
            warnings.simplefilter("ignore", errors.ExperimentalWarning)
            job = self.client().tunings.tune(
                base_model=spec.base_model,
                training_dataset=types.TuningDataset(gcs_uri=spec.training_uri),
                config=config,
            )
        return parse_job(job)

    def jobs_of(self, identity: str) -> list[TuningJob]:
        """All jobs that were created for a task instance."""
        listed = self.list_tuning_jobs(f"labels.{IDENTITY_LABEL}={identity}")
        # Checked here as well: the service publishes no grammar for this filter.
        return [job for job in listed if job.identity == identity]

    def get_tuning_job(self, name: str) -> TuningJob:
        with google_errors(f"reading {name}"):
            return parse_job(self.client(name).tunings.get(name=name))

    def list_tuning_jobs(self, filter_: str | None = None, page_size: int = PAGE_SIZE) -> Iterator[TuningJob]:
        """Jobs of the hook's project and location, newest first, page by page as they are asked for."""
        config = types.ListTuningJobsConfig(filter=filter_, page_size=page_size)
        with google_errors("listing tuning jobs"):
            for job in self.client().tunings.list(config=config):
                yield parse_job(job)

    def cancel_tuning_job(self, name: str) -> TuningJob:
        """Cancel a job and make sure of it; one that has ended stays as it is.

        Tries again while the request fails in passing or shows no effect.

        :returns: the job, being cancelled or ended
        :raises VertexUnavailableError: when it still runs after the last try
        """
        failure: VertexUnavailableError | None = None
        for pause in CANCEL_PAUSES:
            time.sleep(pause)
            try:
                job = self._cancel_once(name)
            except VertexUnavailableError as error:
                failure = error
                self.log.warning("Cancelling %s: %s", name, error)
            else:
                if job.state == "JOB_STATE_CANCELLING" or not job.is_live:
                    return job
        raise VertexUnavailableError(
            f"{name} could not be cancelled and may still run. Cancel it by hand."
        ) from failure

    def _cancel_once(self, name: str) -> TuningJob:
        with google_errors(f"cancelling {name}"):
            try:
                self.client(name).tunings.cancel(name=name)
            except errors.ClientError as error:
                # The gcloud reference says that nothing happens to a job that has ended; the API may say so like this.
                if error.status != "FAILED_PRECONDITION":
                    raise
        return self.get_tuning_job(name)

    # Metrics

    def read_metrics(self, experiment: str) -> list[Series]:
        """All series of all runs of a tuning job's experiment, read without writing anything.

        :param experiment: the job's `experiment`, a Metadata context
        """
        with google_errors(f"reading the metrics of {experiment}"):
            tensorboard = self._backing_tensorboard(experiment)
            runs = self._experiment_runs(experiment)
            return [series for run in runs for series in self._read_run(tensorboard, experiment, run)]

    def _backing_tensorboard(self, experiment: str) -> str:
        metadata: Any = self._metadata(experiment).get_context(name=experiment).metadata
        name = metadata and metadata.get("backing_tensorboard_resource")
        if not name:
            raise VertexRequestError(f"{experiment} names no TensorBoard, expected backing_tensorboard_resource.")
        return str(name)

    def _experiment_runs(self, experiment: str) -> list[str]:
        store = experiment.partition("/contexts/")[0]
        filter_ = f'schema_title="system.ExperimentRun" AND parent_contexts:"{experiment}"'
        contexts = self._metadata(experiment).list_contexts(request={"parent": store, "filter": filter_})
        prefix = f"{experiment}-"
        return [context.name.removeprefix(prefix) for context in contexts]

    def _read_run(self, tensorboard: str, experiment: str, run: str) -> Iterator[Series]:
        client = self._tensorboard(tensorboard)
        parent = f"{tensorboard}/experiments/{experiment.rpartition('/')[2]}/runs/{run}"
        listed = list(client.list_tensorboard_time_series(parent=parent))
        for start in range(0, len(listed), MAX_SERIES_PER_READ):
            batch = listed[start : start + MAX_SERIES_PER_READ]
            names = {series.name.rpartition("/")[2]: series.display_name for series in batch}
            reply = client.batch_read_tensorboard_time_series_data(
                request={"tensorboard": tensorboard, "time_series": [series.name for series in batch]}
            )
            for data in reply.time_series_data:
                yield Series(name=names[data.tensorboard_time_series_id], points=_points(data.values))

    def _metadata(self, resource_name: str) -> MetadataServiceClient:
        from google.cloud.aiplatform_v1 import MetadataServiceClient

        return MetadataServiceClient(**self._gapic(resource_name))

    def _tensorboard(self, resource_name: str) -> TensorboardServiceClient:
        from google.cloud.aiplatform_v1 import TensorboardServiceClient

        return TensorboardServiceClient(**self._gapic(resource_name))

    def _gapic(self, resource_name: str) -> dict[str, Any]:
        return {
            "transport": "rest",
            "credentials": self.get_credentials(),
            "client_options": ClientOptions(api_endpoint=self.endpoint(location_of(resource_name))),
        }

    # Prediction

    def generate(
        self, endpoint: str, contents: list[dict[str, Any]], config: Mapping[str, Any]
    ) -> types.GenerateContentResponse:
        """Ask a tuned model. The location is the endpoint's own: some models serve only from `us` or `eu`."""
        with google_errors(f"asking {endpoint}"):
            return self.client(endpoint).models.generate_content(
                model=endpoint, contents=contents, config=types.GenerateContentConfig(**config)
            )

    # Cloud Storage

    @cached_property
    def storage(self) -> storage.Client:
        """The official client, with the connection's credentials."""
        from google.cloud import storage

        endpoint = self._get_field("storage_api_endpoint")
        options = ClientOptions(api_endpoint=endpoint) if endpoint else ClientOptions()
        return storage.Client(project=self.project, credentials=self.get_credentials(), client_options=options)

    def upload_once(self, path: str, bucket: str, name: str) -> str:
        """Upload a file unless an object of that name is there; names are made from the content, so equal is same.

        :returns: the object's URI
        """
        with google_errors(f"uploading to gs://{bucket}/{name}"):
            blob = self.storage.bucket(bucket).blob(name)
            try:
                blob.upload_from_filename(
                    path, if_generation_match=0, checksum="crc32c", content_type="application/jsonl", timeout=TIMEOUT
                )
            except PreconditionFailed:
                self.log.info("gs://%s/%s is there already; nothing to upload.", bucket, name)
        return f"gs://{bucket}/{name}"

    @contextlib.contextmanager
    def open_object(self, uri: str) -> Iterator[IO[bytes]]:
        """Read an object as it streams in.

        :raises VertexRequestError: when there is no such object
        """
        from google.cloud.storage import Blob

        with google_errors(f"reading {uri}"), Blob.from_uri(uri, client=self.storage).open("rb") as file:
            yield file


def _points(values: Iterable[Any]) -> list[Point]:
    points = [Point(value.step, value.scalar.value, value.wall_time.isoformat()) for value in values]
    return sorted(points, key=lambda point: point.step)


def parse_job(job: types.TuningJob) -> TuningJob:
    """The client's job as ours: plain values, small."""
    return TuningJob.parse(job.model_dump(mode="json", exclude_none=True))
