"""What a tuning job is asked to be, checked before it is asked. Pure: no Airflow, no network."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.jobs import (
    ADAPTER_SIZES,
    ATTEMPT_LABEL,
    FINGERPRINT_LABEL,
    IDENTITY_LABEL,
    HyperParameters,
    TuningJob,
)

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
