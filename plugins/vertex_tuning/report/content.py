"""The content of a report. The report's JSON file has exactly these fields, so released names must not change."""

from __future__ import annotations

from typing import Literal

import msgspec

from vertex_tuning.report.candidates import CandidateTable
from vertex_tuning.report.charts import Chart
from vertex_tuning.report.confusion import LabelTable
from vertex_tuning.report.names import number_text
from vertex_tuning.results import Decision, Gain

RunOutcome = Literal[
    "promoted", "first", "passed", "waiting", "refused", "rejected", "undecided", "failed", "skipped", "rolled_back"
]
"""`first`: promoted without a model to compare with; `passed`: good, in a run without promotion; `waiting`: a person
must decide; `rejected`: by that person; `undecided`: the sample cannot tell, or no person decided in
time."""

Cell = str | int | float | bool | None


class RunVerdict(msgspec.Struct, frozen=True):
    """How the run ended.

    :param title: short title
    :param sentence: effect on the model in use
    :param reasons: reasons, one line each
    """

    outcome: RunOutcome
    title: str
    sentence: str
    reasons: list[str]


class Step(msgspec.Struct, frozen=True):
    """A task of the run.

    :param state: state in Airflow; `not in this run` if the run has no such task; `rejected` or `undecided` for a
        missing approval; `undecided` for an evaluation whose sample cannot tell
    :param error: error of a failed task, if it stored one
    :param url: the task's page in Airflow
    """

    name: str
    task_id: str
    state: str
    error: str | None = None
    url: str | None = None


class Link(msgspec.Struct, frozen=True):
    """A link to a resource.

    :param text: name of the resource, for readers who cannot open the URL
    """

    label: str
    text: str
    url: str | None


class Fact(msgspec.Struct, frozen=True):
    """A name and its value."""

    name: str
    value: Cell


class Bin(msgspec.Struct, frozen=True):
    """Number of values from `left` up to `right`, which belongs to the next bucket. Both are whole numbers."""

    left: float
    right: float
    count: float

    @property
    def last(self) -> float:
        """The largest value in the bucket."""
        whole = float(self.left).is_integer() and float(self.right).is_integer()
        return self.right - 1 if whole else self.right

    @property
    def label(self) -> str:
        return (
            number_text(self.left)
            if self.left == self.last
            else f"{number_text(self.left)} to {number_text(self.last)}"
        )


class Histogram(msgspec.Struct, frozen=True):
    """Distribution of a number over the examples of a dataset."""

    name: str
    facts: list[Fact]
    bins: list[Bin]


class DataFile(msgspec.Struct, frozen=True):
    """One file of a dataset.

    :param kind: training or validation
    :param labels: number of examples of each response, the most frequent first, if responses are labels
    """

    kind: str
    name: str
    facts: list[Fact]
    distributions: list[Histogram]
    labels: list[Fact]


class DatasetSummary(msgspec.Struct, frozen=True):
    """The dataset of a run and the findings of its check."""

    hash: str
    files: list[DataFile]
    warnings: list[str]


class Measure(msgspec.Struct, frozen=True):
    """Summary of a series of metrics; NaN and infinity become None."""

    name: str
    label: str
    first: float | None
    last: float | None
    best: float | None
    best_step: int | None
    points: int


class CheckpointRow(msgspec.Struct, frozen=True):
    """A model that was saved during training. `best` has the lowest validation loss."""

    checkpoint_id: str
    epoch: int
    step: int
    best: bool
    validation_loss: float | None
    validation_accuracy: float | None


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of the training.

    :param overfitting: whether the model overfits; None if that is not known
    :param values: values that gates can limit, by name
    """

    measures: list[Measure]
    charts: list[Chart]
    checkpoints: list[CheckpointRow]
    overfitting: bool | None
    warnings: list[str]
    values: dict[str, float]


class GateRow(msgspec.Struct, frozen=True):
    """A limit and the value found. `verdict` is passed, failed or missing."""

    value: str
    label: str
    found: float | None
    limit: str
    verdict: str


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt and the response of the model. `problem` is empty if the response is right; `latency` is in seconds."""

    name: str
    prompt: str
    answer: str
    problem: str
    finish_reason: str
    latency: float | None
    tokens: int | None


