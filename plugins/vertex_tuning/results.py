"""Results of the tasks of a run: one struct per step, for the writer and for all readers. Pure.

A result is an XCom of its task. Some results are also a file in the run's folder, for data that is too large for XCom.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, ClassVar, Final, Literal, Self

import msgspec

from vertex_tuning.costs.pricing import Cost
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.metrics.series import SeriesColumns
from vertex_tuning.metrics.summary import JobMetrics
from vertex_tuning.scores import PairChoice, WinRate
from vertex_tuning.text.plain_text import moment, plain

RETURN_VALUE: Final = "return_value"
"""Airflow's XCom key of the value that a task returns."""


class Role(StrEnum):
    """The part of a task in a retraining or a rollback, in the order of the tasks.

    :param label: name of the step in a report
    :param task_id: task id in `tuning_pipeline` and in `dags/rollback.py`
    """

    label: str
    task_id: str

    UPLOAD = "upload", "Dataset", "upload_dataset"
    CREATE = "create", "Tuning job", "create_tuning_job"
    WAIT = "wait", "Training", "wait_for_tuning_job"
    METRICS = "metrics", "Metrics", "collect_metrics"
    SELECTION = "selection", "Selection", "select_candidate"
    PREVIOUS = "previous", "Previous model", "find_previous"
    SMOKE = "smoke", "Smoke test", "smoke_test"
    EVALUATION = "evaluation", "Evaluation", "evaluate_model"
    APPROVAL = "approval", "Approval", "approve_model"
    PROMOTION = "promotion", "Promotion", "promote_model"
    ROLLBACK = "rollback", "Rollback", "roll_back"

    def __new__(cls, name: str, label: str = "", task_id: str = "") -> Self:
        role = str.__new__(cls, name)
        role._value_, role.label, role.task_id = name, label, task_id
        return role


ROLLBACK_ROLES: Final = (Role.PREVIOUS, Role.SMOKE, Role.ROLLBACK)
RETRAINING_ROLES: Final = tuple(role for role in Role if role not in (Role.PREVIOUS, Role.ROLLBACK))

MAPPED_ROLES: Final = (Role.CREATE, Role.WAIT, Role.METRICS)
"""Steps that each candidate of a sweep has, in their order."""


class StepResult(msgspec.Struct, frozen=True):
    """Base of the results.

    :param role: the step that has the result
    :param xcom_keys: XCom keys of the result; the first exists even if the task fails later
    :param file_name: file in the run's folder with the complete result
    """

    role: ClassVar[Role]
    xcom_keys: ClassVar[tuple[str, ...]] = (RETURN_VALUE,)
    file_name: ClassVar[str] = ""

    def as_xcom(self) -> dict[str, Any]:
        """Plain JSON with every field, so that every field exists for other tasks."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


# Dataset


class FileSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Summary of a training or validation file.

    :param tokens: billable tokens of one epoch
    :param counted: how the tokens were counted, in words
    """

    name: str = ""
    format: str = ""
    rows: int
    bytes: int = 0
    sha256: str = ""
    rows_hash: str = ""
    converted: int = 0
    dropped: int = 0
    blank_lines: int = 0
    tokens: int
    counted: str = ""


class Bucket(msgspec.Struct, frozen=True):
    """`count` values from `left` up to `right`, which belongs to the next bucket. Both are whole numbers."""

    count: int
    left: float
    right: float


class Distribution(msgspec.Struct, frozen=True):
    """Distribution of a number over all examples. Percentiles are interpolated as numpy does by default."""

    sum: int
    min: int
    max: int
    mean: float
    median: float
    p5: float
    p95: float
    buckets: list[Bucket]


class Statistics(msgspec.Struct, frozen=True, rename="camel"):
    """The fields of the service's `supervisedTuningDataStats` of the same name; tokens are estimates.

    `messages` counts turns without the system instruction, which is counted with the input.
    """

    tuning_dataset_example_count: int
    total_billable_token_count: int
    user_input_token_distribution: Distribution | None = None
    user_output_token_distribution: Distribution | None = None
    user_message_per_example_distribution: Distribution | None = None


