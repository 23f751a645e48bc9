"""A recurring tuning in a YAML file or in Python: its fields and their checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationInfo, WrapValidator, model_validator

from vertex_tuning.config.base_models import check_base_model, retirement_note
from vertex_tuning.config.hyper_parameters import HyperParameters, Sweep
from vertex_tuning.config.locations import check_bucket, check_bucket_of, check_location
from vertex_tuning.config.notify import Notification, notify_mistakes
from vertex_tuning.config.retention import Housekeeping
from vertex_tuning.config.schedules import Schedule
from vertex_tuning.config.user_labels import label_mistakes
from vertex_tuning.costs.recommendations import TUNING_TASKS
from vertex_tuning.datasets.options import DatasetOptions
from vertex_tuning.datasets.source_names import check_source_template
from vertex_tuning.evaluation.checks import case_mistakes, gate_mistakes, rule_mistakes, settings_mistakes
from vertex_tuning.evaluation.promotion_rule import parse_rule
from vertex_tuning.evaluation.sample_metrics import (
    default_metrics,
    default_rule_value,
    metric_mistakes,
    parse_metrics,
)
from vertex_tuning.evaluation.significance import least_examples
from vertex_tuning.evaluation.value_names import metric_of, needs_baseline, needs_sample, needs_validation
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.metrics.summary import CheckpointChoice
from vertex_tuning.registry.aliases import CHAMPION, check_alias
from vertex_tuning.schema import (
    FieldPath,
    Model,
    Plain,
    PlainText,
    Template,
    checked,
    checked_in_parts,
    field_name,
    is_from_file,
    known_in_a_run,
    refuse,
    required_in_files,
)
from vertex_tuning.text.plain_text import control_character
from vertex_tuning.text.templates import is_known_now, is_run_value

NAME: Final = r"^[a-z][a-z0-9_]{0,62}$"
"""Pattern of a tuning's name, which is part of a DAG id and of a label value."""

REQUIRED_IN_FILES: Final = ("schedule", "display_name")
"""Fields that are required in a file and optional in Python."""

MAX_DISPLAY_NAME: Final = 128
"""Limit of the service for the display name of a model."""
CANDIDATE_SUFFIX: Final = ", candidate 50"
"""The longest addition to the display name of a candidate."""
DEFAULT_SAMPLE: Final = 500
"""With so many examples, a model that is 5 points worse is promoted at most once in 100 times."""
MAX_SAMPLE: Final = 10_000
MAX_COST: Final = 1e9
MAX_TOKENS: Final = 10**15
MIN_HOURS: Final = 0.01
"""Half a minute; less is a mistake, and 1e-10 would round to 0."""
MAX_HOURS: Final = 24 * 365
"""A year; dates of Airflow overflow after some thousand years."""


def _task(task: str) -> None:
    if task not in TUNING_TASKS:
        raise ConfigurationError(f"expected one of {', '.join(TUNING_TASKS)}; leave the field out for another kind.")


def _data(field: str) -> AfterValidator:
    """A validator for the name of a dataset. Its messages do not quote the name, which may have a password."""

    def mistakes(text: str) -> Iterable[str]:
        try:
            check_source_template(text)
            check_bucket_of(text)
        except ConfigurationError as error:
            yield f"{field}: {str(error).removeprefix('Dataset: ')}"

    return checked_in_parts(mistakes)


def _promotion_rule(rule: dict[str, Any]) -> Iterable[str]:
    return (f"promotion.{mistake}" for mistake in rule_mistakes(rule))


def _generation_settings(settings: dict[str, Any]) -> Iterable[str]:
    return (f"evaluation.{mistake}" for mistake in settings_mistakes(settings))