class AnswerList(msgspec.Struct, frozen=True):
    """Answers of a model and the number that passed.

    :param answers: the answers, or some of many: then the wrong ones first of all
    :param file: `gs://…` file with all answers; empty if it was not written
    """

    passed: int
    total: int
    answers: list[Answer]
    file: str = ""


class CostSummary(msgspec.Struct, frozen=True):
    """Cost of a run.

    :param expected: estimate before the job, with its calculation; without a job, a note that there was no cost
    :param billed: cost by the token count of the service, with its calculation
    :param amount: billed cost, or else the estimate
    """

    expected: str
    billed: str | None
    amount: float | None
    currency: str


class Compared(msgspec.Struct, frozen=True):
    """A value of the models; None if it is missing."""

    value: str
    label: str
    champion: Cell
    challenger: Cell
    baseline: Cell = None


class AnswerPair(msgspec.Struct, frozen=True):
    """The responses of the models to a prompt. A problem is empty if the response is right.

    :param name: name of the case; for an example of the sample, its id
    :param champion: response of the model in use; None without one
    :param baseline: response of the base model; None without one
    :param reference: expected response; empty for a case
    :param scores: score of each response by the rule's value, if it is not the exact response that counts
    :param judged: what a judge says about the pair; empty if no pairs are judged
    :param differs: whether new model and model in use respond differently; for a first model, new model and base model
    """

    name: str
    prompt: str
    champion: str | None
    champion_problem: str
    challenger: str
    challenger_problem: str
    baseline: str | None = None
    baseline_problem: str = ""
    reference: str = ""
    scores: dict[str, float] = {}
    judged: str = ""
    differs: bool = False


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of the new model with the model in use and with the base model.

    :param champion: the model in use before this run; empty for a first model
    :param rule: when the challenger counts as better, in words
    :param notes: notes for a reader who compares the values
    :param answers: answers to the same prompts, or some of many: first those that differ, and of these first those
        that the new model gets wrong
    :param baseline: the base model; empty if it did not get the sample
    :param settings: settings of the prompts, as they were sent
    :param value: name of the rule's value
    :param gain: gain by the rule's value; None if bare numbers are compared, or no model was in use
    :param least_gain: the gain that the lower bound must reach
    :param needed: number of examples that would decide, if an undecided comparison can be decided at all
    :param judge: how often a judge prefers the new model, in words; empty if no pairs are judged
    :param answered: number of prompts that the models answered
    :param differing: number of prompts to which the answers differ
    :param file: `gs://…` file with all answers; empty if it was not written
    """

    champion: str
    challenger: str
    rule: str
    notes: list[str]
    values: list[Compared]
    answers: list[AnswerPair]
    baseline: str = ""
    settings: list[Fact] = []
    value: str = ""
    gain: Gain | None = None
    least_gain: float | None = None
    needed: int | None = None
    judge: str = ""
    answered: int = 0
    differing: int = 0
    file: str = ""


class EarlierRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the same tuning before this run.

    :param ended: time in RFC 3339 form
    :param title: the outcome in words
    :param model: the new model; empty without one
    :param value: name of the value that the score is of; empty without a score
    :param score: score of the new model with its confidence interval, as text
    :param url: its report, or else its page in Airflow
    """

    run_id: str
    ended: str
    outcome: RunOutcome
    title: str
    model: str = ""
    value: str = ""
    score: str = ""
    url: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All content of the report of a run. A part whose task has not run is None; `steps` says why.

    :param version: version of these fields; it increases when a field changes its meaning
    :param created: time in RFC 3339 form
    :param candidates: the candidates of a sweep; None in a run with one job
    :param labels: the sample's answers by label, if the expected answers are labels
    :param decision: decision of a person, in a run that requires approval
    :param rollback: the models of a rollback
    :param earlier: the last runs of the tuning before this run, newest first; empty if they are not known
    """

    version: int = 2
    title: str
    dag_id: str
    run_id: str
    created: str
    verdict: RunVerdict
    steps: list[Step]
    dataset: DatasetSummary | None
    settings: list[Fact]
    metrics: Metrics | None
    candidates: CandidateTable | None = None
    gates: list[GateRow] | None
    smoke: AnswerList | None
    sample: AnswerList | None
    comparison: Comparison | None
    labels: LabelTable | None = None
    decision: Decision | None = None
    rollback: list[Fact] | None = None
    cost: CostSummary | None
    earlier: list[EarlierRun] = []
    links: list[Link]
