"""A tuning job as the service returns it, and what its state means. Pure: no Airflow, no network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

import msgspec

from vertex_tuning.text.plain_text import MESSAGE_SHOWN, NAME_SHOWN, plain

ENDED: Final[Mapping[str, str]] = {
    "JOB_STATE_SUCCEEDED": "succeeded",
    "JOB_STATE_FAILED": "failed",
    "JOB_STATE_CANCELLED": "cancelled",
    "JOB_STATE_EXPIRED": "expired",
    "JOB_STATE_PARTIALLY_SUCCEEDED": "partially_succeeded",
}
"""Final states of a job, with the status of their event. In any other state, known or not, the task waits."""

ADAPTER_SIZES: Final = {
    1: "ADAPTER_SIZE_ONE",
    2: "ADAPTER_SIZE_TWO",
    4: "ADAPTER_SIZE_FOUR",
    8: "ADAPTER_SIZE_EIGHT",
    16: "ADAPTER_SIZE_SIXTEEN",
    32: "ADAPTER_SIZE_THIRTY_TWO",
}
"""Rank of the adapter, and the service's name for it (TuningJob.AdapterSize)."""

IDENTITY_LABEL: Final = "airflow-task-identity"
"""Digest of installation, DAG, run, task and map index, the same for all attempts of a task instance."""
FINGERPRINT_LABEL: Final = "airflow-fingerprint"
"""Digest of the settings and data that change the training."""
ATTEMPT_LABEL: Final = "airflow-job-attempt"
"""Number of the job among the jobs of its task instance, from 1."""
DEPLOYMENT_LABEL: Final = "airflow-deployment"
"""Id of the Airflow installation."""
RUN_LABEL: Final = "airflow-run"
"""Digest of installation, DAG and run: identifies the run that owns the job."""
OUTLIVES_RUN_LABEL: Final = "airflow-outlives-run"
"""Label of a job that may continue after the end of its run."""
ONCE_LABEL: Final = "airflow-once"
"""Label of a job that a job of another run replaces if data and settings are the same."""
CANDIDATE_LABEL: Final = "airflow-candidate"
"""Number of the candidate in the sweep of its run, from 1."""
DATASET_LABEL: Final = "airflow-dataset"
"""The first 32 digits of the dataset's hash."""

TRAINING_TOKENS_LABEL: Final = "airflow-training-tokens"
"""Estimated training tokens of the job, at most: its cost until the service has counted them."""

MAX_LISTED: Final = 100
"""Most items to keep of a list or object in a response: a job has fewer checkpoints and labels."""
REASONS_KEPT: Final = 20
"""Most reasons to keep for dropped examples; the service repeats a reason for each example."""

CANCELLING: Final = "JOB_STATE_CANCELLING"
CANCELLED: Final = "JOB_STATE_CANCELLED"

PASSING_CODES: Final = frozenset({4, 8, 10, 13, 14})
"""google.rpc codes of temporary errors: deadline exceeded, resource exhausted, aborted, internal, unavailable."""


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model that the job saved during training, with its endpoint."""

    checkpoint_id: str = ""
    epoch: int = 0
    step: int = 0
    endpoint: str = ""


class TunedModel(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tuned model: `model` is `projects/…/models/ID@VERSION`, `endpoint` serves it."""

    model: str = ""
    endpoint: str = ""
    checkpoints: list[Checkpoint] = msgspec.field(default_factory=list)


class RpcStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """google.rpc.Status: `code` is a canonical code, not an HTTP status."""

    code: int = 0
    message: str = ""


class JobHyperParameters(msgspec.Struct, frozen=True, omit_defaults=True):
    """Hyperparameters, as the service resolved them."""

    epoch_count: int | None = None
    learning_rate_multiplier: float | None = None
    adapter_size: str | None = None


class TuningMethodSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """Data and hyperparameters of a job."""

    training_dataset_uri: str = ""
    validation_dataset_uri: str = ""
    hyper_parameters: JobHyperParameters | None = None
    export_last_checkpoint_only: bool = False


