"""The Model Registry: versions of tuned models, their aliases, and where they answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Final

from vertex_tuning.deployment import deployment_id
from vertex_tuning.exceptions import ChampionError, NotFoundError
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.job_reader import parse
from vertex_tuning.hooks.rest import RestClient, patient
from vertex_tuning.jobs.job import DEPLOYMENT_LABEL, TuningJob
from vertex_tuning.registry.aliases import TUNING_LABEL, ModelVersion
from vertex_tuning.resource_names import ResourceName

PAGE_SIZE: Final = 100
"""Models and versions per page; the service publishes no limit."""

RETRIES: Final = 4
"""All that is asked here may be asked twice."""

ALL_TRAFFIC: Final = 100
"""Percent: https://docs.cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.endpoints"""

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
        return {model.model for model in map(ModelVersion.parse, listed) if labels.items() <= model.labels.items()}

    def _versions(self, model: str) -> list[ModelVersion]:
        try:
            listed = list(self._rest.pages(f"{model}:listVersions", "models", PAGE_SIZE))
        except NotFoundError:  # deleted since it was listed
            return []
        return [ModelVersion.parse(one) for one in listed]

    def merge_aliases(self, version: str, aliases: list[str]) -> None:
        """Give a version aliases, and take from it those that begin with `-`."""
        self.log.info(
            "Aliases %s: %s", ", ".join(alias if alias[0] == "-" else f"+{alias}" for alias in aliases), version
        )
        self._rest.post(f"{version}:mergeVersionAliases", {"versionAliases": aliases})

    def job_of(self, version: ModelVersion) -> TuningJob | None:
        """The tuning job that made a version; None when there is none."""
        try:
            return parse(self._rest.read(version.job_name)) if version.job_name else None
        except NotFoundError:
            return None

    def endpoint_of(self, version: ModelVersion) -> str:
        """The endpoint that answers with a version: the one its tuning job names, or else its only one.

        :raises ChampionError: there is none, it serves something else by now, or not all of its traffic is the
            version's: others would answer, too
        """
        job = self.job_of(version)
        named = job.tuned_model.endpoint if job and job.tuned_model else ""
        endpoint = named or (version.endpoints[0] if len(set(version.endpoints)) == 1 else "")
        share = self._traffic(endpoint, version) if endpoint else None
        if share == ALL_TRAFFIC:
            return endpoint
        raise ChampionError(_not_answering(version, endpoint, share))

    def _traffic(self, endpoint: str, version: ModelVersion) -> int | None:
        """Which share of an endpoint's requests a version answers, in percent; None when it is not deployed there."""
        try:
            found = self._rest.get(endpoint)
        except NotFoundError:
            return None
        deployed = [one for one in found.get("deployedModels") or () if _is_of(one, version)]
        if not deployed:
            return None
        # JSON leaves out an empty split. Whether the endpoint then answers, Google says when it is asked.
        split = found.get("trafficSplit")
        return ALL_TRAFFIC if split is None else sum(split.get(one.get("id"), 0) for one in deployed)


def _is_of(deployed: dict[str, Any], version: ModelVersion) -> bool:
    model, _, tag = deployed.get("model", "").partition("@")
    return model == version.model and f"{model}@{deployed.get('modelVersionId', tag)}" == version.name


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
