"""A recurring tuning, as a YAML file or Python describes it: the fields, and what each of them can be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from vertex_tuning.config.base_models import check_base_model, retirement_note
from vertex_tuning.config.labels import label_mistakes
from vertex_tuning.config.locations import check_bucket, check_bucket_of, check_location
from vertex_tuning.config.schedules import check_cron, check_timezone
from vertex_tuning.config.strict_yaml import FieldPath, field_name
from vertex_tuning.config.template_syntax import check_template
from vertex_tuning.costs.recommendations import TUNING_TASKS
from vertex_tuning.datasets.source_names import check_source_template
from vertex_tuning.evaluation.checks import case_mistakes, gate_mistakes, rule_mistakes
from vertex_tuning.evaluation.value_names import needs_sample, needs_validation
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.jobs.job import ADAPTER_SIZES
from vertex_tuning.plain_text import control_character
from vertex_tuning.registry.aliases import CHAMPION, check_alias
from vertex_tuning.templates import without_templates

NAME: Final = r"^[a-z][a-z0-9_]{0,62}$"
"""A tuning's name: it is part of a DAG's id and a label's value."""

MAX_EPOCHS: Final = 100
"""This project's own guard against a slip in a form; the service publishes no limit."""

MAX_LEARNING_RATE_MULTIPLIER: Final = 10.0
"""Likewise."""


MAX_COST: Final = 1e9
MAX_TOKENS: Final = 10**15
MIN_HOURS: Final = 0.01
"""Half a minute; less is a slip, and 1e-10 would round to no time at all."""
MAX_HOURS: Final = 24 * 365
"""A year; Airflow's own dates end soon after some thousand."""

FIELD_MISTAKE: Final = "field_mistake"
"""Type of an error whose text says what is expected of its field."""
LISTED_MISTAKES: Final = "listed_mistakes"
"""Type of an error whose text has a mistake in each line, with its field."""


def _checked(check: Callable[[Any], Any]) -> AfterValidator:
    """A validator made of a check that raises ConfigurationError."""

    def validate(value: Any) -> Any:
        try:
            check(value)
        except ConfigurationError as error:
            raise PydanticCustomError(FIELD_MISTAKE, "{text}", {"text": str(error)}) from error
        return value

    return AfterValidator(validate)


def _checked_in_parts(mistakes: Callable[[Any], Iterable[str]]) -> AfterValidator:
    """A validator made of a check that yields mistakes, each with its field."""

    def validate(value: Any) -> Any:
        _refuse(mistakes(value))
        return value

    return AfterValidator(validate)


def _refuse(mistakes: Iterable[str]) -> None:
    if found := list(mistakes):
        raise PydanticCustomError(
            LISTED_MISTAKES, "{text}", {"text": "\n".join(" ".join(one.splitlines()) for one in found)}
        )


def _not_blank(text: str) -> None:
    if not text.strip():
        raise ConfigurationError("expected a text.")


def _adapter_size(size: int) -> None:
    if size not in ADAPTER_SIZES:
        raise ConfigurationError(f"expected one of {', '.join(map(str, ADAPTER_SIZES))}.")


def _task(task: str) -> None:
    if task not in TUNING_TASKS:
        raise ConfigurationError(f"expected one of {', '.join(TUNING_TASKS)}; leave the field out for another kind.")


def _data(field: str) -> AfterValidator:
    """A validator of a dataset's name, which it never quotes: it may have a password in it."""

    def mistakes(text: str) -> Iterable[str]:
        try:
            check_source_template(text)
            check_bucket_of(text)
        except ConfigurationError as error:
            yield f"{field}: {str(error).removeprefix('Dataset: ')}"

    return _checked_in_parts(mistakes)


def _promotion_rule(rule: dict[str, Any]) -> Iterable[str]:
    return (f"promotion.{mistake}" for mistake in rule_mistakes(rule))


