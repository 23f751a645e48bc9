"""What a tuning job is asked to be, what it is found to be, and what that means. Pure: no Airflow, no network."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec

from vertex_tuning.exceptions import ConfigurationError

ENDED: Final[Mapping[str, str]] = {
    "JOB_STATE_SUCCEEDED": "succeeded",
    "JOB_STATE_FAILED": "failed",
    "JOB_STATE_CANCELLED": "cancelled",
    "JOB_STATE_EXPIRED": "expired",
    "JOB_STATE_PARTIALLY_SUCCEEDED": "partially_succeeded",
}
"""The states a job never leaves, and the status of the event each makes. Any other state, known or not, means wait."""

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
FINGERPRINT_LABEL: Final = "airflow-fingerprint"
ATTEMPT_LABEL: Final = "airflow-job-attempt"

PASSING_CODES: Final = frozenset({4, 8, 10, 13, 14})
"""google.rpc codes that say another job may succeed: deadline exceeded, resource exhausted, aborted, internal,
unavailable."""

_LABEL = re.compile(r"[\w-]{0,63}")


class Checkpoint(msgspec.Struct, frozen=True, omit_defaults=True):
    """A model saved on the way, with an endpoint of its own."""

    checkpoint_id: str = ""
    epoch: int = 0
    step: int = 0
    endpoint: str = ""


class TunedModel(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the job made: `model` is `projects/…/models/ID@VERSION`, `endpoint` serves it."""

    model: str = ""
    endpoint: str = ""
    checkpoints: list[Checkpoint] = msgspec.field(default_factory=list)


class RpcStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """google.rpc.Status: `code` is a canonical code, not HTTP's."""

    code: int = 0
    message: str = ""


class HyperParameters(msgspec.Struct, frozen=True, omit_defaults=True):
    """As the service resolved them."""

    epoch_count: int | None = None
    learning_rate_multiplier: float | None = None
    adapter_size: str | None = None


class TuningMethodSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """The part of a job that names its data."""

    training_dataset_uri: str = ""
    validation_dataset_uri: str = ""
    hyper_parameters: HyperParameters | None = None
    export_last_checkpoint_only: bool = False


