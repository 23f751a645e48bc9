"""What a tuning job is asked to be, checked before it is asked. Pure: no Airflow, no network."""

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
from vertex_tuning.templates import rendered

_LABEL = re.compile(r"[\w-]{0,63}")


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
    :param dataset_hash: hash of the data's content, where it is known
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
        """Check rendered arguments: text from templates becomes numbers, empty text means not given.

        :raises ConfigurationError: names the field, what was found and what is expected
        """
        given = {name: value for name, value in fields.items() if rendered(value) is not None}
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
        """Digest of what changes the training, and so the model: 16 hex digits.

        Names and labels do not count. Nor does what is not set, so that a field that comes with an upgrade changes no
        fingerprint. Data counts by its content where that is known, and by its place where it is not.
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
    :param map_index: -1 for a task that is not mapped
    """

    deployment: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    @property
    def identity(self) -> str:
        """By this label every attempt of the task instance finds the jobs of the others: 32 hex digits."""
        return identity_of(self.dag_id, self.task_id, self.run_id, self.map_index, self.deployment)

    @property
    def run(self) -> str:
        """By this label a run knows the jobs it owns: 32 hex digits."""
        return _digest([self.deployment, self.dag_id, self.run_id])[:32]

    @property
    def labels(self) -> dict[str, str]:
        return {DEPLOYMENT_LABEL: self.deployment, RUN_LABEL: self.run}

    def describe(self, note: str | None) -> str:
        """A job's description: the user's note, and a line that says for people and programs where it comes from."""
        place = {"dag": self.dag_id, "run": self.run_id, "task": self.task_id, "index": self.map_index}
        line = f"{_ORIGIN}{json.dumps(place, ensure_ascii=True)}"
        return f"{note}\n{line}" if note else line

    @classmethod
    def of(cls, job: TuningJob) -> Origin | None:
        """Read it from a job's description; None when that has none, or one that the job's labels contradict."""
        _, found, place_text = (job.description or "").rpartition(_ORIGIN)
        if not found:
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
    """The label of all jobs of one task instance: 32 hex digits."""
    return _digest([deployment, dag_id, task_id, run_id, map_index])[:32]


def identity_labels(identity: str, spec: TuningSpec, attempt: int) -> dict[str, str]:
    """The labels a job is created with, so that Vertex AI itself is the record of who requested what."""
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


def _explain(error: msgspec.ValidationError, given: Mapping[str, Any]) -> str:
    """Put field and value into msgspec's words, which name only the path."""
    text, _, path = str(error).partition(" - at `$.")
    field = path.rstrip("`").split("[")[0]
    return f"{field}: found {given[field]!r}. {text}." if field in given else f"{error}."