def _control_mistakes(value: Any, path: FieldPath = ()) -> Iterable[str]:
    """Control characters in any text, which neither Airflow's database nor a log can hold."""
    if isinstance(value, str) and (control := control_character(value)):
        yield f"{field_name(path)}: found the control character {control}; expected none."
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _control_mistakes(str(key), path)
            yield from _control_mistakes(part, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _control_mistakes(part, (*path, index))


Plain = _checked(without_templates)
PlainText = Annotated[str, _checked(_not_blank), Plain]
"""A text that no template may be in: Airflow would render it, or send it to Google as it is."""
Template = Annotated[str, _checked(_not_blank), _checked(check_template)]
"""A text that Airflow renders for each run."""


class _Model(BaseModel):
    # An error does not quote what was given: a password may be in it.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class Schedule(_Model):
    """When a retraining starts by itself."""

    cron: Annotated[str, _checked(check_cron)]
    timezone: Annotated[str, _checked(check_timezone)] = "UTC"


class HyperParameters(_Model):
    """What the tuning job is asked for, unless the form says otherwise.

    :param epoch_count: passes over the data; what the guide recommends for the `task` when not given. Never left to
        the service, which was seen to pick 40
    """

    epoch_count: int | None = Field(default=None, ge=1, le=MAX_EPOCHS)
    learning_rate_multiplier: float = Field(default=1.0, gt=0, le=MAX_LEARNING_RATE_MULTIPLIER)
    adapter_size: Annotated[int, _checked(_adapter_size)] = 4


class ColumnNames(_Model):
    """Names of the columns of a CSV file."""

    prompt: PlainText = "prompt"
    response: PlainText = "response"


class Dataset(_Model):
    """What is done with the data before it is uploaded.

    :param format: see `vertex_tuning.datasets.formats`; recognised when not given
    :param columns: of a CSV file: which is the `prompt` and which the `response`
    :param system_instruction: for formats whose rows have none
    :param on_invalid_row: `fail`, or `drop` up to `max_dropped_share` of the rows
    :param validation_fraction: share of the training data to set aside when there is no validation data
    :param count_tokens_sample: so many examples have their tokens counted by the service; all are estimated without
    """

    format: Literal["gemini", "messages", "chat", "csv"] | None = None
    columns: ColumnNames | None = None
    system_instruction: PlainText | None = None
    on_invalid_row: Literal["fail", "drop"] = "fail"
    max_dropped_share: float = Field(default=0.01, ge=0, le=1)
    validation_fraction: float | None = Field(default=None, gt=0, le=0.5)
    split_seed: int = Field(default=0, ge=-(2**63), lt=2**63)
    count_tokens_sample: int | None = Field(default=None, ge=1, le=10_000)


class Budget(_Model):
    """Above which a run ends before its job is created.

    :param max_cost: in the currency of the price table (include/prices.yaml)
    :param max_training_tokens: tokens times epochs
    """

    max_cost: float | None = Field(default=None, gt=0, le=MAX_COST)
    max_training_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)


class SmokeTest(_Model):
    """Prompts the tuned model is asked.

    :param min_pass_share: share of the cases that must pass
    :param system_instruction: sent with every case that has none of its own
    :param cases: for the fields of a case see `vertex_tuning.evaluation.cases.SmokeCase`
    :param sample_size: how many validation examples are asked as well
    :param min_sample_share: share of them that must be answered exactly; reported only when not given
    """

    min_pass_share: float = Field(default=1.0, ge=0, le=1)
    system_instruction: PlainText | None = None
    cases: Annotated[list[dict[str, Any]], Plain, _checked_in_parts(case_mistakes)] = Field(min_length=1)
    sample_size: int = Field(default=20, ge=0, le=1000)
    min_sample_share: float | None = Field(default=None, ge=0, le=1)

    def asked(self) -> list[dict[str, Any]]:
        """The cases as the smoke test takes them."""
        return [{"system_instruction": self.system_instruction, **case} for case in self.cases]


class Promotion(_Model):
    """When a new model takes the place of the one in use.

    :param rule: when it is better; see `vertex_tuning.evaluation.comparison.Rule`
    :param champion_alias: alias of the model in use in the Model Registry; before it is changed, the model in use has
        to be given the new one there
    :param on_refused: a model refused by smoke test, gates or rule ends the run as failed (`fail`) or skips the rest of
        it (`skip`)
    :param require_approval: a person decides in the Airflow UI
    :param approval_hours: how long they have; the model is not promoted afterwards
    """

    rule: Annotated[dict[str, Any], Plain, _checked_in_parts(_promotion_rule)] = Field(
        default_factory=lambda: {"value": "sample.exact_share"}
    )
    champion_alias: Annotated[str, _checked(check_alias)] = CHAMPION
    on_refused: Literal["fail", "skip"] = "fail"
    require_approval: bool = False
    approval_hours: float = Field(default=72.0, ge=MIN_HOURS, le=MAX_HOURS)

    @property
    def approval_deadline(self) -> timedelta | None:
        """How long a person has to approve; None when nobody is asked."""
        return timedelta(hours=self.approval_hours) if self.require_approval else None


