"""Tuning jobs and tuned models: what the Gen AI client is for."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import pydantic
from airflow.sdk import BaseHook

from vertex_tuning.exceptions import EndpointNotReadyError, VertexRequestError, VertexUnavailableError
from vertex_tuning.hooks.credentials import with_token
from vertex_tuning.hooks.errors import creating, genai_errors, genai_status
from vertex_tuning.hooks.job_reader import JOBS_PER_PAGE, JobReader, parse
from vertex_tuning.hooks.rest import TIMEOUT
from vertex_tuning.jobs.job import ADAPTER_SIZES, FINGERPRINT_LABEL, IDENTITY_LABEL, TuningJob
from vertex_tuning.jobs.spec import TuningSpec
from vertex_tuning.resources.resource_names import ResourceName, location_of

if TYPE_CHECKING:
    from google.genai import Client, types

    from vertex_tuning.hooks.credentials import Connection

NOT_READY: Final = frozenset({"NOT_FOUND", "FAILED_PRECONDITION"})
"""What an endpoint answers that is not there or has no traffic split (nothing deployed)."""


class VertexTuningHook(BaseHook):
    """Creates, reads, lists and cancels tuning jobs, and sends prompts to tuned models.

    The Gen AI client is imported where it is used: tasks that only read jobs do without it.

    :param connection: connection whose location is where jobs are created and listed, e.g.
        `GoogleConnection(gcp_conn_id="google_cloud_default", location="us-central1")`
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        # Kept, because a Gen AI client closes its connections as soon as nobody holds it.
        self._clients: dict[str, Client] = {}
        weakref.finalize(self, _close, self._clients)

    def client(self, resource_name: str | None = None) -> Client:
        """A Gen AI client for the location of a resource, or for the hook's own."""
        location = location_of(resource_name) if resource_name else self.connection.location
        if location not in self._clients:
            self._clients[location] = self._make_client(location)
        return self._clients[location]

    def _make_client(self, location: str) -> Client:
        from google.genai import Client, types

        return Client(
            vertexai=True,
            project=self.connection.project,
            location=location,
            credentials=with_token(self.connection.get_credentials()),
            http_options=types.HttpOptions(
                base_url=self.connection.endpoint(location),
                api_version="v1beta1",
                timeout=int(TIMEOUT * 1000),
                client_args={"follow_redirects": False},  # Google sends no redirects; a proxy may
            ),
        )

    # Tuning jobs

    @cached_property
    def _reader(self) -> JobReader:
        return JobReader(self.connection)

    def create_tuning_job(self, spec: TuningSpec, labels: Mapping[str, str]) -> TuningJob:
        """Create a job. This costs money, so the request is sent once and never retried here.

        :raises QuotaExceededError: the quota does not allow another job at the moment; no job was created
        :raises LostAnswerError: it is not known whether the job was created
        """
        from google.genai import errors, types

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
        client = self.client()
        with creating(), warnings.catch_warnings():
            # The client warns that its tuning module is experimental; the pinned version covers that.
            warnings.simplefilter("ignore", errors.ExperimentalWarning)
            job = client.tunings.tune(
                base_model=spec.base_model,
                training_dataset=types.TuningDataset(gcs_uri=spec.training_uri),
                config=config,
            )
            # The project's parser of jobs reads the JSON of the service.
            return parse(job.model_dump_json(by_alias=True, exclude_none=True).encode())

    def jobs_of(self, identity: str) -> list[TuningJob]:
        """All jobs that were created for a task instance."""
        return self.jobs_labelled(IDENTITY_LABEL, identity)

    def jobs_like(self, fingerprint: str) -> list[TuningJob]:
        """All jobs with the same request, of any task instance."""
        return self.jobs_labelled(FINGERPRINT_LABEL, fingerprint)

    def jobs_labelled(self, label: str, value: str) -> list[TuningJob]:
        """All jobs that have a label with this value."""
        listed = self.list_tuning_jobs(f"labels.{label}={value}")
        # The label is checked here as well: the service publishes no grammar for this filter.
        return [job for job in listed if job.labels.get(label) == value]

    def get_tuning_job(self, name: str) -> TuningJob:
        """Read a job in any location.

        :raises ConfigurationError: the name is not the name of a tuning job
        """
        return self._reader.read_job(name)

    def list_tuning_jobs(self, filter_: str | None = None, page_size: int = JOBS_PER_PAGE) -> Iterator[TuningJob]:
        """Jobs of the hook's project and location, newest first. Each page is requested when it is needed."""
        # Not with the Gen AI client: its pager stops at an empty page that is not the last page.
        for name, job in self._reader.recent(filter_ or "", page_size):
            try:
                yield parse(job)
            except VertexUnavailableError as error:
                self.log.warning("Leaving %s out of the list of tuning jobs: %s", name, error)

    def cancel_tuning_job(self, name: str) -> TuningJob:
        """Cancel a job and check that it is cancelled. A job that has ended does not change.

        :returns: the job, being cancelled or ended
        :raises NotFoundError: there is no such job
        :raises VertexUnavailableError: the job still runs after the last attempt
        """
        return self._reader.cancel(name)

    # Prediction

    def base_model_name(self, base_model: str, location: str) -> str:
        """The resource name of an untuned model, for `generate`.

        :param base_model: id of a base model
        :raises ConfigurationError: the id has characters that no model's id has
        """
        name = f"projects/{self.connection.project}/locations/{location}/publishers/google/models/{base_model}"
        return str(ResourceName.parse(name, "publishers"))

    def generate(
        self, model: str, contents: list[dict[str, Any]], config: Mapping[str, Any]
    ) -> types.GenerateContentResponse:
        """Send a prompt to a model, in the location of its endpoint: some models serve only from `us` or `eu`.

        :param model: endpoint of a tuned model, or name of a base model, as `base_model_name` gives it
        :raises EndpointNotReadyError: there is no such endpoint or no model is deployed to it, which can happen shortly
            after the tuning
        """
        from google.genai import types

        is_tuned = "/publishers/" not in model
        ResourceName.parse(model, "endpoints" if is_tuned else "publishers")
        # Without this, the client logs a line about function calls for every prompt.
        no_functions = types.AutomaticFunctionCallingConfig(disable=True)
        try:
            with genai_errors(f"asking {model}"):
                return self.client(model).models.generate_content(
                    model=model,
                    contents=contents,
                    config=types.GenerateContentConfig(automatic_function_calling=no_functions, **config),
                )
        except VertexRequestError as error:
            if is_tuned and genai_status(error) in NOT_READY:
                raise EndpointNotReadyError(str(error)) from error
            raise

    def count_tokens(self, model: str, example: Mapping[str, Any]) -> int:
        """Number of tokens that the service counts in an example of a dataset, with its system instruction.

        :param model: id of a base model
        :param example: `contents` and, if present, `systemInstruction`, `tools` and `generationConfig`
        :raises VertexRequestError: the response has no number
        """
        from google.genai import types

        config = types.CountTokensConfig(
            system_instruction=example.get("systemInstruction"),
            tools=example.get("tools"),
            generation_config=example.get("generationConfig"),
        )
        with genai_errors(f"counting tokens with {model}"):
            try:
                answer = self.client().models.count_tokens(model=model, contents=example["contents"], config=config)
            except pydantic.ValidationError:
                answer = types.CountTokensResponse()
        # Proto3 JSON leaves out a 0, but no example has 0 tokens.
        if not answer.total_tokens or answer.total_tokens < 0:
            raise VertexRequestError(f"While counting tokens with {model}: found no number in the response.")
        return answer.total_tokens


def _close(clients: Mapping[str, Client]) -> None:
    """Close the connections of a hook that nobody holds any more, also when it is part of a cycle."""
    for client in clients.values():
        client.close()