class FileReport(msgspec.Struct, frozen=True):
    """Summary of a file of a dataset.

    :param labels: number of examples of each response, if responses are labels
    """

    statistics: Statistics | None = None
    labels: dict[str, int] = {}


class DatasetFile(msgspec.Struct, frozen=True):
    """The report on a dataset, `dataset-report.json`, without its findings, which may be many."""

    training: FileReport | None = None
    validation: FileReport | None = None
    test: FileReport | None = None


class UploadResult(StepResult, frozen=True, kw_only=True):
    """A dataset that is ready for a tuning job.

    :param rows_hash: hash of the rows in any order
    :param test_uri: the test file; None without a test set
    :param sample_uri: the rows that compare models: those of the test file, or else of the validation file
    :param folder: `gs://…` folder of the dataset
    :param run_folder: `gs://…` folder of the run
    :param epoch_count: passes over the training data, as given or recommended
    :param cost: None without a base model
    """

    role: ClassVar[Role] = Role.UPLOAD

    training_uri: str
    validation_uri: str | None = None
    test_uri: str | None = None
    sample_uri: str | None = None
    dataset_hash: str
    rows_hash: str = ""
    folder: str = ""
    run_folder: str = ""
    report_uri: str = ""
    manifest_uri: str = ""
    epoch_count: int = 0
    cost: Cost | None = None
    training: FileSummary
    validation: FileSummary | None = None
    test: FileSummary | None = None
    warnings: list[str] = []


# Training


class JobResult(TuningJob, frozen=True, kw_only=True, omit_defaults=False):
    """A tuning job as the result of the create and wait tasks, with the names that later tasks need.

    :param model: `projects/…/models/ID@VERSION` of the tuned model; None before the job has succeeded
    :param endpoint: endpoint of the tuned model; None before the job has succeeded
    """

    model: str | None = None
    endpoint: str | None = None

    @classmethod
    def of(cls, job: TuningJob) -> JobResult:
        tuned = job.tuned_model
        return cls(
            **msgspec.structs.asdict(job),
            model=(tuned and tuned.model) or None,
            endpoint=(tuned and tuned.endpoint) or None,
        )


class MetricsResult(JobMetrics, StepResult, frozen=True, kw_only=True):
    """The metrics of a tuning job.

    :param experiment: experiment of the job; None if it has no experiment
    :param checkpoint_id: the checkpoint whose model is judged; None if the job does not list its checkpoints
    :param endpoint: endpoint that serves this checkpoint; None if the job has no endpoint
    :param series_uri: the file with all points; None if no file was written
    """

    role: ClassVar[Role] = Role.METRICS
    file_name: ClassVar[str] = "metrics.json"

    job_name: str = ""
    experiment: str | None = None
    checkpoint_id: str | None = None
    endpoint: str | None = None
    series_uri: str | None = None

    @property
    def billed_tokens(self) -> float | None:
        """Training tokens of the run as the service counted them; None if it has not counted them."""
        return self.values.get("billed_tokens")


class MetricsFile(MetricsResult, frozen=True, kw_only=True):
    """The metrics with all points.

    :param series: by name
    """

    series: dict[str, SeriesColumns] = {}


OVER_BUDGET_KEY: Final = "over_budget"
"""XCom key of a task that created no job, or cancelled it, because the budget of 30 days has no room: why."""

HEADLINE_KEY: Final = "headline"
"""XCom key of `collect_metrics`: the last value of each metric."""


# A sweep

CandidateState = Literal["succeeded", "failed", "skipped"]


class CandidateResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A candidate of a sweep: its settings and what became of it.

    :param index: map index of its tasks
    :param settings: the fields of `HyperParameters`
    :param state: `skipped`: a job of another run has the same data and settings
    :param value: the value that selects; None if it is not known
    :param error: why it failed; empty if it did not
    :param job_name: its tuning job; empty if none was created
    :param curve: step and validation loss
    :param billed_tokens: training tokens as the service counted them; None if it has not counted them
    """

    index: int
    settings: dict[str, Any]
    state: CandidateState
    value: float | None = None
    error: str = ""
    job_name: str = ""
    curve: list[tuple[int, float]] = []
    billed_tokens: float | None = None

    @property
    def number(self) -> int:
        """Number for people, from 1."""
        return self.index + 1


class SelectionResult(MetricsResult, frozen=True, kw_only=True):
    """The best candidate of a sweep, with its metrics, and all other candidates.

    :param select_by: name of the value that selects
    :param selected: index of the best candidate; None if too few candidates succeeded
    :param headline: the last value of each metric of the best candidate
    """

    role: ClassVar[Role] = Role.SELECTION
    file_name: ClassVar[str] = ""
    xcom_keys: ClassVar[tuple[str, ...]] = ("selection", RETURN_VALUE)

    select_by: str = ""
    selected: int | None = None
    candidates: list[CandidateResult] = []
    headline: dict[str, float] = {}

    @property
    def billed_tokens(self) -> float | None:
        """Training tokens of all candidates as the service counted them; None if it has counted none."""
        counted = [found.billed_tokens for found in self.candidates if found.billed_tokens is not None]
        return sum(counted) if counted else None


# Answers


class SmokeAnswer(msgspec.Struct, frozen=True):
    """The answer to a case. `problem` is empty if it passed; `latency` is in seconds."""

    name: str
    prompt: str
    answer: str
    problem: str
    latency: float
    tokens: int
    finish_reason: str

    def cut(self) -> SmokeAnswer:
        """Make the texts plain and short enough for XCom."""
        texts = {field: plain(getattr(self, field)) for field in ("prompt", "answer", "problem")}
        return msgspec.structs.replace(self, **texts)


class AnswerSet(msgspec.Struct, frozen=True, omit_defaults=True):
    """Answers and the number that passed. XCom has some of the answers, a file has all."""

    passed: int
    total: int
    answers: list[SmokeAnswer] = []


NO_ANSWERS: Final = AnswerSet(0, 0)


class SmokeResult(StepResult, frozen=True, kw_only=True):
    """The answers of a tuned model.

    :param values: values for gates and for the promotion rule, by name
    :param cases: answers to the cases
    :param sample: answers to the examples of the validation data
    :param result_uri: the file with all answers; None if no file was written
    """

    role: ClassVar[Role] = Role.SMOKE
    xcom_keys: ClassVar[tuple[str, ...]] = ("answers", RETURN_VALUE)
    file_name: ClassVar[str] = "smoke-test.json"

    endpoint: str = ""
    values: dict[str, float] = {}
    cases: AnswerSet = NO_ANSWERS
    sample: AnswerSet = NO_ANSWERS
    result_uri: str | None = None


# Evaluation

Verdict = Literal["first", "better", "equal", "undecided", "unchanged", "refused"]
"""`first`: there was no model to compare with; `equal`: shown to be as good as the rule requires; `undecided`: the
sample cannot tell; `unchanged`: it is the model in use already."""

GateVerdict = Literal["passed", "failed", "missing"]


class GateResult(msgspec.Struct, frozen=True):
    """The result of a gate.

    :param found: the value; None when it is missing
    :param limit: the allowed range, in words
    :param verdict: `missing` counts as a failure; where a missing value is allowed, the verdict is `passed`
    """

    value: str
    found: float | None
    limit: str
    verdict: GateVerdict

    @property
    def passed(self) -> bool:
        return self.verdict == "passed"


DEFAULT_MIN_GAIN: Final = -0.02
"""Default of `PromotionRule.min_gain` with a confidence: at most 2 percentage points worse."""


class PromotionRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a new model may replace the model in use.

    A value of the sample is measured on the same examples for both models. The lower confidence bound of its gain must
    reach `min_gain`. Other values, such as losses, have no examples to count: their bare numbers are compared.

    :param value: name of the value to compare, e.g. `sample.exact_share`; names as in gates. Values of training, such
        as `eval_total_loss.last`, can be compared only if both models were measured on the same validation data.
        Values of `sample` and `smoke` can always be compared, because both models get the same prompts now.
    :param higher_is_better: false for losses
    :param confidence: confidence of the bound, over 0.5 and under 1; None compares the bare numbers
    :param min_gain: smallest gain; if not set, -0.02 for a bound ("at most 2 points worse"), and 0 for bare numbers
    :param no_regression: names of cases that must not fail if the model in use passes them
    """

    value: str
    higher_is_better: bool = True
    confidence: float | None = 0.95
    min_gain: float | None = None
    no_regression: list[str] = msgspec.field(default_factory=list)

    def gain(self, challenger: float, champion: float) -> float:
        """Improvement of the challenger; below 0 if it is worse."""
        return challenger - champion if self.higher_is_better else champion - challenger

    def least_gain(self, *, bounded: bool) -> float:
        """The smallest gain that is enough.

        :param bounded: whether the lower confidence bound must reach it, or the bare difference
        """
        if self.min_gain is not None:
            return self.min_gain
        return DEFAULT_MIN_GAIN if bounded else 0.0


