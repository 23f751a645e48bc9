"""What a report holds. The JSON beside the page is this, field by field, so names stay once they are out."""

from __future__ import annotations

from typing import Literal

import msgspec

from vertex_tuning.report.charts import Chart

Outcome = Literal["promoted", "first", "passed", "refused", "failed", "skipped"]
"""`first` is promoted with nothing to compare with; `passed` is good, in a run that has no promotion."""

Text = str | int | float | bool | None


class Verdict(msgspec.Struct, frozen=True):
    """How the run ended.

    :param title: a word or two
    :param sentence: what that means for the model in use
    :param reasons: why, one line each
    """

    outcome: Outcome
    title: str
    sentence: str
    reasons: list[str]


class Step(msgspec.Struct, frozen=True):
    """A task of the run.

    :param state: Airflow's; `not part of this run` when the run has no such task
    :param error: what it failed with, when it left word
    :param url: its page in Airflow
    """

    name: str
    task_id: str
    state: str
    error: str | None = None
    url: str | None = None


class Link(msgspec.Struct, frozen=True):
    """:param text: the resource's own name, for who cannot follow the address"""

    label: str
    text: str
    url: str | None


class Fact(msgspec.Struct, frozen=True):
    """A name and what it is."""

    name: str
    value: Text


class Bin(msgspec.Struct, frozen=True):
    """How many lie from `left` up to `right`."""

    left: float
    right: float
    count: float


class Distribution(msgspec.Struct, frozen=True):
    """How something is spread over a dataset's examples."""

    name: str
    facts: list[Fact]
    bins: list[Bin]


class DataFile(msgspec.Struct, frozen=True):
    """A dataset: `kind` is training or validation."""

    kind: str
    name: str
    facts: list[Fact]
    distributions: list[Distribution]


class Dataset(msgspec.Struct, frozen=True):
    hash: str
    files: list[DataFile]
    warnings: list[str]


class Measure(msgspec.Struct, frozen=True):
    """What a series of metrics came to; a value that is no finite number is None."""

    name: str
    label: str
    first: float | None
    last: float | None
    best: float | None
    best_step: int | None
    points: int


class Metrics(msgspec.Struct, frozen=True):
    """
    :param notes: what to know when reading them, over-fitting for one
    :param values: what gates speak of, by name
    """

    measures: list[Measure]
    charts: list[Chart]
    notes: list[str]
    values: list[Fact]


class Gate(msgspec.Struct, frozen=True):
    """A limit and what was found. `verdict` is passed, failed or missing."""

    value: str
    label: str
    found: float | None
    limit: str
    verdict: str


class Answer(msgspec.Struct, frozen=True):
    """A prompt and what the model said. `problem` is empty when that was right; `latency` in seconds."""

    name: str
    prompt: str
    answer: str
    problem: str
    latency: float | None
    tokens: int | None


class Answers(msgspec.Struct, frozen=True):
    passed: int
    total: int
    answers: list[Answer]


class Compared(msgspec.Struct, frozen=True):
    """One value of both models."""

    value: str
    label: str
    champion: Text
    challenger: Text


class Comparison(msgspec.Struct, frozen=True):
    """
    :param champion: the model in use before this run
    :param notes: what the comparison itself has to say
    """

    champion: str
    challenger: str
    values: list[Compared]
    notes: list[str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of one run. A part whose task has not run is None, and `steps` says why.

    :param version: of this form; a field that changes its meaning makes it higher
    :param created: RFC 3339
    """

    version: int = 1
    title: str
    dag_id: str
    run_id: str
    created: str
    verdict: Verdict
    steps: list[Step]
    dataset: Dataset | None
    settings: list[Fact]
    metrics: Metrics | None
    gates: list[Gate] | None
    smoke: Answers | None
    sample: Answers | None
    comparison: Comparison | None
    cost: list[Fact] | None
    links: list[Link]
