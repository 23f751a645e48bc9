"""Creating, reading, listing and cancelling tuning jobs."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NoReturn

import pendulum
from airflow.sdk.exceptions import AirflowSkipException

from vertex_tuning import exceptions
from vertex_tuning.champions import CHAMPION, ROLLED_BACK, TUNING_LABEL, champion_of
from vertex_tuning.operators.base import TuningJobOperator, VertexOperator, is_true, task_states
from vertex_tuning.specs import TuningSpec, identity_of
from vertex_tuning.waiting import DAY, TuningJobWaiter

if TYPE_CHECKING:
    from airflow.sdk import Context

    from vertex_tuning.champions import ModelVersion
    from vertex_tuning.jobs import TuningJob
    from vertex_tuning.submission import OnChangedSpec, Reuse


LIST_PAUSE: Final = 3.0
"""Seconds between two looks for a job that may not be listed yet."""


class CreateTuningJobOperator(TuningJobWaiter):
    """
    Create a supervised tuning job and return it, or adopt the one an earlier attempt of this task created.

    The job carries who asked for it (dag, task, run, map index) and what was asked as labels, so a retry, a clear or
    a crash finds it again instead of paying for a second one.

    :param base_model: a Gemini model, e.g. `gemini-2.5-flash`, or `projects/…/models/ID@VERSION` to tune a tuned
        model further. (templated)
    :param training_uri: training data, JSONL in Cloud Storage. (templated)
    :param validation_uri: validation data; switches validation metrics on. (templated)
    :param epoch_count: passes over the training data. The service picks when it is not given. (templated)
    :param learning_rate_multiplier: factor on the recommended learning rate. (templated)
    :param adapter_size: 1, 2, 4, 8, 16 or 32, as far as the model takes it. (templated)
    :param display_name: the tuned model's name for people. (templated)
    :param description: a note kept with the job. (templated)
    :param labels: further labels. (templated)
    :param export_last_checkpoint_only: keep no checkpoint but the last.
    :param checkpoint_id: checkpoint of the tuned model to go on from. (templated)
    :param reuse: which jobs of earlier attempts of this task will do when they asked for the same: those that still run
        (`active`), those that succeeded as well (`succeeded`), or none (`never`).
    :param on_changed_spec: what becomes of a job of an earlier attempt that still runs but asked for something else:
        `cancel_and_recreate` or `fail`.
    :param skip_if_unchanged: skip this task when there is a model that was made by a job that asked for exactly the
        same: in use, replaced, refused or rolled back, it is not paid for again. Models are found by the label
        `airflow-tuning`, which `labels` must have then. (templated)
    :param champion_alias: alias of the model in use in the Model Registry.
    :param quota_timeout: seconds to wait, without a worker, for quota for another job.
    :param wait_for_completion: wait here until the job has ended; see
        :class:`~vertex_tuning.waiting.TuningJobWaiter` for how.
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
    )
    template_fields: Sequence[str] = (*TuningJobWaiter.template_fields, *spec_fields, "skip_if_unchanged")
    template_fields_renderers = {"labels": "json"}

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
        labels: dict[str, str] | None = None,
        export_last_checkpoint_only: bool = False,
        checkpoint_id: str | None = None,
        reuse: Reuse = "succeeded",
        on_changed_spec: OnChangedSpec = "cancel_and_recreate",
        skip_if_unchanged: bool | str = False,
        champion_alias: str = CHAMPION,
        quota_timeout: float = DAY,
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
        self.reuse = reuse
        self.on_changed_spec = on_changed_spec
        self.skip_if_unchanged = skip_if_unchanged
        self.champion_alias = champion_alias
        self.quota_timeout = quota_timeout
        self.wait_for_completion = wait_for_completion
        self.identity = ""

    def execute(self, context: Context) -> dict[str, Any]:
        if is_true(self.skip_if_unchanged):
            self._skip_if_unchanged(self._spec(), _identity(context))
        return self._submit(context, quota_deadline=time.time() + self.quota_timeout)

    def _skip_if_unchanged(self, spec: TuningSpec, identity: str) -> None:
        if TUNING_LABEL not in spec.labels:
            raise exceptions.ConfigurationError(f"labels: found no {TUNING_LABEL!r}, which skip_if_unchanged needs.")
        versions = self.registry.versions_of(spec.labels[TUNING_LABEL])
        # A job of this very task instance is not what this run repeats: it is adopted.
        made = {
            job.tuned_model.model: job
            for job in self.hook.jobs_like(spec.fingerprint())
            if job.succeeded and job.tuned_model and job.identity != identity
        }
        for version in versions:
            if version.name in made:
                raise AirflowSkipException(
                    f"Nothing has changed: {version.name} was tuned by {made[version.name].name} from the same data "
                    f"with the same settings, and {_fate(version, champion_of(versions, self.champion_alias))} "
                    "No job was created."
                )

    def retry_submit(self, context: Context, event: Any = None, quota_deadline: float | None = None) -> dict[str, Any]:
        """There may be quota now."""
        return self._submit(context, quota_deadline or time.time() + self.quota_timeout)

    def awaited_job(self, context: Context) -> str:
        return str(context["task_state_store"].get("tuning_job"))

    def on_kill(self) -> None:
        """Whatever this task has created so far, nobody will wait for it."""
        if self.cancel_on_kill and self.identity:
            for job in self.hook.jobs_of(self.identity):
                if job.is_live:
                    self.hook.cancel_tuning_job(job.name)

    def _submit(self, context: Context, quota_deadline: float) -> dict[str, Any]:
        from vertex_tuning.submission import submit

        self.identity, spec = _identity(context), self._spec()
        try:
            job = submit(
                self.hook,
                spec,
                self.identity,
                reuse=self.reuse,
                on_changed_spec=self.on_changed_spec,
                before_creating=partial(self.require_unchanged_data, spec),
            )
        except exceptions.QuotaExceededError as error:
            self._wait_for_quota(error, quota_deadline)
        self.job = job
        # For the UI; nothing depends on it.
        context["task_state_store"].set("tuning_job", job.name)
        return self.wait_for(context, job) if self.wait_for_completion else job.as_xcom()

    def _spec(self) -> TuningSpec:
        fields = {field: getattr(self, field) for field in self.spec_fields}
        return TuningSpec.parse(**fields, export_last_checkpoint_only=self.export_last_checkpoint_only)

    def _wait_for_quota(self, error: exceptions.QuotaExceededError, deadline: float) -> NoReturn:
        """Leave the worker and come back, without using up a retry."""
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        if not self.deferrable:
            raise error
        if time.time() >= deadline:
            raise exceptions.QuotaTimeoutError(
                f"Waited {self.quota_timeout:.0f} s for quota in vain. {error}"
            ) from error
        # Jitter, so that tasks that wait for the same quota do not come back together for ever.
        pause = self.interval * random.uniform(1, 2)  # noqa: S311 - no secret
        self.log.warning("No quota for another tuning job; trying again in %.0f s. %s", pause, error)
        self.defer(
            trigger=DateTimeTrigger(moment=pendulum.now("UTC").add(seconds=pause)),
            method_name="retry_submit",
            kwargs={"quota_deadline": deadline},
        )