class PreTunedModel(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tuned model a job goes on from."""

    tuned_model_name: str = ""
    checkpoint_id: str | None = None


class SupervisedDataStats(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the service counted in the training data."""

    tuning_dataset_example_count: int | None = None
    total_billable_token_count: int | None = None
    tuning_step_count: int | None = None
    total_truncated_example_count: int | None = None
    dropped_example_reasons: list[str] = msgspec.field(default_factory=list)


class TuningDataStats(msgspec.Struct, frozen=True, omit_defaults=True):
    supervised_tuning_data_stats: SupervisedDataStats | None = None


class TuningJobMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far training is (v1beta1 only)."""

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
        """Read what the client returned or an XCom kept; unknown fields are left out, int64 strings are numbers."""
        return msgspec.convert(data, cls, strict=False)

    def as_xcom(self) -> dict[str, Any]:
        """Small plain JSON."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    @property
    def location(self) -> str:
        """Where the job really runs: it stands in its name."""
        return location_of(self.name)

    @property
    def identity(self) -> str:
        """The task instance it was created for; empty when it was started elsewhere."""
        return self.labels.get(IDENTITY_LABEL, "")

    @property
    def fingerprint(self) -> str:
        return self.labels.get(FINGERPRINT_LABEL, "")

    @property
    def attempt(self) -> int:
        """The how-manieth job of its task instance it is, from 1."""
        label = self.labels.get(ATTEMPT_LABEL, "")
        return int(label) if label.isdecimal() else 1

    @property
    def is_live(self) -> bool:
        """Whether it may still cost something."""
        return terminal_event(self) is None

    @property
    def succeeded(self) -> bool:
        return self.state == "JOB_STATE_SUCCEEDED"

    @property
    def failed_in_passing(self) -> bool:
        """Whether another job like it may succeed. Not one that left a model: that would be paid for twice."""
        has_model = bool(self.tuned_model and self.tuned_model.model)
        return self.error is not None and self.error.code in PASSING_CODES and not has_model

    @property
    def age_rank(self) -> tuple[datetime, str]:
        """Sorts jobs from the oldest on, the same way for everyone who looks."""
        created = datetime.fromisoformat(self.create_time) if self.create_time else datetime.max.replace(tzinfo=UTC)
        return created, self.name


class TuningSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a tuning job is asked to be.

    :param base_model: a Gemini model's id, or `projects/…/models/ID@VERSION` to tune a tuned model further
    :param training_uri: JSONL in Cloud Storage
    :param validation_uri: JSONL in Cloud Storage; switches validation metrics on
    :param epoch_count: passes over the training data
    :param learning_rate_multiplier: factor on the service's recommended rate
    :param adapter_size: rank of the adapter, one of `ADAPTER_SIZES`
    :param display_name: the tuned model's name for people; a random one when empty
    :param checkpoint_id: the tuned model's checkpoint to go on from, when `base_model` is one
    """

    base_model: Annotated[str, msgspec.Meta(min_length=1)]
    training_uri: Annotated[str, msgspec.Meta(pattern="^gs://")]
    validation_uri: Annotated[str, msgspec.Meta(pattern="^gs://")] | None = None
    epoch_count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    learning_rate_multiplier: Annotated[float, msgspec.Meta(gt=0)] | None = None
    adapter_size: int | None = None
    display_name: Annotated[str, msgspec.Meta(max_length=128)] | None = None
    description: str | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    export_last_checkpoint_only: bool = False
    checkpoint_id: str | None = None

    @classmethod
    def parse(cls, **fields: Any) -> TuningSpec:
        """Check rendered arguments: text from templates becomes numbers, empty text means not given.

        :raises ConfigurationError: names the field, what was found and what is expected
        """
        given = {name: value for name, value in fields.items() if value not in (None, "", "None")}
        try:
            spec = msgspec.convert(given, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigurationError(_explain(error, given)) from error
        if spec.adapter_size is not None and spec.adapter_size not in ADAPTER_SIZES:
            allowed = ", ".join(map(str, ADAPTER_SIZES))
            raise ConfigurationError(f"adapter_size: found {spec.adapter_size}, expected one of {allowed}.")
        for key, value in spec.labels.items():
            _check_label(key, value)
        return spec

    @classmethod
    def of(cls, job: TuningJob) -> TuningSpec:
        """What it takes to ask for a job like this one, with the settings the service resolved."""
        method = job.supervised_tuning_spec
        if method is None:
            raise ConfigurationError(f"{job.name} is no supervised tuning job; only those are started again.")
        hyper = method.hyper_parameters or HyperParameters()
        ranks = {name: rank for rank, name in ADAPTER_SIZES.items()}
        before = job.pre_tuned_model
        return cls(
            base_model=(before.tuned_model_name if before else job.base_model) or "",
            checkpoint_id=before.checkpoint_id if before else None,
            training_uri=method.training_dataset_uri,
            validation_uri=method.validation_dataset_uri or None,
            epoch_count=hyper.epoch_count,
            learning_rate_multiplier=hyper.learning_rate_multiplier,
            adapter_size=ranks.get(hyper.adapter_size or ""),
            display_name=job.tuned_model_display_name,
            description=job.description,
            export_last_checkpoint_only=method.export_last_checkpoint_only,
        )

    def fingerprint(self) -> str:
        """The same for two specs exactly when they ask for the same job: 16 hex digits."""
        return _digest(json.dumps(msgspec.to_builtins(self), sort_keys=True))[:16]


def identity_of(dag_id: str, task_id: str, run_id: str, map_index: int) -> str:
    """The label by which every attempt of one task instance finds the job of the others: 32 hex digits."""
    return _digest(json.dumps([dag_id, task_id, run_id, map_index]))[:32]


def identity_labels(identity: str, spec: TuningSpec, attempt: int) -> dict[str, str]:
    """The labels a job is created with, so that Vertex AI itself is the record of who asked for what."""
    labels = {IDENTITY_LABEL: identity, FINGERPRINT_LABEL: spec.fingerprint(), ATTEMPT_LABEL: str(attempt)}
    return {**spec.labels, **labels}


def elect(jobs: Iterable[TuningJob]) -> TuningJob | None:
    """Which of several jobs that were asked for by the same task instance is the one.

    The newest attempt's; of jobs of one attempt (two processes created at once) the oldest. Everyone who looks
    decides alike.
    """
    usable = [job for job in jobs if job.is_live or job.succeeded]
    return min(usable, key=lambda job: (-job.attempt, job.age_rank), default=None)


def terminal_event(job: TuningJob) -> dict[str, Any] | None:
    """The one place that decides whether a job has ended: its event, or None while it has not."""
    status = ENDED.get(job.state)
    return None if status is None else {"status": status, "job_name": job.name, "job": job.as_xcom()}


def describe_progress(job: TuningJob) -> str:
    """Where the job is, in one line; equal lines mean nothing has changed."""
    words = [job.state.removeprefix("JOB_STATE_")]
    if job.tuning_job_state:
        words.append(job.tuning_job_state.removeprefix("TUNING_JOB_STATE_").replace("_", " ").lower())
    done = job.tuning_job_metadata
    if done and done.completed_step_count:
        words.append(f"step {done.completed_step_count}{_of(total_steps(job))}")
        words.append(f"epoch {done.completed_epoch_count or 0}{_of(total_epochs(job))} completed")
    return ", ".join(words)


def total_steps(job: TuningJob) -> int | None:
    stats = job.tuning_data_stats and job.tuning_data_stats.supervised_tuning_data_stats
    return stats.tuning_step_count if stats else None


def total_epochs(job: TuningJob) -> int | None:
    method = job.supervised_tuning_spec or job.preference_optimization_spec
    return method.hyper_parameters.epoch_count if method and method.hyper_parameters else None


def project_of(resource_name: str) -> str:
    """The project in a resource name; returned names hold its number."""
    return _segment(resource_name, "projects")


def location_of(resource_name: str) -> str:
    """The location in a resource name: where the resource really is, whatever was asked for."""
    return _segment(resource_name, "locations")


def _segment(resource_name: str, collection: str) -> str:
    found = re.search(rf"(?:^|/){collection}/([^/]+)", resource_name)
    if not found:
        raise ConfigurationError(
            f"Found {resource_name!r} as a resource name, expected projects/PROJECT/locations/LOCATION/…"
        )
    return found[1]


def _of(total: int | None) -> str:
    return f" of {total}" if total else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _check_label(key: str, value: str) -> None:
    if (
        not key
        or key != key.lower()
        or value != value.lower()
        or not (_LABEL.fullmatch(key) and _LABEL.fullmatch(value))
    ):
        raise ConfigurationError(
            f"labels: found {key!r}: {value!r}, expected at most 63 lower-case letters, digits, _ and - in each."
        )


def _explain(error: msgspec.ValidationError, given: Mapping[str, Any]) -> str:
    """Put field and value into msgspec's words, which name only the path."""
    text, _, path = str(error).partition(" - at `$.")
    field = path.rstrip("`").split("[")[0]
    return f"{field}: found {given[field]!r}. {text}." if field in given else f"{error}."
