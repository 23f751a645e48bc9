"""The Model Registry: versions of tuned models, their aliases, and where they answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Final

from vertex_tuning.champions import TUNING_LABEL, ModelVersion
from vertex_tuning.connection import GoogleConnection
from vertex_tuning.deployment import deployment_id
from vertex_tuning.exceptions import ChampionError, NotFoundError
from vertex_tuning.jobs import DEPLOYMENT_LABEL, TuningJob
from vertex_tuning.reader import parse
from vertex_tuning.resource_names import ResourceName
from vertex_tuning.rest import RestClient, patient

PAGE_SIZE: Final = 100
"""Models and versions per page; the service publishes no limit."""

RETRIES: Final = 4
"""All that is asked here may be asked twice."""

PARALLEL: Final = 8
"""Models whose versions are listed at once: a weekly tuning has made a hundred after two years."""


class RegistryHook(GoogleConnection):
    """Reads models and changes their aliases, and nothing else; parameters as its base's."""

    @cached_property
    def _rest(self) -> RestClient:
        return RestClient(self, patient(RETRIES))

    def get(self, name: str) -> ModelVersion:
        """
        :param name: `projects/…/locations/…/models/ID@VERSION`, or with an alias in the version's place
        :raises NotFoundError: there is no such version
        """
        return ModelVersion.parse(self._rest.get(str(ResourceName.parse(name, "models"))))

    def versions_of(self, tuning: str, model: str = "") -> list[ModelVersion]:
        """All versions of all Models of a recurring tuning of this Airflow installation, in one location.

        The location is the hook's, or the model's.

        :param tuning: value of the label `airflow-tuning`; without it only the versions of `model`'s Model
        :param model: one whose Model belongs to them, whether or not the list shows it already
        """
        models = {model.partition("@")[0]} if model else set[str]()
        if tuning:
            models |= self._labelled(tuning, model.partition("/models/")[0])
        with ThreadPoolExecutor(PARALLEL) as pool:
            listed = pool.map(self._versions, sorted(models))
            return [version for versions in listed for version in versions]

    def _labelled(self, tuning: str, parent: str) -> set[str]:
        """The Models whose default version has the label: the list shows no other."""
        parent = parent or f"projects/{self.project}/locations/{self.location}"
        labels = {TUNING_LABEL: tuning, DEPLOYMENT_LABEL: deployment_id()}
        listed = self._rest.pages(f"{parent}/models", "models", PAGE_SIZE, filter=f"labels.{TUNING_LABEL}={tuning}")
        # Checked here as well, because a filter the service did not understand would mix up the tunings.
        found = [model for model in listed if labels.items() <= model.get("labels", {}).items()]
        return {model["name"].partition("@")[0] for model in found}

    def _versions(self, model: str) -> list[ModelVersion]:
        try:
            listed = list(self._rest.pages(f"{model}:listVersions", "models", PAGE_SIZE))
        except NotFoundError:  # deleted since it was listed
            return []
        return [ModelVersion.parse(one) for one in listed]

    def merge_aliases(self, version: str, aliases: list[str]) -> None:
        """Give a version aliases, and take from it those that begin with `-`."""
        self.log.info("%s: aliases %s", version, ", ".join(aliases))
        self._rest.post(f"{version}:mergeVersionAliases", {"versionAliases": aliases})

    def job_of(self, version: ModelVersion) -> TuningJob | None:
        """The tuning job that made a version; None when there is none."""
        try:
            return parse(self._rest.read(version.job_name)) if version.job_name else None
        except NotFoundError:
            return None

    def endpoint_of(self, version: ModelVersion) -> str:
        """The endpoint that answers with a version: the one its tuning job names, or else its only one.

        :raises ChampionError: there is none, or it serves something else by now
        """
        job = self.job_of(version)
        named = job.tuned_model.endpoint if job and job.tuned_model else ""
        endpoint = named or (version.endpoints[0] if len(set(version.endpoints)) == 1 else "")
        if endpoint and self._serves(endpoint, version):
            return endpoint
        raise ChampionError(
            f"{version.name} ({', '.join(sorted(version.aliases))}) is not deployed to {endpoint or 'one endpoint'} "
            "any more, so nothing can be asked of it. Deploy it again, or take its alias away in the Model Registry, "
            "and `previous` from the one before: without a model in use, the next that passes its gates is the first."
        )

    def _serves(self, endpoint: str, version: ModelVersion) -> bool:
        try:
            deployed = self._rest.get(endpoint).get("deployedModels", [])
        except NotFoundError:
            return False
        return any(_names(one, version) for one in deployed)


def _names(deployed: dict[str, Any], version: ModelVersion) -> bool:
    model, _, tag = deployed.get("model", "").partition("@")
    return model == version.model and f"{model}@{deployed.get('modelVersionId', tag)}" == version.name
