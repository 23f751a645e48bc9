"""Creating, reading, listing and cancelling tuning jobs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from vertex_tuning.jobs import (
    FINGERPRINT_LABEL,
    IDENTITY_LABEL,
    TuningJob,
    TuningSpec,
    identity_labels,
    identity_of,
    terminal_event,
)
from vertex_tuning.links import ExperimentLink, TuningJobLink
from vertex_tuning.operators.base import VertexOperator
from vertex_tuning.waiting import TuningJobWaiter

if TYPE_CHECKING:
    from airflow.sdk import Context


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
    template_fields: Sequence[str] = (*TuningJobWaiter.template_fields, *spec_fields)
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
        self.wait_for_completion = wait_for_completion

    def execute(self, context: Context) -> dict[str, Any]:
        spec = TuningSpec.parse(
            **{field: getattr(self, field) for field in self.spec_fields},
            export_last_checkpoint_only=self.export_last_checkpoint_only,
        )
        self.job = self._adopt_or_create(spec, _identity(context))
        context["task_state_store"].set("tuning_job", self.job.name)
        return self.wait_for(self.job) if self.wait_for_completion else self.job.as_xcom()

    def awaited_job(self, context: Context) -> str:
        return str(context["task_state_store"].get("tuning_job"))

    def on_kill(self) -> None:
        """Only a task that waits answers for the job; one that just creates has nothing to stop but itself."""
        if self.wait_for_completion:
            super().on_kill()

    def _adopt_or_create(self, spec: TuningSpec, identity: str) -> TuningJob:
        for job in self.hook.list_tuning_jobs(f"labels.{IDENTITY_LABEL}={identity}"):
            if self._is_adoptable(job, spec, identity):
                self.log.info("Adopting %s (%s), created by an earlier attempt of this task.", job.name, job.state)
                return job
        job = self.hook.create_tuning_job(spec, identity_labels(identity, spec))
        self.log.info("Created %s: %s on %s.", job.name, spec.base_model, spec.training_uri)
        return job

    def _is_adoptable(self, job: TuningJob, spec: TuningSpec, identity: str) -> bool:
        # Checked here as well: the service publishes no grammar for this filter.
        mine = job.labels.get(IDENTITY_LABEL) == identity and job.labels.get(FINGERPRINT_LABEL) == spec.fingerprint()
        event = terminal_event(job)
        return mine and (event is None or event["status"] == "succeeded")


class GetTuningJobOperator(VertexOperator):
    """
    Read a tuning job and return it.

    :param job_name: `projects/…/locations/…/tuningJobs/ID`. (templated)
    """

    template_fields: Sequence[str] = (*VertexOperator.template_fields, "job_name")
    operator_extra_links = (TuningJobLink(), ExperimentLink())

    def __init__(self, *, job_name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        self.job: TuningJob | None = None

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
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

    def execute(self, context: Context) -> list[dict[str, Any]]:  # noqa: ARG002
        jobs = islice(self.hook.list_tuning_jobs(self.filter or None), self.limit)
        return [job.as_xcom() for job in jobs]


class CancelTuningJobOperator(VertexOperator):
    """
    Ask Vertex AI to cancel a tuning job; one that has ended stays as it is.

    :param job_name: `projects/…/locations/…/tuningJobs/ID`. (templated)
    """

    template_fields: Sequence[str] = (*VertexOperator.template_fields, "job_name")
    operator_extra_links = (TuningJobLink(),)

    def __init__(self, *, job_name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        self.job: TuningJob | None = None

    def execute(self, context: Context) -> dict[str, Any]:  # noqa: ARG002
        self.hook.cancel_tuning_job(self.job_name)
        self.job = self.hook.get_tuning_job(self.job_name)
        return self.job.as_xcom()


def _identity(context: Context) -> str:
    instance = context["ti"]
    index = -1 if instance.map_index is None else instance.map_index
    return identity_of(instance.dag_id, instance.task_id, instance.run_id, index)
