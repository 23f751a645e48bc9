"""The Model Registry: versions of tuned models, their aliases, and their endpoints."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseHook

from vertex_tuning.deployment import deployment_id
from vertex_tuning.exceptions import ChampionError, NotFoundError
from vertex_tuning.hooks.job_reader import JobReader
from vertex_tuning.hooks.rest import patient
from vertex_tuning.hooks.vertex_clients import VertexClients, call, json_fields, pages
from vertex_tuning.jobs.job import DEPLOYMENT_LABEL, TuningJob
from vertex_tuning.registry.aliases import TUNING_LABEL, ModelVersion
from vertex_tuning.resources.resource_names import ResourceName

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient
    from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient
    from google.cloud.aiplatform_v1.types import DeployedModel

    from vertex_tuning.hooks.credentials import Connection

MODELS_PER_PAGE: Final = 100
"""Models or versions per page; the service publishes no limit."""

ALL_TRAFFIC: Final = 100
"""Percent: https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints"""

PARALLEL: Final = 8
"""Models whose versions are listed in parallel: a weekly tuning makes a hundred models in two years."""


class RegistryHook(BaseHook):
    """Reads models, and changes only their aliases and their default checkpoint. All requests may be repeated.

    :param connection: connection in the location whose models are listed
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self._clients = VertexClients(connection)

    def get(self, name: str) -> ModelVersion:
        """Read a version of a model.

        :param name: `projects/…/locations/…/models/ID@VERSION`; an alias may replace the version
        :raises NotFoundError: there is no such version
        """
        name = str(ResourceName.parse(name, "models"))
        return _version(call(f"reading {name}", self._models(name).get_model, name=name))

    def versions_of(self, tuning: str, model: str = "") -> list[ModelVersion]:
        """All versions of all Models of a recurring tuning of this Airflow installation, in one location.

        The location is that of `model` if it is set, else that of the hook.

        :param tuning: value of the label `airflow-tuning`; if empty, only the versions of the Model of `model`
        :param model: a version whose Model is included, even if the list does not show it yet
        """
        models = {model.partition("@")[0]} if model else set[str]()
        if tuning:
            models |= self._labelled(tuning, model.partition("/models/")[0])
        with ThreadPoolExecutor(PARALLEL) as pool:
            listed = pool.map(self._versions, sorted(models))
            return [version for versions in listed for version in versions]

    def _labelled(self, tuning: str, parent: str) -> set[str]:
        """The Models whose default version has the label: the list does not show other versions."""
        parent = parent or f"projects/{self.connection.project}/locations/{self.connection.location}"
        labels = {TUNING_LABEL: tuning, DEPLOYMENT_LABEL: deployment_id()}
        listed = pages(
            f"listing the models of {parent}",
            self._models(f"{parent}/models").list_models,
            parent=parent,
            filter=f"labels.{TUNING_LABEL}={tuning}",
            page_size=MODELS_PER_PAGE,
        )
        versions = (_version(model) for page in listed for model in page.models)
        # The label is checked here as well: if the service ignored the filter, tunings would be mixed up.
        return {version.model for version in versions if labels.items() <= version.labels.items()}

    def _versions(self, model: str) -> list[ModelVersion]:
        list_versions = self._models(model).list_model_versions
        listed = pages(f"listing the versions of {model}", list_versions, name=model, page_size=MODELS_PER_PAGE)
        try:
            return [_version(version) for page in listed for version in page.models]
        except NotFoundError:  # deleted since it was listed
            return []

    def merge_aliases(self, version: str, aliases: list[str]) -> None:
        """Add aliases to a version. An entry `-NAME` removes the alias NAME."""
        self.log.info(
            "Aliases %s: %s", ", ".join(alias if alias[0] == "-" else f"+{alias}" for alias in aliases), version
        )
        merge = self._models(version).merge_version_aliases
        call(f"changing the aliases of {version}", merge, name=version, version_aliases=aliases)

    def set_default_checkpoint(self, version: ModelVersion, checkpoint_id: str) -> None:
        """Make a checkpoint the one that a version, and the endpoint of its tuning job, stand for.

        :param version: a version of a tuned model
        :param checkpoint_id: id of one of its checkpoints
        :raises NotFoundError: the version has no such checkpoint
        """
        if version.checkpoint_id == checkpoint_id:
            return
        from google.cloud.aiplatform_v1.types import Model
        from google.protobuf.field_mask_pb2 import FieldMask

        self.log.info("Checkpoint %s, before %s: %s", checkpoint_id, version.checkpoint_id or "none", version.name)
        call(
            f"setting the default checkpoint of {version.name}",
            self._models(version.name).update_model,
            model=Model(name=version.name, default_checkpoint_id=checkpoint_id),
            update_mask=FieldMask(paths=["default_checkpoint_id"]),
        )

    @cached_property
    def _jobs(self) -> JobReader:
        return JobReader(self.connection, patient())

    def job_of(self, version: ModelVersion) -> TuningJob | None:
        """The tuning job that made a version; None if no job did."""
        try:
            return self._jobs.read_job(version.job_name) if version.job_name else None
        except NotFoundError:
            return None

    def endpoint_of(self, version: ModelVersion) -> str:
        """The endpoint that serves a version: the endpoint of its tuning job, or else its only endpoint.

        :raises ChampionError: no endpoint serves the version, or other models get part of the endpoint's traffic
        """
        job = self.job_of(version)
        named = job.tuned_model.endpoint if job and job.tuned_model else ""
        endpoint = named or (version.endpoints[0] if len(set(version.endpoints)) == 1 else "")
        share = self._traffic(endpoint, version) if endpoint else None
        if share == ALL_TRAFFIC:
            return endpoint
        raise ChampionError(_not_answering(version, endpoint, share))

    def _traffic(self, endpoint: str, version: ModelVersion) -> int | None:
        """Share of an endpoint's traffic that a version gets, in percent; None if it is not deployed there."""
        try:
            resource = call(f"reading {endpoint}", self._endpoints(endpoint).get_endpoint, name=endpoint)
        except NotFoundError:
            return None
        deployed = [model for model in resource.deployed_models if _is_of(model, version)]
        if not deployed:
            return None
        # JSON leaves out an empty split. A prediction shows whether such an endpoint responds.
        split = resource.traffic_split
        return sum(split.get(model.id, 0) for model in deployed) if split else ALL_TRAFFIC

    def _models(self, resource_name: str) -> ModelServiceClient:
        from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

        return self._clients.client(ModelServiceClient, resource_name)

    def _endpoints(self, resource_name: str) -> EndpointServiceClient:
        from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient

        return self._clients.client(EndpointServiceClient, resource_name)


def _version(model: Any) -> ModelVersion:
    """Convert a Model of the client."""
    return ModelVersion.parse(json_fields(model))


def _is_of(deployed: DeployedModel, version: ModelVersion) -> bool:
    model, _, tag = deployed.model.partition("@")
    return model == version.model and f"{model}@{deployed.model_version_id or tag}" == version.name


def _not_answering(version: ModelVersion, endpoint: str, share: int | None) -> str:
    held = f" ({', '.join(sorted(version.aliases))})" if version.aliases else ""
    if share is None:
        return (
            f"{version.name}{held} is not deployed to {endpoint or 'one endpoint'} any more, so it cannot answer. "
            "Deploy it again, or take its alias away in the Model Registry, and `previous` from the one before: "
            "without a model in use, the next that passes its gates is the first."
        )
    return (
        f"{version.name}{held} gets {share} % of the traffic of {endpoint}, expected {ALL_TRAFFIC} %: other models "
        "would answer instead. Set the endpoint's traffic split, or give the alias to the model that answers there."
    )