class PreTunedModel(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tuned model that a job tunes further.

    :param base_model: its base model; the service sets it
    """

    tuned_model_name: str = ""
    checkpoint_id: str | None = None
    base_model: str = ""


class SupervisedDataStats(msgspec.Struct, frozen=True, omit_defaults=True):
    """Numbers that the service counted in the training data."""

    tuning_dataset_example_count: int | None = None
    total_billable_token_count: int | None = None
    tuning_step_count: int | None = None
    total_truncated_example_count: int | None = None
    dropped_example_reasons: list[str] = msgspec.field(default_factory=list)


class TuningDataStats(msgspec.Struct, frozen=True, omit_defaults=True):
    """Statistics of the training data, by tuning method."""

    supervised_tuning_data_stats: SupervisedDataStats | None = None


class TuningJobMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """Progress of the training (v1beta1 only)."""

    completed_epoch_count: int | None = None
    completed_step_count: int | None = None


class TuningJob(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tuning job as Vertex AI reports it, less what nobody downstream reads (sample rows, for one).

    Field names are the service's own in snake_case, so that XComs read like its reference.
    """

    name: str
    state: str = "JOB_STATE_UNSPECIFIED"
    tuning_job_state: str | None = None
    create_time: str | None = None
    start_time: str | None = None
    end_time: str | None = None
    base_model: str | None = None
    pre_tuned_model: PreTunedModel | None = None
    tuned_model_display_name: str | None = None
    description: str | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    error: RpcStatus | None = None
    supervised_tuning_spec: TuningMethodSpec | None = None
    preference_optimization_spec: TuningMethodSpec | None = None
    experiment: str | None = None
    gcs_metrics_uri: str | None = None
    tuned_model: TunedModel | None = None
    tuning_data_stats: TuningDataStats | None = None
    tuning_job_metadata: TuningJobMetadata | None = None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> TuningJob:
        """Read what the client returned or an XCom kept; unknown fields are left out, int64 strings are numbers.

        Every text becomes plain and bounded, and so do lists: logs, trigger events and XComs have the job in them.

        :raises msgspec.ValidationError: it cannot be read
        """
        known = msgspec.to_builtins(msgspec.convert(_bounded(data, MAX_LISTED), cls, strict=False))
        if name := known.get("tuned_model_display_name"):
            known["tuned_model_display_name"] = plain(name, NAME_SHOWN)
        if stats := (known.get("tuning_data_stats") or {}).get("supervised_tuning_data_stats"):
            stats["dropped_example_reasons"] = (stats.get("dropped_example_reasons") or [])[:REASONS_KEPT]
        return msgspec.convert(known, cls)

    def __post_init__(self) -> None:
        """Check the times of the job.

        :raises ValueError: a time is invalid or has no time zone
        """
        for field in ("create_time", "start_time", "end_time"):
            if text := getattr(self, field):
                _require_time(field, text)

    def as_xcom(self) -> dict[str, Any]:
        """The job as small, plain JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @property
    def identity(self) -> str:
        """Digest of the task instance that created the job; empty if no task created it."""
        return self.labels.get(IDENTITY_LABEL, "")

    @property
    def fingerprint(self) -> str:
        return self.labels.get(FINGERPRINT_LABEL, "")

    @property
    def run(self) -> str:
        """Digest of the run that owns the job; empty if no run created it."""
        return self.labels.get(RUN_LABEL, "")

    @property
    def attempt(self) -> int:
        """Number of the job among the jobs of its task instance, from 1."""
        label = self.labels.get(ATTEMPT_LABEL, "")
        return int(label) if label.isdecimal() else 1

    @property
    def is_live(self) -> bool:
        """Whether the job has not ended, so that it may still cost money."""
        return terminal_event(self) is None

    @property
    def is_cancelled(self) -> bool:
        """Whether the job was cancelled or is being cancelled."""
        return self.state in (CANCELLING, CANCELLED)

    @property
    def is_worth_waiting_for(self) -> bool:
        """Whether the job has succeeded or may still succeed; a job that is being cancelled does not count."""
        return self.succeeded or (self.is_live and not self.is_cancelled)

    @property
    def succeeded(self) -> bool:
        return self.state == "JOB_STATE_SUCCEEDED"

    @property
    def created_at(self) -> float | None:
        """Creation time by the clock of the service, in seconds since the epoch."""
        return datetime.fromisoformat(self.create_time).timestamp() if self.create_time else None

    @property
    def failed_in_passing(self) -> bool:
        """Whether the error is temporary, so that a new job may succeed. False if the job has already made a model."""
        has_model = bool(self.tuned_model and self.tuned_model.model)
        return self.error is not None and self.error.code in PASSING_CODES and not has_model

    @property
    def age_rank(self) -> tuple[datetime, str]:
        """Sort key from the oldest job to the newest, the same in every process."""
        created = datetime.fromisoformat(self.create_time) if self.create_time else datetime.max.replace(tzinfo=UTC)
        return created, self.name


def _bounded(value: Any, most: int) -> Any:
    """A JSON value with plain, shortened texts.

    :param most: most items of a list or an object
    """
    if isinstance(value, str):
        return plain(value, MESSAGE_SHOWN)
    if isinstance(value, Mapping):
        return {plain(key, NAME_SHOWN): _bounded(item, most) for key, item in islice(value.items(), most)}
    return [_bounded(item, most) for item in value[:most]] if isinstance(value, list) else value


def _require_time(field: str, text: str) -> None:
    try:
        is_known = datetime.fromisoformat(text).tzinfo is not None
        datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        is_known = False
    if not is_known:
        raise ValueError(f"{field}: found {text[:40]!r}, expected a time with a time zone, e.g. 2026-01-31T12:00:00Z")


def elect(jobs: Iterable[TuningJob]) -> TuningJob | None:
    """The job to keep if one task instance has created several. Every process chooses the same job.

    It is the job of the newest attempt. If two processes created a job for the same attempt, it is the oldest one.
    """
    usable = [job for job in jobs if job.is_worth_waiting_for]
    return min(usable, key=lambda job: (-job.attempt, job.age_rank), default=None)


def newest(jobs: Iterable[TuningJob]) -> TuningJob:
    """The job that represents the jobs of a task instance: the elected job, or else the job of the last attempt.

    If an attempt has two jobs, of which the package cancelled one, it is the other job.

    :raises ValueError: there are no jobs
    """
    jobs = list(jobs)
    return elect(jobs) or min(jobs, key=lambda job: (-job.attempt, job.is_cancelled, job.age_rank))


def terminal_event(job: TuningJob) -> dict[str, Any] | None:
    """The event of a job that has ended; None while it has not. No other function decides this."""
    status = ENDED.get(job.state)
    return None if status is None else {"status": status, "job_name": job.name, "job": job.as_xcom()}


def describe_progress(job: TuningJob) -> str:
    """State and progress of the job in one line; the line is equal if nothing has changed."""
    words = [job.state.removeprefix("JOB_STATE_")]
    if job.tuning_job_state:
        words.append(job.tuning_job_state.removeprefix("TUNING_JOB_STATE_").replace("_", " ").lower())
    done = job.tuning_job_metadata
    if done and done.completed_step_count:
        words.append(f"step {done.completed_step_count}{_of(total_steps(job))}")
        words.append(f"epoch {done.completed_epoch_count or 0}{_of(total_epochs(job))} completed")
    return ", ".join(words)


def total_steps(job: TuningJob) -> int | None:
    """Number of training steps; None if the service has not counted them yet."""
    stats = job.tuning_data_stats and job.tuning_data_stats.supervised_tuning_data_stats
    return stats.tuning_step_count if stats else None


def total_epochs(job: TuningJob) -> int | None:
    """Number of epochs; None if the job does not give it."""
    method = job.supervised_tuning_spec or job.preference_optimization_spec
    return method.hyper_parameters.epoch_count if method and method.hyper_parameters else None


def billed_tokens(job: TuningJob) -> int | None:
    """Billable tokens of the dataset, times the epochs. By the tuning guide, the service charges this number."""
    stats = job.tuning_data_stats and job.tuning_data_stats.supervised_tuning_data_stats
    tokens, epochs = stats and stats.total_billable_token_count, total_epochs(job)
    return tokens * epochs if tokens and epochs else None


def _of(total: int | None) -> str:
    return f" of {total}" if total else ""