class GetTuningJobOperator(TuningJobOperator):
    """Read a tuning job and return it."""

    def execute(self, context: Context) -> dict[str, Any]:
        self.job = self.hook.get_tuning_job(self.job_name)
        return self.job.as_xcom()


class ListTuningJobsOperator(VertexOperator):
    """
    List tuning jobs of a project and location, newest first, and return them.

    :param filter: the service's list filter, e.g. `labels.team=support`. (templated)
    :param limit: at most so many; all of them when not given.
    """

    template_fields: Sequence[str] = (*VertexOperator.template_fields, "filter")

    def __init__(self, *, filter: str | None = None, limit: int | None = None, **kwargs: Any) -> None:  # noqa: A002
        super().__init__(**kwargs)
        self.filter = filter
        self.limit = limit

    def execute(self, context: Context) -> list[dict[str, Any]]:
        jobs = islice(self.hook.list_tuning_jobs(self.filter or None), self.limit)
        return [job.as_xcom() for job in jobs]


class CancelTuningJobOperator(TuningJobOperator):
    """Ask Vertex AI to cancel a tuning job; one that has ended stays as it is."""

    def execute(self, context: Context) -> dict[str, Any]:
        self.job = self.hook.cancel_tuning_job(self.job_name)
        return self.job.as_xcom()


class CancelUnfinishedJobsOperator(VertexOperator):
    """
    Cancel what another task of the same run has created and nobody waits for any more.

    Meant as a teardown: it runs even when the run is marked as failed between creating and waiting. Does nothing when
    all jobs have ended. Once the other task has run, no error is final here: what ended the run, as a permission that
    was lost for a while, may meet this task too, and the job would run on.

    :param created_by: task id of the :class:`CreateTuningJobOperator`.
    """

    def __init__(self, *, created_by: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.created_by = created_by

    def execute(self, context: Context) -> list[str]:
        ended_as = self._state_of_creation(context)
        try:
            live = [job.name for job in self._jobs(context, killed=ended_as == "failed") if job.is_live]
            for name in live:
                self.log.warning("Cancelling %s: the run has ended without it.", name)
                self.hook.cancel_tuning_job(name)
        except exceptions.PermanentError as error:
            if ended_as in ("success", "failed"):
                raise exceptions.VertexUnavailableError(str(error)) from error
            raise
        return live

    def _jobs(self, context: Context, *, killed: bool) -> list[TuningJob]:
        """What was created; looked for as long as a new job may be missing from the list when its task was ended."""
        from vertex_tuning.submission import LIST_LAG

        identity, deadline = _identity(context, self.created_by), time.monotonic() + (LIST_LAG if killed else 0)
        while not (jobs := self.hook.jobs_of(identity)) and time.monotonic() < deadline:
            time.sleep(LIST_PAUSE)
        return jobs

    def _state_of_creation(self, context: Context) -> str | None:
        map_index = context["ti"].map_index
        index = "" if map_index in (None, -1) else f"_{map_index}"
        return task_states(context).get(f"{self.created_by}{index}")


def _identity(context: Context, task_id: str | None = None) -> str:
    instance = context["ti"]
    index = -1 if instance.map_index is None else instance.map_index
    return identity_of(instance.dag_id, task_id or instance.task_id, instance.run_id, index)


def _fate(version: ModelVersion, champion: ModelVersion | None) -> str:
    """What became of a version, as the end of a sentence."""
    if version == champion:
        return "is the model in use."
    if ROLLED_BACK in version.aliases:
        return "was rolled back."
    return "is not in use. To have it judged again, clear the tasks after its training in the run that made it."