class Tuning(_Model):
    """One file of `include/tunings/`; its name is the file's.

    :param location: where the job runs; may be a template
    :param bucket: where data is uploaded to; may be a template
    :param training_data: path relative to the project, or a URI such as `gs://…`; may be a template, as may
        `validation_data`
    :param task: what kind it is, for the guide's recommendations; see `vertex_tuning.costs.recommendations`
    :param display_name: the tuned model's
    :param skip_if_unchanged: a run that would only make a model again that there is ends as skipped
    :param metrics_timeout_minutes: how long to wait for metrics that lag behind the job's end
    :param gates: limits the new model's values must keep; see `vertex_tuning.evaluation.gates`
    :param on_missing_metrics: whether a gate whose value nobody knows fails or passes
    """

    name: str = Field(pattern=NAME)
    description: Annotated[str, Plain] = ""
    schedule: Schedule
    location: Annotated[Template, _checked(check_location)] = "us-central1"
    bucket: Annotated[Template, _checked(check_bucket)]
    base_model: Annotated[PlainText, _checked(check_base_model)]
    training_data: Annotated[Template, _data("training_data")]
    validation_data: Annotated[Template, _data("validation_data")] | None = None
    dataset: Dataset = Dataset()
    budget: Budget = Budget()
    task: Annotated[str, _checked(_task)] | None = None
    hyper_parameters: HyperParameters = HyperParameters()
    display_name: PlainText = Field(max_length=128)
    labels: Annotated[dict[str, str], Plain, _checked_in_parts(label_mistakes)] = Field(default_factory=dict)
    job_timeout_hours: float = Field(default=24.0, ge=MIN_HOURS, le=MAX_HOURS)
    skip_if_unchanged: bool = True
    metrics_timeout_minutes: float = Field(default=30.0, ge=0, le=MAX_HOURS * 60)
    gates: Annotated[list[dict[str, Any]], Plain, _checked_in_parts(gate_mistakes)] = Field(default_factory=list)
    on_missing_metrics: Literal["fail", "pass"] = "fail"
    smoke_test: SmokeTest
    promotion: Promotion = Promotion()

    @property
    def retirement_note(self) -> str:
        """What to know of the base model before paying for a job; empty when there is nothing."""
        return retirement_note(self.base_model)

    @model_validator(mode="after")
    def _is_storable_and_measured(self) -> Tuning:
        """Refuse texts that cannot be stored, and a rule or gates that no model could pass, for lack of a value."""
        _refuse([*_control_mistakes(self.model_dump()), *self._rule_mistakes(), *self._gate_mistakes()])
        return self

    def _rule_mistakes(self) -> Iterable[str]:
        for mistake in rule_mistakes(self.promotion.rule, self.smoke_test.cases):
            yield f"promotion.{mistake}"
        if missing := self._missing(self.promotion.rule["value"]):
            yield f"promotion.rule.value: found {self.promotion.rule['value']!r}, {missing}"

    def _gate_mistakes(self) -> Iterable[str]:
        if self.on_missing_metrics == "pass":
            return
        for index, gate in enumerate(self.gates):
            if missing := self._missing(gate["value"]):
                yield f"gates[{index}].value: found {gate['value']!r}, {missing}"

    def _missing(self, value: str) -> str:
        """What it takes to have a value, when that is not there; else empty."""
        validation = self.validation_data or self.dataset.validation_fraction
        if needs_sample(value) and not (validation and self.smoke_test.sample_size):
            return (
                "expected validation_data or dataset.validation_fraction, and a smoke_test.sample_size over 0, to have "
                "a sample."
            )
        if needs_validation(value) and not validation:
            return "expected validation_data or dataset.validation_fraction, to have it measured."
        return ""
