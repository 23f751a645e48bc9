"""Delete models and datasets that are no longer needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import msgspec
from airflow.sdk.exceptions import AirflowSkipException

from vertex_tuning.config.switches import parse_switch
from vertex_tuning.datasets.manifest import DATASETS, MANIFEST, folder_of
from vertex_tuning.deployment import deployment_id
from vertex_tuning.exceptions import ConfigurationError, NotFoundError, TuningError, VertexUnavailableError
from vertex_tuning.jobs.clean_up import (
    DEFAULT_ALIAS,
    KeepRules,
    ModelsOfTuning,
    Retention,
    ServingEndpoint,
    dataset_folders,
    place_of,
    retain_datasets,
    retain_models,
    why_candidate_kept,
)
from vertex_tuning.jobs.job import DEPLOYMENT_LABEL, TuningJob
from vertex_tuning.jobs.spec import Origin
from vertex_tuning.operators.registry import ChampionOperator
from vertex_tuning.operators.spending import utc_now
from vertex_tuning.registry.aliases import TUNING_LABEL, ModelVersion
from vertex_tuning.results import CandidateResult
from vertex_tuning.text.templates import parse_rendered

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg

    from vertex_tuning.hooks.model_deletion import ModelDeletionHook
    from vertex_tuning.hooks.uploads import StoredObject

ACTIVE: Final = ["queued", "running"]
"""States of a run that has not ended."""


class CleanUpResult(msgspec.Struct):
    """Result of a clean-up: the deletions, or with `dry_run` those that would be made.

    :param dry_run: whether nothing was deleted
    :param models: names of versions
    :param endpoints: names of endpoints
    :param datasets: `gs://` URIs of folders
    :param kept: what is kept and why, by its name
    """

    dry_run: bool
    models: list[str] = msgspec.field(default_factory=list)
    endpoints: list[str] = msgspec.field(default_factory=list)
    datasets: list[str] = msgspec.field(default_factory=list)
    kept: dict[str, str] = msgspec.field(default_factory=dict)


class ModelDeletionOperator(ChampionOperator):
    """Base of the operators that delete models of a tuning with their endpoints."""

    @cached_property
    def deletion(self) -> ModelDeletionHook:
        from vertex_tuning.hooks.model_deletion import ModelDeletionHook

        return ModelDeletionHook(self.connection)

    @property
    def own_labels(self) -> dict[str, str]:
        """Labels of each model and endpoint of this tuning and installation."""
        return {TUNING_LABEL: self.tuning, DEPLOYMENT_LABEL: deployment_id()}

    def endpoints_of(self, version: ModelVersion, job: TuningJob | None) -> list[ServingEndpoint]:
        """The endpoints that serve a version, and those that its job made: they may be empty already."""
        made = job.tuned_model if job else None
        names = [made.endpoint, *(checkpoint.endpoint for checkpoint in made.checkpoints)] if made else []
        found = map(self.deletion.find_endpoint, dict.fromkeys(filter(None, (*version.endpoints, *names))))
        return [endpoint for endpoint in found if endpoint]

    def delete_model(self, version: ModelVersion, endpoints: Iterable[ServingEndpoint], *, is_last: bool) -> None:
        """Delete a version with its endpoints.

        :param is_last: whether its Model has no other version
        """
        for endpoint in endpoints:
            self.deletion.delete_endpoint(endpoint)
        if is_last:
            self.deletion.delete_model(version.model)
        else:
            self.deletion.delete_version(version.name)

    def is_unchanged(self, versions: Sequence[ModelVersion], endpoints: Iterable[ServingEndpoint]) -> bool:
        """Whether all versions of a Model and some endpoints are as they were read before."""
        return self.registry.versions_of("", versions[0].name) == versions and all(
            self.deletion.find_endpoint(endpoint.name) == endpoint for endpoint in endpoints
        )


class HousekeepingOperator(ModelDeletionOperator):
    """Delete old models of a tuning with their endpoints, and datasets that no kept model was made from.

    Kept are: each model with an alias, such as the model in use, the previous one and those that were rolled back; the
    newest models; what was made or changed recently; and what an unfinished job or run needs. Nothing is touched that
    lacks the labels of the tuning and of this Airflow installation. The log has the reason for each model and dataset.

    A killed task can be repeated. Returns `dry_run`, `models`, `endpoints`, `datasets` and `kept`.

    :param bucket: bucket of the datasets. (templated)
    :param keep_models: number of the newest models that are kept.
    :param keep_days: nothing that was made or changed within so many days is deleted.
    :param delete: delete; otherwise only log what would be deleted. True, false or a template of these. (templated)
    :param base_models: models that tunings start from; none of their versions is deleted. (templated)
    :param other_locations: further locations whose jobs may have used the datasets. (templated)
    """

    template_fields: Sequence[str] = (
        *ModelDeletionOperator.template_fields,
        "bucket",
        "delete",
        "base_models",
        "other_locations",
    )

    def __init__(
        self,
        *,
        tuning: str,
        bucket: str,
        keep_models: int = 5,
        keep_days: float = 90.0,
        delete: bool | str = False,
        base_models: Sequence[str] = (),
        other_locations: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(tuning=tuning, **kwargs)
        self.bucket = bucket
        self.keep_models = keep_models
        self.keep_days = keep_days
        self.delete = delete
        self.base_models = list(base_models)
        self.other_locations = list(other_locations)

    @property
    def rules(self) -> KeepRules:
        """How much is kept.

        :raises ConfigurationError: a limit is below 1
        """
        for field, value in (("keep_models", self.keep_models), ("keep_days", self.keep_days)):
            if value < 1:
                raise ConfigurationError(f"{field}: found {value:g}, expected 1 or more.")
        return KeepRules(self.keep_models, self.keep_days)

    def execute(self, context: Context) -> dict[str, Any]:
        delete = parse_switch("delete", self.delete)
        rules, now = self.rules, utc_now()
        if not delete:
            self.log.info("Dry run: nothing is deleted.")
        if not self.tuning:
            raise ConfigurationError("tuning: found nothing, expected the name of a tuning.")
        # Unclear aliases are an error: then it is not known which model must be kept.
        self.aliases.current(in_rollback=True)
        jobs = self._jobs()
        models = self._models(context, jobs, rules, now)
        judged = retain_models(models, rules, now)
        result = CleanUpResult(dry_run=not delete)
        failures = self._delete_models(models, judged, result)
        judged_data = self._judge_datasets(context, jobs, {*result.models}, rules, now)
        failures += self._delete_datasets(judged_data, result)
        if not (result.models or result.datasets):
            self.log.info("Nothing to delete.")
        result.kept = {each.name: each.reason for each in (*judged, *judged_data) if each.kept}
        for name, reason in result.kept.items():
            self.log.info("Kept: %s %s.", name, reason)
        if failures:
            raise VertexUnavailableError("\n".join(failures))
        outcome: dict[str, Any] = msgspec.to_builtins(result)
        return outcome

    # What there is

    def _is_own(self, job: TuningJob) -> bool:
        return self.own_labels.items() <= job.labels.items()

    def _jobs(self) -> list[TuningJob]:
        """All jobs of the project in the locations, of any tuning: some may use the same datasets."""
        from vertex_tuning.hooks.connection import GoogleConnection
        from vertex_tuning.hooks.genai import VertexTuningHook

        locations = dict.fromkeys([self.location, *self.other_locations])
        connections = [GoogleConnection(**{**self._place(), "location": location}) for location in locations]
        return [job for each in connections for job in VertexTuningHook(each).list_tuning_jobs()]

    def _models(self, context: Context, jobs: Sequence[TuningJob], rules: KeepRules, now: datetime) -> ModelsOfTuning:
        """The models of the tuning. Endpoints and runs are looked up only of those that nothing else keeps."""
        versions = self.registry.versions_of(self.tuning)
        needed = _bases(versions, jobs, self.base_models)
        endpoints: dict[str, list[ServingEndpoint]] = {}
        models = ModelsOfTuning(versions, self.own_labels, endpoints, needed)
        job_of = {place_of(job.name): job for job in jobs}
        for version in _doomed(versions, retain_models(models, rules, now)):
            job = job_of.get(place_of(version.job_name or ""))
            if reason := self._why_needed(context, job):
                needed[version.name] = reason
            else:
                endpoints[version.name] = self.endpoints_of(version, job)
        return models

    def _why_needed(self, context: Context, job: TuningJob | None) -> str:
        """Why the model of a job is needed; empty if it is not."""
        if job is None:
            return "comes from a tuning job that the list of jobs does not show"
        origin = Origin.of(job)
        if origin and _is_active(context, origin.dag_id, origin.run_id):
            return f"belongs to the run {origin.run_id} of {origin.dag_id}, which has not ended"
        return ""

    # Models

    def _delete_models(self, models: ModelsOfTuning, judged: Iterable[Retention], result: CleanUpResult) -> list[str]:
        """Delete the versions that are not needed, Model by Model.

        :returns: what could not be deleted, and why
        """
        failures = []
        doomed = sorted(_doomed(models.versions, judged), key=lambda version: version.model)
        for model, versions in groupby(doomed, key=lambda version: version.model):
            try:
                self._delete_versions(model, list(versions), models, result)
            except TuningError as error:
                failures.append(str(error))
        return failures

    def _delete_versions(
        self, model: str, versions: Sequence[ModelVersion], models: ModelsOfTuning, result: CleanUpResult
    ) -> None:
        """Delete versions of a Model with their endpoints, as long as the Model is as it was judged."""
        left = [version for version in models.versions if version.model == model]
        # The default version comes last: the service deletes it only with its Model.
        for version in sorted(versions, key=lambda each: DEFAULT_ALIAS in each.aliases):
            endpoints = models.endpoints[version.name]
            if not result.dry_run and not self.is_unchanged(left, endpoints):
                self.log.warning("%s has changed since it was read. It is left for the next run.", model)
                return
            if result.dry_run:
                self.log.info("Would delete %s with %d endpoints.", version.name, len(endpoints))
            else:
                self.delete_model(version, endpoints, is_last=len(left) == 1)
            left.remove(version)
            result.models.append(version.name)
            result.endpoints += [endpoint.name for endpoint in endpoints]

    # Datasets

    def _judge_datasets(
        self,
        context: Context,
        jobs: Sequence[TuningJob],
        deleted: set[str],
        rules: KeepRules,
        now: datetime,
    ) -> list[Retention]:
        """Judge the datasets in the bucket that jobs of this tuning used.

        :param deleted: names of the versions that were deleted just now, or would be
        """
        stored = self._stored_folders(jobs)
        users = [job for job in jobs if self._is_own(job) and dataset_folders(job) & stored]
        made = {job.tuned_model.model for job in users if job.tuned_model and job.tuned_model.model}
        models = {model for model in made - deleted if self._exists(model)}
        judged = retain_datasets(jobs, models, self.own_labels, rules, now)
        judged = [each for each in judged if each.name in stored]
        if busy := self._active_dags(context, jobs):
            reason = f"may be used by a run of {', '.join(busy)}, which has not ended"
            return [each if each.kept else Retention(each.name, kept=True, reason=reason) for each in judged]
        return judged

    def _stored_folders(self, jobs: Iterable[TuningJob]) -> set[str]:
        """The datasets of this tuning's jobs that are in its bucket, and not deleted yet."""
        parent = f"{folder_of(self.bucket, DATASETS)}/"
        used = {folder for job in jobs if self._is_own(job) for folder in dataset_folders(job)}
        return {folder for folder in used if folder.startswith(parent) and self._files(folder)}

    def _exists(self, model: str) -> bool:
        """Whether a version exists, in any location. A list of the registry may not show all."""
        try:
            return bool(self.registry.get(model))
        except NotFoundError:
            return False

    def _active_dags(self, context: Context, jobs: Iterable[TuningJob]) -> list[str]:
        """DAGs of this tuning with a run that has not ended: it may have found a dataset, and have no job yet."""
        origins = [Origin.of(job) for job in jobs if self._is_own(job)]
        return [dag_id for dag_id in sorted({each.dag_id for each in origins if each}) if _is_active(context, dag_id)]

    def _files(self, folder: str) -> list[StoredObject]:
        """The files of a dataset, its manifest first. The folders of runs, with their reports, are not among them."""
        files = self.storage.list_objects(f"{folder}/*")
        return sorted(files, key=lambda file: not file.uri.endswith(f"/{MANIFEST}"))

    def _delete_datasets(self, judged: Iterable[Retention], result: CleanUpResult) -> list[str]:
        """Delete the datasets that are not needed, each beginning with its manifest.

        :returns: what could not be deleted, and why
        """
        failures = []
        for dataset in judged:
            if dataset.kept:
                continue
            self.log.info("%s %s.", "Would delete" if result.dry_run else "Deleting", dataset.name)
            result.datasets.append(dataset.name)
            try:
                for file in [] if result.dry_run else self._files(dataset.name):
                    self.storage.delete_object(file)
            except TuningError as error:
                failures.append(str(error))
        return failures