def _control_mistakes(value: Any, path: FieldPath = ()) -> Iterable[str]:
    """Control characters in any text, which neither Airflow's database nor a log can hold."""
    if isinstance(value, str) and (control := control_character(value)):
        yield f"{field_name(path)}: found the control character {control}; expected a text without it."
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _control_mistakes(getattr(value, name), (*path, name))
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _control_mistakes(str(key), path)
            yield from _control_mistakes(part, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _control_mistakes(part, (*path, index))


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _label_value(value: Any, check: Callable[[Any], Any], info: ValidationInfo) -> Any:
    return value if is_run_value(value) and not is_from_file(info) else check(value)


Label = Annotated[str, WrapValidator(_label_value)]
Listed = Annotated[list[dict[str, Any]], BeforeValidator(_as_list), Plain]


class Budget(Model):
    """Limits of a run. If the estimate exceeds a limit, the run creates no job.

    :param max_cost: in the currency of the price table
    :param max_training_tokens: tokens times epochs
    :param max_cost_per_30_days: for all jobs of the tuning in 30 days, in the currency of the price table
    :param on_budget: a run above `max_cost_per_30_days` fails (`fail`) or skips its remaining steps (`skip`)
    """

    _known_in_a_run = known_in_a_run("max_cost", "max_training_tokens", "max_cost_per_30_days")

    max_cost: float | None = Field(default=None, gt=0, le=MAX_COST)
    max_training_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    max_cost_per_30_days: float | None = Field(default=None, gt=0, le=MAX_COST)
    on_budget: Literal["fail", "skip"] = "fail"


class SmokeTest(Model):
    """Prompts that test the tuned model.

    :param min_pass_share: share of the cases that must pass
    :param system_instruction: sent with every case that does not have one
    :param cases: for the fields of a case see `vertex_tuning.evaluation.cases.SmokeCase`
    """

    _known_in_a_run = known_in_a_run("system_instruction", "cases")

    min_pass_share: float = Field(default=1.0, ge=0, le=1)
    system_instruction: PlainText | None = None
    cases: Annotated[Listed, checked_in_parts(case_mistakes)] = Field(min_length=1)

    def asked(self) -> list[dict[str, Any]]:
        """The cases as the smoke test takes them."""
        if is_run_value(self.cases):
            return self.cases
        return [{"system_instruction": self.system_instruction, **case} for case in self.cases]


class Evaluation(Model):
    """How the new model is compared with the model in use and with the base model.

    :param sample_size: most held-out examples that every model predicts; 0 for none. They are drawn by their hashes, so
        that the next run draws the same
    :param baseline: predict the sample with the base model as well, which is not tuned
    :param metrics: metrics of the sample, by default what suits the `task`; see
        `vertex_tuning.evaluation.sample_metrics`
    :param generation_config: settings of all prompts, also of the smoke test: those under which the model is used. For
        the defaults see `vertex_tuning.evaluation.generation_settings.default_settings`
    """

    _known_in_a_run = known_in_a_run("baseline", "metrics", "generation_config")

    sample_size: int = Field(default=DEFAULT_SAMPLE, ge=0, le=MAX_SAMPLE)
    baseline: bool = True
    metrics: Annotated[list[Any], BeforeValidator(_as_list), Plain, checked_in_parts(metric_mistakes)] | None = None
    generation_config: Annotated[dict[str, Any], Plain, checked_in_parts(_generation_settings)] = Field(
        default_factory=dict
    )


class Promotion(Model):
    """Conditions for the promotion of a new model.

    :param rule: when the new model may replace the model in use; see `vertex_tuning.results.PromotionRule`. By default
        it compares the value that suits the `task`
    :param checkpoint: the checkpoint that is judged and promoted: the `last` one, or the `best` one, with the lowest
        validation loss. With `best`, training that over-fits still gives a model
    :param champion_alias: alias of the model in use in the Model Registry; before you change it here, give the model in
        use the new alias there
    :param on_refused: a model refused by smoke test, gates or rule fails the run (`fail`) or skips the rest of it
        (`skip`)
    :param on_undecided: if the sample cannot tell, keep the model in use (`keep`) or go on with the new one (`promote`)
    :param require_approval: a person decides in the Airflow UI
    :param approval_hours: time for this decision; the model is not promoted afterwards
    """

    _known_in_a_run = known_in_a_run("rule", "champion_alias")

    rule: Annotated[dict[str, Any], Plain, checked_in_parts(_promotion_rule)] | None = None
    checkpoint: CheckpointChoice = "last"
    champion_alias: Annotated[str, checked(check_alias)] = CHAMPION
    on_refused: Literal["fail", "skip"] = "fail"
    on_undecided: Literal["keep", "promote"] = "keep"
    require_approval: bool = False
    approval_hours: float = Field(default=72.0, ge=MIN_HOURS, le=MAX_HOURS)

    @property
    def approval_deadline(self) -> timedelta | None:
        """Time that a person has to approve; None if no approval is required."""
        return timedelta(hours=self.approval_hours) if self.require_approval else None


class Tuning(Model):
    """A recurring tuning: a file of `include/tunings/` with the same name, or arguments in Python.

    In Python, most fields may also be a template or the result of another task. The exceptions are `schedule`, the
    timeouts, `smoke_test.min_pass_share`, `evaluation.sample_size`, `on_budget`, `on_refused`, `on_undecided` and
    `record_experiment`.

    :param name: models of tunings with the same name are compared with each other
    :param schedule: when it runs by itself; required in a file, where `{}` or `null` means by hand or by event alone
    :param location: where the job runs; may be a template
    :param bucket: bucket for the uploaded data; may be a template
    :param training_data: path relative to the project, or a URI such as `gs://…`. It may be a template, like
        `validation_data` and `test_data`
    :param test_data: data that compares models, which neither training nor the choice of a checkpoint sees; without it
        the validation data compares them
    :param sweep: how several settings are compared, if `hyper_parameters` has a list
    :param task: kind of task, for the guide's recommendations; see `vertex_tuning.costs.recommendations`
    :param display_name: display name of the tuned model
    :param skip_if_unchanged: skip a run if a model already exists for the same data and settings
    :param metrics_timeout_minutes: how long to wait for metrics after the end of the job
    :param gates: limits that the values of the new model must keep; see `vertex_tuning.evaluation.gates`
    :param housekeeping: how many old models are kept; if not set, none is deleted
    :param record_experiment: record each run in the tuning's experiment in Vertex AI Experiments
    :param on_missing_metrics: whether a gate fails or passes if its value is missing
    :param notify: messages to people about the runs; for the fields see `vertex_tuning.config.notify.Notification`
    """

    _known_in_a_run = known_in_a_run(
        "name", "location", "bucket", "base_model", "training_data", "validation_data", "test_data", "task",
        "display_name", "skip_if_unchanged", "gates",
    )  # fmt: skip
    _required_in_files = required_in_files(*REQUIRED_IN_FILES)

    name: str = Field(pattern=NAME)
    description: Annotated[str, Plain] = ""
    schedule: Schedule | None = Field(default=None, validate_default=True)
    location: Annotated[Template, checked(check_location)] = "us-central1"
    bucket: Annotated[Template, checked(check_bucket)]
    base_model: Annotated[PlainText, checked(check_base_model)]
    training_data: Annotated[Template, _data("training_data")]
    validation_data: Annotated[Template, _data("validation_data")] | None = None
    test_data: Annotated[Template, _data("test_data")] | None = None
    dataset: DatasetOptions = DatasetOptions()
    budget: Budget = Budget()
    task: Annotated[str, checked(_task)] | None = None
    hyper_parameters: HyperParameters = HyperParameters()
    sweep: Sweep = Sweep()
    display_name: PlainText | None = Field(default=None, max_length=MAX_DISPLAY_NAME, validate_default=True)
    labels: Annotated[dict[str, Label], Plain, checked_in_parts(label_mistakes)] = Field(default_factory=dict)
    job_timeout_hours: float = Field(default=24.0, ge=MIN_HOURS, le=MAX_HOURS)
    skip_if_unchanged: bool = True
    metrics_timeout_minutes: float = Field(default=30.0, ge=0, le=MAX_HOURS * 60)
    gates: Annotated[Listed, checked_in_parts(gate_mistakes)] = Field(default_factory=list)
    on_missing_metrics: Literal["fail", "pass"] = "fail"
    smoke_test: SmokeTest
    evaluation: Evaluation = Evaluation()
    promotion: Promotion = Promotion()
    notify: Annotated[list[Notification], BeforeValidator(_as_list), checked_in_parts(notify_mistakes)] = Field(
        default_factory=list
    )
    housekeeping: Housekeeping | None = None
    record_experiment: bool = True

    @model_validator(mode="before")
    @classmethod
    def _schedule_may_be_null(cls, fields: Any) -> Any:
        """Read `schedule: null` as `{}`. A file without the field is incomplete."""
        named = isinstance(fields, Mapping) and "schedule" in fields
        return {**fields, "schedule": {}} if named and fields["schedule"] is None else fields

    @property
    def retirement_note(self) -> str:
        """Warning if Google retires the base model soon; empty if not."""
        return retirement_note(self.base_model) if is_known_now(self.base_model) else ""

    @property
    def is_sweep(self) -> bool:
        """Whether a run compares several settings."""
        return bool(self.hyper_parameters.lists)

    @property
    def metrics(self) -> list[Any]:
        """The metrics of the sample: those of the file, or what suits the task."""
        return default_metrics(self.task) if self.evaluation.metrics is None else self.evaluation.metrics

    @property
    def rule(self) -> dict[str, Any]:
        """The promotion rule: that of the file, or one by the value that suits the task."""
        return self.promotion.rule or {"value": default_rule_value(self.task)}

    @property
    def least_sample(self) -> int:
        """Smallest sample on which the promotion rule can accept a model; 0 if that is unknown or needs no sample."""
        rule = self.rule
        if not is_known_now(rule) or not needs_sample(rule["value"]):
            return 0
        parsed = parse_rule(rule)
        return least_examples(parsed.least_gain(bounded=True), parsed.confidence) if parsed.confidence else 0

    @property
    def sample_note(self) -> str:
        """Warning if the sample is too small for the promotion rule; empty if not."""
        if self.evaluation.sample_size >= self.least_sample:
            return ""
        return (
            f"found {self.evaluation.sample_size}, expected at least {self.least_sample}: with fewer examples "
            "promotion.rule cannot show that a model is good enough, so every comparison is undecided."
        )

    @model_validator(mode="after")
    def _is_storable_and_measured(self) -> Tuning:
        """Refuse texts that cannot be stored, and a rule or gates that no model could pass, for lack of a value."""
        refuse(
            [
                *_control_mistakes(self),
                *self._rule_mistakes(),
                *self._gate_mistakes(),
                *self._checkpoint_mistakes(),
                *self._sweep_mistakes(),
            ]
        )
        return self

    def _sweep_mistakes(self) -> Iterable[str]:
        if not self.is_sweep:
            return
        try:
            self.sweep.candidates(self.hyper_parameters)
        except ConfigurationError as error:
            yield str(error)
        if not self._has_validation:
            listed = next(iter(self.hyper_parameters.lists))
            yield (
                f"hyper_parameters.{listed}: found a list, expected validation_data or dataset.validation_fraction, "
                "to select the best of its values."
            )
        if self.display_name and len(self.display_name) > MAX_DISPLAY_NAME - len(CANDIDATE_SUFFIX):
            yield (
                f"display_name: found {len(self.display_name)} characters, expected at most "
                f"{MAX_DISPLAY_NAME - len(CANDIDATE_SUFFIX)} in a sweep, which adds {CANDIDATE_SUFFIX!r} to it."
            )

    def _checkpoint_mistakes(self) -> Iterable[str]:
        if self.promotion.checkpoint == "best" and not self._has_validation:
            yield (
                "promotion.checkpoint: found 'best', expected validation_data or dataset.validation_fraction, to have "
                "the checkpoints measured."
            )

    def _rule_mistakes(self) -> Iterable[str]:
        if not is_known_now(self.rule):
            return
        for mistake in rule_mistakes(self.rule, self.smoke_test.cases):
            yield f"promotion.{mistake}"
        if missing := self._missing(self.rule["value"]):
            yield f"promotion.rule.value: found {self.rule['value']!r}, {missing}"

    def _gate_mistakes(self) -> Iterable[str]:
        if self.on_missing_metrics == "pass" or is_run_value(self.gates):
            return
        for index, gate in enumerate(self.gates):
            if is_known_now(gate) and (missing := self._missing(gate["value"])):
                yield f"gates[{index}].value: found {gate['value']!r}, {missing}"

    @property
    def _has_validation(self) -> bool:
        return bool(self.validation_data or self.dataset.validation_fraction)

    @property
    def _metric_values(self) -> set[str]:
        return {metric.value for metric in parse_metrics(self.metrics)}

    @property
    def _has_held_out_rows(self) -> bool:
        return bool(self.test_data or self.dataset.test_fraction) or self._has_validation

    def _missing(self, value: str) -> str:
        """Description of the settings that a value needs, if they are missing; else empty."""
        if needs_sample(value) and not (self._has_held_out_rows and self.evaluation.sample_size):
            return (
                "expected test_data, validation_data or a fraction of the dataset for one of them, and an "
                "evaluation.sample_size over 0, to have a sample."
            )
        if is_known_now(self.metrics) and (metric := metric_of(value)) and metric not in self._metric_values:
            return f"expected it to be measured: add its metric to evaluation.metrics, found {self.metrics}."
        if needs_baseline(value) and self.evaluation.baseline is False:
            return "expected evaluation.baseline: true, to have predictions of the base model."
        if needs_validation(value) and not self._has_validation:
            return "expected validation_data or dataset.validation_fraction, to have it measured."
        return ""