class Gain(msgspec.Struct, frozen=True):
    """The gain of a new model over the model in use, on the same examples.

    :param observed: mean of the new model less mean of the model in use; shares and scores from 0 to 1
    :param lower: lower confidence bound of the true gain, one-sided
    :param upper: upper confidence bound of the true gain, one-sided
    :param confidence: of each bound, e.g. 0.95
    :param examples: number of examples
    :param better: examples on which only the new model is right, or scores higher
    :param worse: examples on which only the model in use is right, or scores higher
    :param p_value: two-sided p-value of the exact McNemar test; None for graded scores
    """

    observed: float
    lower: float
    upper: float
    confidence: float
    examples: int
    better: int
    worse: int
    p_value: float | None = None


class ModelRef(msgspec.Struct, frozen=True):
    """A model version and the tuning job that made it, if that is known."""

    model: str
    job: str | None = None


class ModelValues(msgspec.Struct, frozen=True):
    """A value of each model; None if it is missing.

    :param champion: value of the model in use
    :param challenger: value of the new model
    :param baseline: value of the base model, which is not tuned
    """

    champion: float | None
    challenger: float | None
    baseline: float | None = None


class ComparisonResult(msgspec.Struct, frozen=True):
    """Comparison of the new model with the model in use.

    :param values: values of the models, by name
    :param gain: gain by the rule's value; None if the rule compares bare numbers, or no model is in use
    :param needed: number of examples that would decide, if an undecided comparison can be decided at all
    :param win_rate: how often a judge prefers the new model; None if no pairs are judged
    :param notes: notes for a reader who compares the values
    """

    rule: PromotionRule | None = None
    values: dict[str, ModelValues] = {}
    gain: Gain | None = None
    needed: int | None = None
    win_rate: WinRate | None = None
    notes: list[str] = []


class ModelAnswers(msgspec.Struct, frozen=True):
    """The answers of one model to the cases, and the counts of those to the sample."""

    cases: AnswerSet = NO_ANSWERS
    sample: AnswerSet = NO_ANSWERS


class EvaluatedRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """An example of the sample, with the responses of all models.

    :param id: hash of prompt and reference: the same in each run
    :param prompt: the user's last turn
    :param reference: the expected response
    :param answers: response of each model, by its name: `champion`, `challenger`, `baseline`
    :param problems: what is wrong with each response, by model; a right response is left out
    :param scores: score of each model's response, by the name of the value, e.g. `sample.rouge_l_sum`, then by model
    :param reasons: a judge's reasons for its scores, by value and model
    :param errors: why a score is missing, by value and model
    :param choice: which of two responses a judge prefers; None if no pairs are judged
    """

    id: str
    prompt: str
    reference: str
    answers: dict[str, str]
    problems: dict[str, str] = {}
    scores: dict[str, dict[str, float]] = {}
    reasons: dict[str, dict[str, str]] = {}
    errors: dict[str, dict[str, str]] = {}
    choice: PairChoice | None = None


