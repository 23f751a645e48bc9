"""Specification of a tuning job, checked before the request is sent. Pure: no Airflow, no network."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.jobs.job import (
    ADAPTER_SIZES,
    ATTEMPT_LABEL,
    DEPLOYMENT_LABEL,
    FINGERPRINT_LABEL,
    IDENTITY_LABEL,
    RUN_LABEL,
    JobHyperParameters,
    TuningJob,
)
from vertex_tuning.text.templates import rendered

_LABEL = re.compile(r"[\w-]{0,63}")


class TuningSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Specification of a tuning job.

    :param base_model: id of a Gemini model, or `projects/…/models/ID@VERSION` to tune a tuned model further
    :param training_uri: `gs://` URI of the training data, JSONL
    :param validation_uri: `gs://` URI of the validation data, JSONL; None for no validation metrics
    :param epoch_count: passes over the training data; None for the service's default
    :param learning_rate_multiplier: factor on the service's recommended learning rate; None for its default
    :param adapter_size: rank of the adapter, a value of `ADAPTER_SIZES`; None for the service's default
    :param display_name: display name of the tuned model; None for a random name
    :param description: description of the tuning job
    :param labels: labels of the job and of the tuned model
    :param export_last_checkpoint_only: keep only the last checkpoint, instead of a checkpoint per epoch
    :param checkpoint_id: checkpoint of `base_model` to start from, if `base_model` is a tuned model
    :param dataset_hash: hash of the content of the data, 32 to 64 hex digits; None if unknown
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
    dataset_hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32,64}$")] | None = None

    @classmethod
    def parse(cls, **fields: Any) -> TuningSpec:
        """Check rendered arguments. Text from templates becomes numbers; empty text and `None` mean not set.

        :param fields: values of the fields of this class, by name
        :raises ConfigurationError: a value is wrong; the message gives field, value and expectation
        """
        arguments = {name: value for name, value in fields.items() if rendered(value) is not None}
        try:
            spec = msgspec.convert(arguments, cls, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigurationError(_explain(error, arguments)) from error
        if spec.adapter_size is not None and spec.adapter_size not in ADAPTER_SIZES:
            allowed = ", ".join(map(str, ADAPTER_SIZES))
            raise ConfigurationError(f"adapter_size: found {spec.adapter_size}, expected one of {allowed}.")
        for key, value in spec.labels.items():
            _check_label(key, value)
        return spec

    @classmethod
    def of(cls, job: TuningJob) -> TuningSpec:
        """The specification of a job, with the settings that the service has chosen for it.

        :param job: a supervised tuning job
        :raises ConfigurationError: the job has another tuning method
        """
        method = job.supervised_tuning_spec
        if method is None:
            raise ConfigurationError(
                f"{job.name} is not a supervised tuning job. Only supervised tuning jobs are started again."
            )
        hyper = method.hyper_parameters or JobHyperParameters()
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
        """Hash of all settings that affect the trained model: 16 hex digits.

        Names and labels are left out. Fields that are not set are left out, too: a new field in a later release changes
        no fingerprint. Data counts by its hash if that is known, otherwise by its URI.
        """
        data = (self.dataset_hash,) if self.dataset_hash else (self.training_uri, self.validation_uri)
        fields = {
            "base_model": self.base_model,
            "data": [part for part in data if part],
            "epoch_count": self.epoch_count,
            "learning_rate_multiplier": self.learning_rate_multiplier,
            "adapter_size": self.adapter_size,
            "export_last_checkpoint_only": self.export_last_checkpoint_only or None,
            "checkpoint_id": self.checkpoint_id,
        }
        return _digest({name: value for name, value in fields.items() if value is not None})[:16]


@dataclass(frozen=True)
class Origin:
    """The task instance that a job is created for.

    :param deployment: id of the Airflow installation
    :param dag_id: id of the DAG
    :param run_id: id of the DAG run
    :param task_id: id of the task
    :param map_index: index of the mapped task instance; -1 for a task that is not mapped
    """

    deployment: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @property
    def identity(self) -> str:
        """Value of a label that all jobs of the task instance have: 32 hex digits. Each attempt finds them by it."""
        return identity_of(self.dag_id, self.task_id, self.run_id, self.map_index, self.deployment)

    @property
    def run(self) -> str:
        """Value of a label that all jobs of the DAG run have: 32 hex digits. The run finds its jobs by it."""
        return _digest([self.deployment, self.dag_id, self.run_id])[:32]

    @property
    def labels(self) -> dict[str, str]:
        return {DEPLOYMENT_LABEL: self.deployment, RUN_LABEL: self.run}

    def describe(self, note: str | None) -> str:
        """The description of a job: the user's note, then a line with the task instance, for people and programs.

        :param note: description that the user wrote; None for no note
        """
        place = {"dag": self.dag_id, "run": self.run_id, "task": self.task_id, "index": self.map_index}
        line = f"{_ORIGIN}{json.dumps(place, ensure_ascii=True)}"
        return f"{note}\n{line}" if note else line

    @classmethod
    def of(cls, job: TuningJob) -> Origin | None:
        """Read the task instance from the description of a job.

        None if the description has no task instance, or if the labels of the job contradict it.
        """
        _, separator, place_text = (job.description or "").rpartition(_ORIGIN)
        if not separator:
            return None
        try:
            place = json.loads(place_text)
            origin = cls(
                job.labels.get(DEPLOYMENT_LABEL, ""),
                str(place["dag"]),
                str(place["run"]),
                str(place["task"]),
                int(place["index"]),
            )
        except (ValueError, KeyError, TypeError):
            return None
        return origin if origin.run == job.run else None


_ORIGIN: Final = "Created by Airflow: "


def identity_of(dag_id: str, task_id: str, run_id: str, map_index: int, deployment: str = "") -> str:
    """Value of a label that all jobs of a task instance have: 32 hex digits.

    :param map_index: index of the mapped task instance; -1 for a task that is not mapped
    :param deployment: id of the Airflow installation
    """
    return _digest([deployment, dag_id, task_id, run_id, map_index])[:32]


def identity_labels(identity: str, spec: TuningSpec, attempt: int) -> dict[str, str]:
    """The labels of a new job. Vertex AI itself thus records which task instance requested which job.

    :param identity: value of the label for the task instance (`identity_of`)
    :param spec: specification of the job, with the user's labels
    :param attempt: attempt number of the job in its task instance, from 1
    """
    labels = {IDENTITY_LABEL: identity, FINGERPRINT_LABEL: spec.fingerprint(), ATTEMPT_LABEL: str(attempt)}
    return {**spec.labels, **labels}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


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


def _explain(error: msgspec.ValidationError, arguments: Mapping[str, Any]) -> str:
    """Add the field and its value to the message of msgspec, which names only the path."""
    text, _, path = str(error).partition(" - at `$.")
    field = path.rstrip("`").split("[")[0]
    return f"{field}: found {arguments[field]!r}. {text}." if field in arguments else f"{error}."