class DeleteCandidatesOperator(ModelDeletionOperator):
    """Delete the models of the candidates that were not selected, with their endpoints. Returns the deleted models.

    A model is kept if it has an alias, lacks the labels of the tuning and of this Airflow installation, or shares an
    endpoint. All are kept if the model of the selected candidate does not exist. An error about one model does not
    keep the others. A killed task can be repeated. Use it as a teardown. Further parameters:
    :class:`~vertex_tuning.operators.registry.ChampionOperator`.

    :param candidates: `select.output["candidates"]`. (templated)
    :param selected: `select.output["selected"]`. (templated)
    """

    template_fields: Sequence[str] = (*ModelDeletionOperator.template_fields, "candidates", "selected")
    template_fields_renderers = {"candidates": "json"}
    optional_results = frozenset({"candidates", "selected"})

    def __init__(
        self,
        *,
        candidates: Sequence[Mapping[str, Any]] | XComArg | str,
        selected: int | XComArg | str | None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", False)  # it returns a list
        super().__init__(**kwargs)
        self.candidates = candidates
        self.selected = selected

    def execute(self, context: Context) -> list[str]:
        found = parse_rendered("candidates", self.candidates, list[CandidateResult], "candidates of a sweep") or []
        selected = parse_rendered("selected", self.selected, int, "the index of a candidate")
        if selected is None:
            raise AirflowSkipException("No candidate was selected, so all candidates are kept.")
        best = next((candidate for candidate in found if candidate.index == selected), None)
        if best is None or not self._made_by(best)[1]:
            raise AirflowSkipException("The model of the selected candidate does not exist, so all others are kept.")
        deleted, failures = [], []
        for candidate in found:
            if candidate.index == selected or candidate.state != "succeeded" or not candidate.job_name:
                continue
            try:
                deleted.append(self._deleted(candidate))
            except TuningError as error:
                failures.append(str(error))
        if failures:
            raise VertexUnavailableError("\n".join(failures))
        return list(filter(None, deleted))

    def _made_by(self, candidate: CandidateResult) -> tuple[TuningJob, ModelVersion | None]:
        """The job of a candidate and its model; no model if it was deleted."""
        job = self.hook.get_tuning_job(candidate.job_name)
        try:
            return job, self.registry.get(job.tuned_model.model) if job.tuned_model else None
        except NotFoundError:
            return job, None

    def _deleted(self, candidate: CandidateResult) -> str:
        """Delete the model of a candidate, and return its name; empty if it is kept or was deleted before."""
        job, version = self._made_by(candidate)
        if version is None:
            self.log.info("The model of candidate %d was deleted before.", candidate.number)
            return ""
        endpoints = self.endpoints_of(version, job)
        models = ModelsOfTuning([version], self.own_labels, {version.name: endpoints}, {})
        versions = self.registry.versions_of("", version.name)
        if reason := why_candidate_kept(version, models) or _why_default_kept(version, versions):
            self.log.warning("Kept: %s of candidate %d %s.", version.name, candidate.number, reason)
            return ""
        self.delete_model(version, endpoints, is_last=len(versions) == 1)
        return version.name


def _why_default_kept(version: ModelVersion, versions: Sequence[ModelVersion]) -> str:
    """A default version cannot be deleted before its Model: candidates of a tuned model are versions of that model."""
    is_needed = DEFAULT_ALIAS in version.aliases and len(versions) > 1
    return "is the default version of its Model, which has other versions" if is_needed else ""


def _doomed(versions: Iterable[ModelVersion], judged: Iterable[Retention]) -> list[ModelVersion]:
    names = {each.name for each in judged if not each.kept}
    return [version for version in versions if version.name in names]


def _bases(versions: Iterable[ModelVersion], jobs: Iterable[TuningJob], named: Collection[str]) -> dict[str, str]:
    """Reasons to keep versions of Models that a tuning or an unfinished job starts from."""
    reasons = {_model(name): "is the base model of a tuning" for name in named}
    for job in jobs:
        if job.is_live and job.pre_tuned_model:
            base = _model(job.pre_tuned_model.tuned_model_name)
            reasons[base] = f"is the base model of {job.name}, which has not ended"
    return {version.name: reasons[_model(version.name)] for version in versions if _model(version.name) in reasons}


def _model(name: str) -> str:
    return place_of(name).partition("@")[0]


def _is_active(context: Context, dag_id: str, run_id: str | None = None) -> bool:
    """Whether a run of a DAG, or the named one, has not ended."""
    count: int = context["ti"].get_dr_count(dag_id=dag_id, run_ids=[run_id] if run_id else None, states=ACTIVE)
    return count > 0
