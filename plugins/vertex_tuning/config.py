"""A recurring tuning as a YAML file describes it.

Everything is checked when the file is read, so that a mistake shows in the DAG list and not at night in a run.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import pendulum
import yaml
from croniter import croniter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from vertex_tuning.exceptions import ConfigurationError, RetiredModelWarning
from vertex_tuning.jobs import ADAPTER_SIZES
from vertex_tuning.models import retirement_note
from vertex_tuning.smoke import parse_cases

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_EPOCHS: Final = 100
"""This project's own guard against a slip in a form; the service publishes no limit."""

MAX_LEARNING_RATE_MULTIPLIER: Final = 10.0
"""Likewise."""


def _cron(expression: str) -> str:
    if len(expression.split()) != 5 or not croniter.is_valid(expression):
        raise ValueError("expected five cron fields, e.g. '0 6 * * 1'")
    return expression


def _timezone(name: str) -> str:
    if name not in pendulum.timezones():
        raise ValueError("expected an IANA time zone, e.g. 'Europe/Berlin'")
    return name


def _adapter_size(size: int) -> int:
    if size not in ADAPTER_SIZES:
        raise ValueError(f"expected one of {', '.join(map(str, ADAPTER_SIZES))}")
    return size


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Schedule(_Model):
    """When a retraining starts by itself."""

    cron: Annotated[str, AfterValidator(_cron)]
    timezone: Annotated[str, AfterValidator(_timezone)] = "UTC"


class HyperParameters(_Model):
    """What the tuning job is asked for, unless the form says otherwise."""

    epoch_count: int = Field(ge=1, le=MAX_EPOCHS)
    learning_rate_multiplier: float = Field(default=1.0, gt=0, le=MAX_LEARNING_RATE_MULTIPLIER)
    adapter_size: Annotated[int, AfterValidator(_adapter_size)] = 4


def _cases(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        parse_cases(cases)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error
    return cases


class SmokeTest(_Model):
    """Prompts the tuned model is asked.

    :param system_instruction: sent with every case that has none of its own
    :param cases: for the fields of a case see `vertex_tuning.smoke.SmokeCase`
    """

    min_pass_share: float = Field(default=1.0, ge=0, le=1)
    system_instruction: str | None = None
    cases: Annotated[list[dict[str, Any]], AfterValidator(_cases)] = Field(min_length=1)

    def asked(self) -> list[dict[str, Any]]:
        """The cases as the smoke test takes them."""
        return [{"system_instruction": self.system_instruction, **case} for case in self.cases]


class Tuning(_Model):
    """One file of `include/tunings/`; its name is the file's.

    :param location: where the job runs; may be a template
    :param bucket: where data is uploaded to; may be a template
    :param training_data: path relative to the project, or `gs://` URI
    :param display_name: the tuned model's
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    description: str = ""
    schedule: Schedule
    location: str = "us-central1"
    bucket: str = Field(min_length=1)
    base_model: str = Field(min_length=1)
    training_data: str = Field(min_length=1)
    validation_data: str | None = None
    hyper_parameters: HyperParameters
    display_name: str = Field(min_length=1, max_length=128)
    labels: dict[str, str] = Field(default_factory=dict)
    job_timeout_hours: float = Field(default=24.0, gt=0)
    smoke_test: SmokeTest


def load_tunings(folder: Path) -> tuple[list[Tuning], list[str]]:
    """Read every `*.yaml` of a folder.

    A retired base model is a warning, which Airflow shows with the DAG file.

    :returns: the tunings that are right, and one message for each mistake in the others
    """
    tunings: list[Tuning] = []
    mistakes: list[str] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            tunings.append(load_tuning(path))
        except ConfigurationError as error:
            mistakes.append(str(error))
    return tunings, mistakes


def load_tuning(path: Path) -> Tuning:
    """Read one tuning.

    :raises ConfigurationError: names the file and, for every mistake, the field, what was found and what is allowed
    """
    where = f"{path.parent.name}/{path.name}"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{where} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{where}: found {type(content).__name__}, expected fields such as `base_model:`.")
    try:
        tuning = Tuning.model_validate({"name": path.stem, **content})
    except ValidationError as error:
        raise ConfigurationError("\n".join(f"{where}: {mistake}" for mistake in _mistakes(error))) from error
    if note := retirement_note(tuning.base_model):
        warnings.warn(f"{where}: base_model: {note}", RetiredModelWarning, stacklevel=2)
    return tuning


def _mistakes(error: ValidationError) -> Iterator[str]:
    for item in error.errors(include_url=False):
        field = ".".join(map(str, item["loc"]))
        allowed = re.sub(r"^Value error, ", "", item["msg"])
        found = "nothing" if item["type"] == "missing" else repr(item["input"])
        yield f"{field}: found {found[:200]}. {allowed[0].upper()}{allowed[1:]}."
