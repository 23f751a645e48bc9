"""Which models and datasets of a tuning are no longer needed. Pure: no Airflow, no network.

Everything that may be needed is kept: the burden of proof is on a deletion. `retain_models` gives the reason for each.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.registry.aliases import ModelVersion

DEFAULT_ALIAS: Final = "default"
"""Alias that the service gives one version of each Model; it says nothing about the use of the version."""

_DATASET_FILE: Final = re.compile(r"(gs://.+/[0-9a-f]{64}(?:-[0-9a-f]{16})?)/[^/]+")
"""A file in the folder of a dataset, see `vertex_tuning.datasets.manifest`."""


class KeepRules(msgspec.Struct, frozen=True):
    """How much is kept.

    :param models: number of the newest models that are kept
    :param days: a model or dataset that was made or changed within so many days is kept
    """

    models: int
    days: float


class ServingEndpoint(msgspec.Struct, frozen=True):
    """An endpoint and what is deployed to it.

    :param name: `projects/…/locations/…/endpoints/ID`
    :param labels: labels of the endpoint
    :param deployed: version of the model by the id of the deployment, `projects/…/models/ID@VERSION`
    """

    name: str
    labels: Mapping[str, str]
    deployed: Mapping[str, str]


class ModelsOfTuning(msgspec.Struct, frozen=True):
    """The models of a tuning, as the service and Airflow know them.

    :param versions: all versions of all Models of the tuning
    :param own_labels: labels that each model, endpoint and job of this tuning and installation has
    :param endpoints: endpoints by the name of the version
    :param needed: reasons to keep a version that only jobs and runs know, by the name of the version
    """

    versions: Sequence[ModelVersion]
    own_labels: Mapping[str, str]
    endpoints: Mapping[str, Sequence[ServingEndpoint]]
    needed: Mapping[str, str]

    def is_own(self, labels: Mapping[str, str]) -> bool:
        return self.own_labels.items() <= labels.items()


class Retention(msgspec.Struct, frozen=True):
    """Whether a model or a dataset is kept.

    :param name: name of the version, or `gs://` URI of the dataset's folder
    :param kept: whether it is kept
    :param reason: why, as the end of a sentence
    """

    name: str
    kept: bool
    reason: str

    def __str__(self) -> str:
        return f"{'keep' if self.kept else 'delete'} {self.name}: {self.reason}"


def retain_models(models: ModelsOfTuning, rules: KeepRules, now: datetime) -> list[Retention]:
    """Judge each version of a tuning, oldest first.

    :param now: the current time
    """
    versions = sorted(models.versions, key=lambda version: version.age_rank)
    newest = {version.name for version in [each for each in versions if models.is_own(each.labels)][-rules.models :]}
    reasons = {each.name: _why_kept(each, models, newest, rules, now) for each in versions}
    kept = {each.model for each in versions if reasons[each.name]}
    for each in versions:
        # The service deletes no default version while the Model has others.
        if not reasons[each.name] and DEFAULT_ALIAS in each.aliases and each.model in kept:
            reasons[each.name] = "is the default version of its Model, of which other versions are kept"
    return [
        Retention(each.name, bool(reasons[each.name]), reasons[each.name] or _why_deleted(each, now))
        for each in versions
    ]


def _why_kept(
    version: ModelVersion, models: ModelsOfTuning, newest: Collection[str], rules: KeepRules, now: datetime
) -> str:
    """The first reason to keep a version; empty if nothing keeps it."""
    if not models.is_own(version.labels):
        return "lacks the labels of this tuning and installation"
    if not version.job_name:
        return "was not made by a tuning job"
    if aliases := sorted(version.aliases - {DEFAULT_ALIAS}):
        return f"has the alias {', '.join(aliases)}"
    if needed := models.needed.get(version.name):
        return needed
    if version.name in newest:
        return f"is one of the newest {rules.models}"
    if now - last_change(version) < timedelta(days=rules.days):
        return f"was made or changed {_days(version, now)} days ago, which is within {rules.days:g} days"
    return next(filter(None, (_why_left(each, version, models) for each in models.endpoints.get(version.name, ()))), "")


def _why_left(endpoint: ServingEndpoint, version: ModelVersion, models: ModelsOfTuning) -> str:
    """Why an endpoint, and so its model, is left alone; empty if the endpoint may be deleted."""
    if not models.is_own(endpoint.labels):
        return f"is deployed to {endpoint.name}, which lacks the labels of this tuning and installation"
    if others := sorted({each for each in endpoint.deployed.values() if each != version.name}):
        return f"shares {endpoint.name} with {', '.join(others)}"
    return ""


def _why_deleted(version: ModelVersion, now: datetime) -> str:
    return f"has no alias and no use, and was last changed {_days(version, now)} days ago"


def last_change(version: ModelVersion) -> datetime:
    """When a version was made, or changed since, for example when it went out of use.

    A version without an endpoint cannot be in use, and its deletion may have begun: it counts from its creation.
    """
    return max(version.created, version.updated or version.created) if version.endpoints else version.created


def _days(version: ModelVersion, now: datetime) -> int:
    return (now - last_change(version)).days


def dataset_folders(job: TuningJob) -> set[str]:
    """The folders of datasets that a job read: `gs://…` without a slash at the end."""
    method = job.supervised_tuning_spec or job.preference_optimization_spec
    uris = [method.training_dataset_uri, method.validation_dataset_uri] if method else []
    return {match[1] for match in map(_DATASET_FILE.fullmatch, uris) if match}


def retain_datasets(
    jobs: Iterable[TuningJob],
    models: Collection[str],
    own_labels: Mapping[str, str],
    rules: KeepRules,
    now: datetime,
) -> list[Retention]:
    """Judge each dataset from which jobs of a tuning were made, by the name of its folder.

    :param jobs: all jobs of the project, of any tuning and installation: jobs share a dataset with the same content
    :param models: names of all versions that are kept
    :param own_labels: labels that each job of this tuning and installation has
    :param now: the current time
    """
    users: dict[str, list[TuningJob]] = {}
    for job in jobs:
        for folder in dataset_folders(job):
            users.setdefault(folder, []).append(job)
    own = {folder: of for folder, of in users.items() if any(own_labels.items() <= job.labels.items() for job in of)}
    judged = []
    for folder, of in sorted(own.items()):
        reason = next(filter(None, (_why_data_kept(job, models, own_labels, rules, now) for job in of)), "")
        judged.append(Retention(folder, bool(reason), reason or "no kept model was made from it"))
    return judged


def _why_data_kept(
    job: TuningJob, models: Collection[str], own_labels: Mapping[str, str], rules: KeepRules, now: datetime
) -> str:
    """Why the data of a job is kept; empty if the job needs it no more."""
    if not own_labels.items() <= job.labels.items():
        return f"{job.name} of another tuning or installation was made from it"
    if job.is_live:
        return f"{job.name} has not ended"
    if job.created_at is None or now.timestamp() - job.created_at < rules.days * 24 * 3600:
        return f"{job.name} is not older than {rules.days:g} days"
    model = job.tuned_model.model if job.tuned_model else ""
    return f"{model} was made from it" if place_of(model) in map(place_of, models) else ""


def place_of(name: str) -> str:
    """A resource's name without its project, which names give by its id or by its number."""
    return name.partition("/locations/")[2]
