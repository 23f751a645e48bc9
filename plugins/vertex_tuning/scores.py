"""Answers of several models to the same rows, and their scores. Pure.

Models are named by their role, as in :class:`~vertex_tuning.results.EvaluationResult`: `challenger` (the new model),
`champion` (the model in use), `baseline` (the base model before tuning).
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

from vertex_tuning.exceptions import VertexRequestError, VertexUnavailableError

MetricKind = Literal["local", "computed", "predefined", "pairwise", "rubric"]
Preference = Literal["new", "old", "tie"]

WIN_RATE: Final = "judge.win_rate"
"""Name of the value of a pairwise metric."""


class SampleMetric(msgspec.Struct, frozen=True):
    """A metric of the sample.

    :param name: name of the metric; for `rubric` its value's name without `judge.`
    :param criteria: the user's own, for `rubric`
    """

    kind: MetricKind
    name: str
    criteria: str = ""

    @property
    def value(self) -> str:
        """Name of the value for gates and rule, e.g. `sample.rouge_l_sum`."""
        if self.kind == "pairwise":
            return WIN_RATE
        return f"{'sample' if self.kind in ('local', 'computed') else 'judge'}.{self.name}"

    @property
    def is_judged(self) -> bool:
        """Whether a judge model is paid for."""
        return self.kind in ("predefined", "pairwise", "rubric")

    @property
    def needs_reference(self) -> bool:
        """Whether a row without the right answer has no score."""
        return self.kind in ("local", "computed")


class RatedAnswer(NamedTuple):
    """An answer to rate.

    :param reference: right answer; empty without one
    """

    prompt: str
    reference: str
    answer: str


class AnsweredRow(msgspec.Struct, frozen=True):
    """A row of the sample with the answers of the models.

    :param id: identifies the row among all rows
    :param prompt: text that the models received: system instruction and all turns
    :param reference: right answer; empty if the row has none
    :param answers: answer of each model, by its role
    """

    id: str
    prompt: str
    reference: str
    answers: dict[str, str]


class Score(msgspec.Struct, frozen=True, omit_defaults=True):
    """A score of one answer.

    :param value: from 0 to 1, higher is better; None without one
    :param reason: explanation of the judge; empty for computed metrics
    :param error: why there is no score; empty if there is one
    """

    value: float | None = None
    reason: str = ""
    error: str = ""


Rating = Score | VertexRequestError | VertexUnavailableError
"""A score, or the error that prevents it."""


class PairChoice(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer that a judge prefers. It sees each pair twice, in both orders.

    :param preferred: `tie` also if the judge changes its mind with the order; None if there is no choice
    :param reasons: explanation of the judge for each order
    :param error: why there is no choice; empty if there is one
    """

    preferred: Preference | None = None
    reasons: tuple[str, ...] = ()
    error: str = ""


class ScoredRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row with the scores of all answers.

    :param scores: by name of the value, e.g. `sample.rouge_l_sum`, then by role of the model
    :param choice: which answer of a pair the judge prefers; None if no pairs are judged
    """

    row: AnsweredRow
    scores: dict[str, dict[str, Score]]
    choice: PairChoice | None = None


class WinRate(msgspec.Struct, frozen=True):
    """How often a judge prefers the new model.

    :param observed: share of the pairs that the new model wins; a tie counts half
    :param lower: lower confidence bound, one-sided
    :param upper: upper confidence bound, one-sided
    :param confidence: of each bound, e.g. 0.95
    :param wins: pairs in which the judge prefers the new model
    :param losses: pairs in which the judge prefers the other model
    :param ties: pairs in which the judge prefers neither, or changes its mind with the order
    """

    observed: float
    lower: float
    upper: float
    confidence: float
    wins: int
    losses: int
    ties: int


class ModelScores(msgspec.Struct, frozen=True):
    """The scores of all rows.

    :param rows: in the order of the sample
    :param values: mean of each value by role of the model, over the rows that every model has a score for; the new
        model has `judge.win_rate`, too
    :param win_rate: None if no pairs are judged
    :param errors: number of missing scores and choices, by name of the value; values without errors are left out
    """

    rows: list[ScoredRow]
    values: dict[str, dict[str, float]]
    win_rate: WinRate | None = None
    errors: dict[str, int] = msgspec.field(default_factory=dict)
