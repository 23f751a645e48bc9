"""Create, read, list and cancel tuning jobs."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec
from airflow.sdk.exceptions import AirflowSkipException

from vertex_tuning import exceptions
from vertex_tuning.config.switches import parse_switch
from vertex_tuning.costs.pricing import Cost
from vertex_tuning.deployment import deployment_id, require_own
from vertex_tuning.jobs.job import (
    CANCELLED,
    CANDIDATE_LABEL,
    DATASET_LABEL,
    DEPLOYMENT_LABEL,
    ONCE_LABEL,
    OUTLIVES_RUN_LABEL,
    TRAINING_TOKENS_LABEL,
    TuningJob,
    newest,
)
from vertex_tuning.jobs.spec import Origin, TuningSpec, identity_labels
from vertex_tuning.jobs.submission import SEARCH_TIMING, OnChangedSpec, Reuse, jobs_of_other_runs, submit
from vertex_tuning.jobs.wait import failure_of
from vertex_tuning.operators.base import TuningJobOperator, VertexOperator, instances_of, origin_of, task_states
from vertex_tuning.operators.waiter import RETRIED, TuningJobWaiter
from vertex_tuning.registry.aliases import CHAMPION, ROLLED_BACK, TUNING_LABEL, champion_of
from vertex_tuning.resources.resource_names import location_of
from vertex_tuning.results import JobResult
from vertex_tuning.text.templates import parse_rendered

if TYPE_CHECKING:
    from airflow.sdk import Context

    from vertex_tuning.registry.aliases import ModelVersion


CREATED: Final = "tuning_job"
"""Key in the task state store: name of the last job that this task instance created."""

REQUESTED: Final = "requested_fingerprints"
"""Key in the task state store: fingerprints of the requests of this task instance, written before each request."""

NEVER_RAN: Final = frozenset({None, "upstream_failed", "removed", "scheduled", "queued", "skipped"})
"""States of a task that leaves no job, as a rule: it did not run, or it skipped itself and cancelled its job."""

UNFINISHED: Final = frozenset(
    {"scheduled", "queued", "running", "restarting", "deferred", "up_for_retry", "up_for_reschedule", "awaiting_input"}
)
"""States of a task that has not ended or will run again."""


class CreateTuningJobOperator(TuningJobWaiter):
    """Create a supervised tuning job and return it, or adopt the job that an earlier attempt of this task created.

    The labels of the job identify the task instance (installation, DAG, run, task, map index) and the request. After a
    retry, a clear or a crash, the task finds its job by these labels and does not pay for a second job.

    :param base_model: a Gemini model, e.g. `gemini-2.5-flash`, or `projects/…/models/ID@VERSION` to tune a tuned
        model further. (templated)
    :param training_uri: training data, JSONL in Cloud Storage. (templated)
    :param validation_uri: validation data; switches validation metrics on. (templated)
    :param epoch_count: passes over the training data; if not set, the service chooses. (templated)
    :param learning_rate_multiplier: factor on the recommended learning rate. (templated)
    :param adapter_size: 1, 2, 4, 8, 16 or 32; each model supports some of these. (templated)
    :param display_name: display name of the tuned model. (templated)
    :param description: note in the description of the job, before the line that names the run. (templated)
    :param labels: further labels. (templated)
    :param dataset_hash: hash of the data's content, from an `UploadDatasetOperator`; it identifies the data in any
        location. (templated)
    :param export_last_checkpoint_only: keep only the last checkpoint.
    :param checkpoint_id: checkpoint of the tuned model from which to continue. (templated)
    :param reuse: jobs of earlier attempts, with the same data and settings, that this attempt adopts. `active`: running
        jobs; `succeeded`: running and succeeded jobs; `never`: no job.
    :param on_changed_spec: what to do with a job of an earlier attempt that still runs with other data or settings:
        `cancel_and_recreate` or `fail`.
    :param skip_if_unchanged: skip this task if a job with the same data and settings is running, or if its model
        exists, or was deleted as a candidate of a sweep. `labels` must then contain the label `airflow-tuning` with the
        tuning's name. (templated)
    :param cost: `cost` of an `UploadDatasetOperator`: the estimate for `max_cost_per_30_days`. A label of the job keeps
        its tokens. In a sweep, the limit applies to all candidates before the first job is created. (templated)
    :param champion_alias: alias of the model in use in the Model Registry.
    :param outlives_run: the job may continue after the end of the run, because another DAG waits for it; the DAG
        `cancel_orphaned_jobs` does not cancel it.
    :param wait_for_completion: wait in this task until the job has ended; see
        :class:`~vertex_tuning.operators.waiter.TuningJobWaiter`.
    """

    spec_fields = (
        "base_model",
        "training_uri",
        "validation_uri",
        "epoch_count",
        "learning_rate_multiplier",
        "adapter_size",
        "display_name",
        "description",
        "labels",
        "checkpoint_id",
        "dataset_hash",
    )
    template_fields: Sequence[str] = (*TuningJobWaiter.template_fields, *spec_fields, "skip_if_unchanged", "cost")
    template_fields_renderers = {"labels": "json", "cost": "json"}

    def __init__(
        self,
        *,
        base_model: str,
        training_uri: str,
        validation_uri: str | None = None,
        epoch_count: int | str | None = None,
        learning_rate_multiplier: float | str | None = None,
        adapter_size: int | str | None = None,
        display_name: str | None = None,
        description: str | None = None,
        labels: dict[str, str] | str | None = None,
        export_last_checkpoint_only: bool = False,
        checkpoint_id: str | None = None,
        dataset_hash: str | None = None,
        reuse: Reuse = "succeeded",
        on_changed_spec: OnChangedSpec = "cancel_and_recreate",
        skip_if_unchanged: bool | str = False,
        cost: Mapping[str, Any] | str | None = None,
        champion_alias: str = CHAMPION,
        outlives_run: bool = False,
        wait_for_completion: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.base_model = base_model
        self.training_uri = training_uri
        self.validation_uri = validation_uri
        self.epoch_count = epoch_count
        self.learning_rate_multiplier = learning_rate_multiplier
        self.adapter_size = adapter_size
        self.display_name = display_name
        self.description = description
        self.labels = labels
        self.export_last_checkpoint_only = export_last_checkpoint_only
        self.checkpoint_id = checkpoint_id
        self.dataset_hash = dataset_hash
        self.reuse = reuse
        self.on_changed_spec = on_changed_spec
        self.skip_if_unchanged = skip_if_unchanged
        self.cost = cost
        self.champion_alias = champion_alias
        self.outlives_run = outlives_run
        self.wait_for_completion = wait_for_completion

    @property
    def identity(self) -> str:
        """The label of all jobs of this task instance; empty until it runs."""
        return self.creations.identity

    def execute(self, context: Context) -> dict[str, Any]:
        return self._submit(context)

    def retry_submit(self, context: Context, event: Any = None, quota_deadline: float | None = None) -> dict[str, Any]:
        """Try again to create the job after waiting for quota."""
        self._quota_deadline = quota_deadline or math.inf
        return self._submit(context)

    def awaited_job(self, context: Context) -> str:
        return str(context["task_state_store"].get(CREATED))

    def _submit(self, context: Context) -> dict[str, Any]:
        self._ti = context["ti"]
        origin = origin_of(context)
        spec = self._spec(origin)
        self.creations.identity = origin.identity
        self._require_no_cancel(context, spec, origin)
        if spec.base_model.startswith("projects/"):
            version = self.registry.get(spec.base_model)
            require_own(version.name, version.labels, "base_model")
        if parse_switch("skip_if_unchanged", self.skip_if_unchanged):
            self._skip_if_repeated(spec, origin)
        self.job = self._created_elsewhere(context, spec) or self._create(context, spec, origin)
        context["task_state_store"].set(CREATED, self.job.name)
        self.creations.require_open()
        self._owned = True
        self.yield_to_another_run(self.job)
        return self.wait_for(context, self.job) if self.wait_for_completion else JobResult.of(self.job).as_xcom()

    def _create(self, context: Context, spec: TuningSpec, origin: Origin) -> TuningJob:
        store = context["task_state_store"]
        requested = str(store.get(REQUESTED) or "").split()

        def before_creating() -> None:
            self.require_unchanged_data(spec)
            self._require_room_for_run(spec)
            store.set(REQUESTED, " ".join([*requested, spec.fingerprint()]))

        try:
            job = submit(
                self.hook,
                spec,
                origin.identity,
                reuse=self.reuse,
                on_changed_spec=self.on_changed_spec,
                before_creating=before_creating,
                requested=requested,
                creations=self.creations,
            )
        except exceptions.QuotaExceededError as error:
            self.wait_for_quota(error, "retry_submit")
        if job.name in self.creations.names:
            self.cancel_above_budget(job)
        return job

    def _require_room_for_run(self, spec: TuningSpec) -> None:
        """Check that the budget has room for the job; in a sweep for the jobs of all candidates, before the first.

        :raises AirflowSkipException: it has no room, and `on_budget` is `skip`
        :raises CostLimitError: it has no room
        """
        labels, cost = spec.labels, self._cost()
        is_sweep = bool(cost and cost.candidates > 1)
        if cost and is_sweep:
            labels = {**labels, TRAINING_TOKENS_LABEL: str(cost.most_training_tokens)}
        job = TuningJob(name="", base_model=spec.base_model, labels=labels)
        self.require_room_in_budget(job, is_whole_run=is_sweep)

    def _cost(self) -> Cost | None:
        found: Cost | None = parse_rendered("cost", self.cost, Cost, "`cost` of an UploadDatasetOperator")
        return found

    def _require_no_cancel(self, context: Context, spec: TuningSpec, origin: Origin) -> None:
        """Check that no person has cancelled the job since an attempt that failed while the job ran.

        :raises TuningJobCancelledError: a person has cancelled the job
        """
        store = context["task_state_store"]
        if store.get(RETRIED) is None:
            return
        jobs = [job for job in self.hook.jobs_of(origin.identity) if job.fingerprint == spec.fingerprint()]
        store.delete(RETRIED)
        if jobs and newest(jobs).state == CANCELLED:
            raise failure_of(newest(jobs))

    def _created_elsewhere(self, context: Context, spec: TuningSpec) -> TuningJob | None:
        """The job of an earlier attempt in another location, for which a template was rendered differently."""
        name = context["task_state_store"].get(CREATED)
        if name is None or location_of(str(name)) == self.location:
            return None
        job = self._read(str(name))  # one failed read must not end a run that has cost money
        if job.fingerprint != spec.fingerprint() or not job.is_worth_waiting_for:
            return None
        self.log.warning("Adopting %s, created by an earlier attempt. location is %s now.", job.name, self.location)
        return job

    def _spec(self, origin: Origin) -> TuningSpec:
        fields = {field: getattr(self, field) for field in self.spec_fields}
        fields["labels"] = parse_rendered("labels", self.labels, dict[str, str], "texts by name, or their JSON")
        spec = TuningSpec.parse(**fields, export_last_checkpoint_only=self.export_last_checkpoint_only)
        labels = {**spec.labels, **origin.labels}
        if spec.dataset_hash:
            labels[DATASET_LABEL] = spec.dataset_hash[:32]
        if cost := self._cost():
            labels[TRAINING_TOKENS_LABEL] = str(cost.most_training_tokens_of_job(spec.epoch_count))
        if self.outlives_run:
            labels[OUTLIVES_RUN_LABEL] = "true"
        if parse_switch("skip_if_unchanged", self.skip_if_unchanged):
            labels[ONCE_LABEL] = "true"
        return msgspec.structs.replace(spec, labels=labels, description=origin.describe(spec.description))

    # One job for all runs with the same data and settings

    def _skip_if_repeated(self, spec: TuningSpec, origin: Origin) -> None:
        if TUNING_LABEL not in spec.labels:
            raise exceptions.ConfigurationError(f"labels: found no {TUNING_LABEL!r}, which skip_if_unchanged needs.")
        if any(job.is_worth_waiting_for for job in self.hook.jobs_of(origin.identity)):
            return  # an earlier attempt of this task has created it
        jobs = jobs_of_other_runs(self.hook, TuningJob(name="", labels=identity_labels(origin.identity, spec, 1)))
        for job in jobs:
            if job.is_live and not job.is_cancelled:
                self.skip_for(job)
        made = {job.tuned_model.model: job for job in jobs if job.succeeded and job.tuned_model}
        versions = self.registry.versions_of(spec.labels[TUNING_LABEL]) if made else []
        known = {version.name for version in versions}
        for model, job in made.items():
            if CANDIDATE_LABEL in job.labels and model not in known:
                self._skip(
                    f"Nothing has changed: {job.name} trained on the same data with the same settings as a candidate, "
                    "and its model does not exist any more, probably because another candidate was better. No job was "
                    "created. To train it again, switch skip_if_unchanged off for this run."
                )
        for version in versions:
            if version.name in made:
                self._skip(
                    f"Nothing has changed: {version.name} was tuned by {made[version.name].name} from the same data "
                    f"with the same settings, and {_fate(version, champion_of(versions, self.champion_alias))} "
                    "No job was created."
                )

    def _skip(self, reason: str) -> NoReturn:
        self.log.info("Skipping: %s", reason)
        raise AirflowSkipException(reason)


class GetTuningJobOperator(TuningJobOperator):
    """Read a tuning job and return it."""

    def execute(self, context: Context) -> dict[str, Any]:
        self.job = self.hook.get_tuning_job(self.job_name)
        return JobResult.of(self.job).as_xcom()


class ListTuningJobsOperator(VertexOperator):
    """List tuning jobs of a project and location, newest first, and return them.

    :param filter: list filter of the service, e.g. `labels.team=support`. (templated)
    :param limit: largest number of jobs; all jobs if not set.
    """

    template_fields: Sequence[str] = (*VertexOperator.template_fields, "filter")

    def __init__(self, *, filter: str | None = None, limit: int | None = None, **kwargs: Any) -> None:  # noqa: A002
        kwargs.setdefault("multiple_outputs", False)  # it returns a list
        super().__init__(**kwargs)
        self.filter = filter
        self.limit = limit

    def execute(self, context: Context) -> list[dict[str, Any]]:
        jobs = islice(self.hook.list_tuning_jobs(self.filter or None), self.limit)
        return [JobResult.of(job).as_xcom() for job in jobs]


class CancelTuningJobOperator(TuningJobOperator):
    """Cancel a tuning job; a job that has ended does not change."""

    def execute(self, context: Context) -> dict[str, Any]:
        self.job = self.hook.cancel_tuning_job(self.job_name)
        return JobResult.of(self.job).as_xcom()


class CancelUnfinishedJobsOperator(VertexOperator):
    """Cancel jobs that another task of the same run has created and that no task waits for.

    Use it as a teardown: it then runs even if the run is marked as failed between create and wait. It does nothing if
    all jobs have ended. If the creating task has run, this task is retried after every
    error: the cause of that error, e.g. a missing permission, may pass, and the job would continue.

    :param created_by: task id of the :class:`CreateTuningJobOperator`. If both tasks are mapped, only the
        same map index counts; otherwise all map indices count.
    """

    search_timing = SEARCH_TIMING

    search_pause: float = 3.0
    """Seconds between two searches for a job that may not be listed yet."""

    def __init__(self, *, created_by: str, **kwargs: Any) -> None:
        kwargs.setdefault("multiple_outputs", False)  # it returns a list
        super().__init__(**kwargs)
        self.created_by = created_by

    def execute(self, context: Context) -> list[str]:
        states = self._creations(context)
        # An instance is removed when a clear maps fewer candidates: it may have run before.
        ran = [i for i, state in states.items() if state not in NEVER_RAN or (state == "removed" and i >= 0)]
        identities = [origin_of(context, self.created_by, index).identity for index in ran]
        cancelled: list[str] = []
        deadline = time.monotonic() + self.search_timing.list_lag
        while identities:
            failures: list[str] = []
            identities = [identity for identity in identities if not self._cancel(identity, cancelled, failures)]
            if time.monotonic() > deadline:
                if failures:
                    raise exceptions.VertexUnavailableError("\n".join(failures))
                break
            if identities:
                time.sleep(self.search_pause)
        for index in (index for index, state in states.items() if state == "skipped"):
            self._cancel_of_skipped(origin_of(context, self.created_by, index).identity, cancelled)
        return cancelled

    def _cancel_of_skipped(self, identity: str, cancelled: list[str]) -> None:
        """Look once for the jobs of a task that is skipped, and raise no error.

        Most of these tasks have skipped themselves. But to mark a run as failed also skips a task that waits for its
        retry, perhaps after an error that came after its job.
        """
        failures: list[str] = []
        self._cancel(identity, cancelled, failures)
        for failure in failures:
            self.log.warning("%s", failure)

    def _cancel(self, identity: str, cancelled: list[str], failures: list[str]) -> bool:
        """Cancel the jobs of one task instance, and record their names or the error.

        :returns: whether the search is complete: no job follows a succeeded one; after any other end, the next job may
            exist already although the list does not show it yet
        """
        try:
            jobs = self.hook.jobs_of(identity)
            for job in jobs:
                if job.is_live and job.name not in cancelled:
                    self.log.warning("Cancelling %s: its run has ended before it.", job.name)
                    self.hook.cancel_tuning_job(job.name)
                    cancelled.append(job.name)
        except exceptions.TuningError as error:
            failures.append(str(error))
            return False
        return any(job.succeeded for job in jobs)

    def _creations(self, context: Context) -> dict[int, str | None]:
        """Airflow's states of the creating task, by map index.

        :raises ConfigurationError: the run has no such task
        """
        states = task_states(context)
        own = context["ti"].map_index
        if own not in (None, -1) and f"{self.created_by}_{own}" in states:
            return {own: states[f"{self.created_by}_{own}"]}
        found = {-1: states[self.created_by]} if self.created_by in states else {}
        found |= instances_of(states, self.created_by)
        if not found:
            raise exceptions.ConfigurationError(
                f"created_by: found {self.created_by!r}, expected a task of this run, one of {', '.join(states)}."
            )
        return found


class CancelOrphanedJobsOperator(VertexOperator):
    """Cancel jobs of this Airflow installation whose run has ended, and return their names.

    Airflow skips the teardowns of a run that `dagrun_timeout` ends, so that its job would continue. A job is not
    cancelled in three cases: a task of its run has not finished, the grace period has not passed, or it was created
    with `outlives_run`. A job whose run cannot be found is reported and not cancelled.

    :param grace_period: age in seconds; a younger job is not cancelled.
    """

    def __init__(self, *, grace_period: float = 900.0, **kwargs: Any) -> None:
        kwargs.setdefault("multiple_outputs", False)  # it returns a list
        super().__init__(**kwargs)
        self.grace_period = grace_period

    def execute(self, context: Context) -> list[str]:
        deployment = deployment_id()
        cancelled: list[str] = []
        failures: list[str] = []
        for job in list(self.hook.list_tuning_jobs(f"labels.{DEPLOYMENT_LABEL}={deployment}")):
            if job.labels.get(DEPLOYMENT_LABEL) != deployment or not self._is_orphan(context, job):
                continue
            try:
                self.hook.cancel_tuning_job(job.name)
                cancelled.append(job.name)
            except exceptions.TuningError as error:
                failures.append(str(error))
        if failures:
            raise exceptions.VertexUnavailableError("\n".join(failures))
        return cancelled

    def _is_orphan(self, context: Context, job: TuningJob) -> bool:
        age = time.time() - (job.created_at or time.time())
        if not (job.is_live and job.is_worth_waiting_for) or age < self.grace_period:
            return False
        if OUTLIVES_RUN_LABEL in job.labels:
            return False
        origin = Origin.of(job)
        if origin is None:
            self.log.warning("%s is running, but its run is unknown. It is not cancelled.", job.name)
            return False
        try:
            state = context["ti"].get_dagrun_state(origin.dag_id, origin.run_id)
            states = set(task_states(context, origin.dag_id, origin.run_id).values())
        except Exception as error:  # noqa: BLE001 - no error is a reason to cancel a job
            self.log.warning(
                "%s is running, but Airflow cannot read the state of run %s of %s (%r). The job is not cancelled.",
                job.name, origin.run_id, origin.dag_id, error,
            )  # fmt: skip
            return False
        if state not in ("success", "failed") or states & UNFINISHED:
            return False
        self.log.warning(
            "Cancelling %s: run %s of %s ended as %s before it.", job.name, origin.run_id, origin.dag_id, state
        )
        return True


def _fate(version: ModelVersion, champion: ModelVersion | None) -> str:
    """The current use of a version, as the end of a sentence."""
    if version == champion:
        return "is the model in use."
    if ROLLED_BACK in version.aliases:
        return "was rolled back."
    return "is not in use. To judge it again, clear the tasks after its training in the run that made it."
