"""A recurring tuning as a YAML file describes it.

Everything is checked when the file is read, so that a mistake shows in the DAG list and not at night in a run.
"""

from __future__ import annotations

import re
import warnings
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

import pendulum
import yaml
from croniter import croniter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from vertex_tuning.champions import CHAMPION, check_alias
from vertex_tuning.comparison import parse_rule
from vertex_tuning.exceptions import ConfigurationError, RetiredModelWarning
from vertex_tuning.gates import parse_gates
from vertex_tuning.jobs import ADAPTER_SIZES
from vertex_tuning.models import retirement_note
from vertex_tuning.recommendations import recommendation
from vertex_tuning.smoke import parse_cases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

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
    """What the tuning job is asked for, unless the form says otherwise.

    :param epoch_count: passes over the data; what the guide recommends for the `task` when not given. Never left to
        the service, which was seen to pick 40
    """

    epoch_count: int | None = Field(default=None, ge=1, le=MAX_EPOCHS)
    learning_rate_multiplier: float = Field(default=1.0, gt=0, le=MAX_LEARNING_RATE_MULTIPLIER)
    adapter_size: Annotated[int, AfterValidator(_adapter_size)] = 4


def _no_templates(given: T) -> T:
    for mark in ("{{", "{%", "{#"):
        if mark in str(given):
            raise ValueError(f"found {mark!r}, which Airflow would take for a template; expected plain text")
    return given


def _call(parse: Callable[..., Any], *given: Any) -> None:
    try:
        parse(*given)
    except ConfigurationError as error:
        raise ValueError(str(error)) from error


def _checked_by(parse: Callable[[Any], Any]) -> AfterValidator:
    """What a part of the package reads itself is read when the file is, and kept as it is."""

    def check(given: Any) -> Any:
        _call(parse, given)
        return given

    return AfterValidator(check)


class Dataset(_Model):
    """What is done with the data before it is uploaded.

    :param format: see `vertex_tuning.datasets.formats`; recognised when not given
    :param columns: of a CSV file: which is the `prompt` and which the `response`
    :param system_instruction: for formats whose rows have none
    :param on_invalid_row: `fail`, or `drop` up to `max_dropped_share` of the rows
    :param validation_fraction: share of the training data to set aside when there is no validation data
    :param count_tokens_sample: so many examples have their tokens counted by the service; all are estimated without
    """

    format: Literal["gemini", "preference", "messages", "chat", "csv"] | None = None
    columns: dict[Literal["prompt", "response"], str] | None = None
    system_instruction: Annotated[str, AfterValidator(_no_templates)] | None = None
    on_invalid_row: Literal["fail", "drop"] = "fail"
    max_dropped_share: float = Field(default=0.01, ge=0, le=1)
    validation_fraction: float | None = Field(default=None, gt=0, le=0.5)
    split_seed: int = 0
    count_tokens_sample: int | None = Field(default=None, ge=1)


class Budget(_Model):
    """Above which a run ends before its job is created.

    :param max_cost: in the currency of the price table (include/prices.yaml)
    :param max_training_tokens: tokens times epochs
    """

    max_cost: float | None = Field(default=None, gt=0)
    max_training_tokens: int | None = Field(default=None, ge=1)


class SmokeTest(_Model):
    """Prompts the tuned model is asked.

    :param min_pass_share: share of the cases that must pass
    :param system_instruction: sent with every case that has none of its own
    :param cases: for the fields of a case see `vertex_tuning.smoke.SmokeCase`
    :param sample_size: how many validation examples are asked as well
    :param min_sample_share: share of them that must be answered exactly; reported only when not given
    """

    min_pass_share: float = Field(default=1.0, ge=0, le=1)
    system_instruction: str | None = None
    cases: Annotated[list[dict[str, Any]], AfterValidator(_no_templates), _checked_by(parse_cases)] = Field(
        min_length=1
    )
    sample_size: int = Field(default=20, ge=0, le=1000)
    min_sample_share: float | None = Field(default=None, ge=0, le=1)

    def asked(self) -> list[dict[str, Any]]:
        """The cases as the smoke test takes them."""
        return [{"system_instruction": self.system_instruction, **case} for case in self.cases]


class Promotion(_Model):
    """When a new model takes the place of the one in use.

    :param rule: when it is better; see `vertex_tuning.comparison.Rule`
    :param champion_alias: alias of the model in use in the Model Registry; before it is changed, the model in use has
        to be given the new one there
    :param on_refused: a model refused by smoke test, gates or rule ends the run as failed (`fail`) or skips the rest of
        it (`skip`)
    :param require_approval: a person decides in the Airflow UI
    :param approval_hours: how long they have; the model is not promoted afterwards
    """

    rule: dict[str, Any] = Field(default_factory=lambda: {"value": "sample.exact_share"})
    champion_alias: Annotated[str, _checked_by(check_alias)] = CHAMPION
    on_refused: Literal["fail", "skip"] = "fail"
    require_approval: bool = False
    approval_hours: float = Field(default=72.0, gt=0)

    @property
    def approval_deadline(self) -> timedelta | None:
        """How long a person has to approve; None when nobody is asked."""
        return timedelta(hours=self.approval_hours) if self.require_approval else None


class Tuning(_Model):
    """One file of `include/tunings/`; its name is the file's.

    :param location: where the job runs; may be a template
    :param bucket: where data is uploaded to; may be a template
    :param training_data: path relative to the project, or `gs://` URI
    :param task: what kind it is, for the guide's recommendations; see `vertex_tuning.recommendations`
    :param display_name: the tuned model's
    :param skip_if_unchanged: a run that would only make a model again that there is ends as skipped
    :param metrics_timeout_minutes: how long to wait for metrics that lag behind the job's end
    :param gates: limits the new model's values must keep; see `vertex_tuning.gates`
    :param on_missing_metrics: whether a gate whose value nobody knows fails or passes
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    description: str = ""
    schedule: Schedule
    location: str = "us-central1"
    bucket: str = Field(min_length=1)
    base_model: str = Field(min_length=1)
    training_data: str = Field(min_length=1)
    validation_data: str | None = None
    dataset: Dataset = Dataset()
    budget: Budget = Budget()
    task: Annotated[str | None, _checked_by(recommendation)] = None
    hyper_parameters: HyperParameters = HyperParameters()
    display_name: str = Field(min_length=1, max_length=128)
    labels: dict[str, str] = Field(default_factory=dict)
    job_timeout_hours: float = Field(default=24.0, gt=0)
    skip_if_unchanged: bool = True
    metrics_timeout_minutes: float = Field(default=30.0, ge=0)
    gates: Annotated[list[dict[str, Any]], _checked_by(parse_gates)] = Field(default_factory=list)
    on_missing_metrics: Literal["fail", "pass"] = "fail"
    smoke_test: SmokeTest
    promotion: Promotion = Promotion()

    @model_validator(mode="after")
    def _rule_can_be_applied(self) -> Tuning:
        _call(parse_rule, self.promotion.rule, parse_cases(self.smoke_test.cases))
        samples = self.smoke_test.sample_size and (self.validation_data or self.dataset.validation_fraction)
        if self.promotion.rule["value"].startswith("sample.") and not samples:
            raise ValueError(
                f"promotion.rule compares {self.promotion.rule['value']}, expected validation_data or "
                "dataset.validation_fraction, and a smoke_test.sample_size over 0, to have a sample"
            )
        return self


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