class EvaluationResult(StepResult, frozen=True, kw_only=True):
    """The verdict on a new model.

    :param reasons: why the model is refused, or why it cannot be decided, one line each
    :param champion: the model in use; None for a first model
    :param champion_model: its name; empty for a first model
    :param baseline: the base model that predicted the sample as well; empty without one
    :param settings: settings of the prompts, as they were sent
    :param answers: answers of `champion`, `challenger` and `baseline`
    :param rows: the sample with all answers; only in the file
    :param result_uri: the file with all answers; None if no file was written
    """

    role: ClassVar[Role] = Role.EVALUATION
    xcom_keys: ClassVar[tuple[str, ...]] = ("evaluation", RETURN_VALUE)
    file_name: ClassVar[str] = "evaluation.json"

    verdict: Verdict
    reasons: list[str] = []
    gates: list[GateResult] = []
    model: str = ""
    champion: ModelRef | None = None
    champion_model: str = ""
    comparison: ComparisonResult = ComparisonResult()
    baseline: str = ""
    settings: dict[str, Any] = {}
    answers: dict[str, ModelAnswers] = {}
    rows: list[EvaluatedRow] = []
    result_uri: str | None = None


SUMMARY_KEY: Final = "summary"
"""XCom key of `evaluate_model`: text of the approval request, as Markdown."""


# Model Registry


class ModelDescription(StepResult, frozen=True, kw_only=True):
    """A model version.

    :param endpoint: endpoint that serves the version
    :param job: the tuning job that made it, if that is known
    :param created: creation time in RFC 3339 form
    """

    model: str
    endpoint: str = ""
    job: str | None = None
    created: str = ""


class PreviousResult(StepResult, frozen=True, kw_only=True):
    """The model that a rollback goes back to.

    :param champion: the model in use
    :param previous_model: name of the previous model
    :param previous_endpoint: endpoint of the previous model
    """

    role: ClassVar[Role] = Role.PREVIOUS

    champion: str
    previous: ModelDescription
    previous_model: str = ""
    previous_endpoint: str = ""


class PromotionResult(ModelDescription, frozen=True, kw_only=True):
    """The model in use now.

    :param previous: the model that was in use before; None after a first model
    """

    role: ClassVar[Role] = Role.PROMOTION

    previous: str | None = None


class RollbackResult(PromotionResult, frozen=True, kw_only=True):
    """Result of a rollback.

    :param rolled_back: the model taken out of use
    """

    role: ClassVar[Role] = Role.ROLLBACK

    rolled_back: str | None = None


# A person's decision, and the report


class Decision(StepResult, frozen=True):
    """The decision of a person.

    :param answer: approved, rejected or undecided
    :param by: the person's name in Airflow; empty if no person decided
    :param at: time of the decision in RFC 3339 form
    :param reason: the person's reason; may be empty
    :param within: time for the decision, in words
    """

    role: ClassVar[Role] = Role.APPROVAL
    xcom_keys: ClassVar[tuple[str, ...]] = ("decision",)

    answer: Literal["approved", "rejected", "undecided"]
    by: str
    at: str
    reason: str = ""
    within: str = ""

    def __str__(self) -> str:
        if self.answer == "undecided":
            return f"No answer within {self.within}."
        return f"{self.answer.capitalize()} by {self.by} on {moment(self.at)}."


class OutcomeResult(StepResult, frozen=True, kw_only=True):
    """How a run ended.

    :param verdict: see `vertex_tuning.report.content.RunOutcome`
    """

    verdict: str
    title: str
    reasons: list[str]


RECORD_KEY: Final = "record"
"""XCom key of a task that writes a report: the record of the run, for messages."""


class ReportResult(OutcomeResult, frozen=True, kw_only=True):
    """Result of writing a report.

    :param report_uri: `gs://…` URI of the page; None if the run has no folder
    :param report_url: URL of the page for a browser
    """

    report_uri: str | None = None
    report_url: str | None = None
