"""Score the answers of several models to the same rows, and let a judge compare two of the models. Pure.

:func:`score_models` is the entry: it takes rows with prompt, reference and answers, and returns scores by row, means
by model and the win rate. The evaluation service is a :class:`ScoringService`, in tasks the hook
`EvaluationServiceHook`.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, Literal, Protocol

from vertex_tuning.evaluation.evaluated_rows import MAX_MISSING
from vertex_tuning.evaluation.text_scores import exact_match, token_f1
from vertex_tuning.exceptions import ConfigurationError, VertexRequestError, VertexUnavailableError
from vertex_tuning.report.names import seconds
from vertex_tuning.scores import (
    WIN_RATE,
    AnsweredRow,
    ModelScores,
    PairChoice,
    Preference,
    RatedAnswer,
    Rating,
    SampleMetric,
    Score,
    ScoredRow,
    WinRate,
)
from vertex_tuning.text.plain_text import MESSAGE_SHOWN, NAME_SHOWN, plain

NEW_MODEL: Final = "challenger"
MODEL_IN_USE: Final = "champion"

ROWS_AT_ONCE: Final = 20
"""Rows that are scored together, after which progress is logged and results can be saved."""
PAIRS_AT_ONCE: Final = 8
"""Pairs that are judged at the same time."""
PROGRESS_PAUSE: Final = 5.0
"""Seconds between two reports of progress."""
ERRORS_WITHOUT_SCORE: Final = 10
"""Errors after which a metric without any score ends the scoring."""
CONFIDENCE: Final = 0.95

_LOCAL: Final = {"exact_match": exact_match, "token_f1": token_f1}
_ORDERS: Final = ("old first", "new first")
_EMPTY: Final = Score(0.0, "The answer is empty.")

log = logging.getLogger(__name__)


class ScoringService(Protocol):
    """The evaluation service."""

    def rate(self, metric: SampleMetric, answers: Sequence[RatedAnswer]) -> Sequence[Rating]: ...

    def prefer(
        self, quality: str, prompt: str, first: str, second: str
    ) -> tuple[Literal["first", "second", "tie"], str]: ...


def score_models(
    service: ScoringService,
    rows: Sequence[AnsweredRow],
    metrics: Sequence[SampleMetric],
    *,
    pair: tuple[str, str] = (NEW_MODEL, MODEL_IN_USE),
    confidence: float = CONFIDENCE,
    known: Iterable[ScoredRow] = (),
    save: Callable[[list[ScoredRow]], None] = lambda _: None,
) -> ModelScores:
    """Score all answers.

    Rows whose metrics are all computed here never reach the service. A single score that the service does not give is
    counted in `errors`. A metric without any score ends the scoring, and so do many temporary errors: the next attempt
    scores only the rows that lack a score.

    :param rows: each with an answer of every model
    :param metrics: see :func:`~vertex_tuning.evaluation.sample_metrics.parse_metrics`
    :param pair: roles of the new model and of the model that a pairwise metric compares it with
    :param confidence: of the bounds of the win rate, over 0.5 and under 1
    :param known: rows of an earlier attempt; a row with the same texts and without errors is not scored again
    :param save: called with the rows scored so far, after each step, e.g. to keep them for a later attempt
    :raises ConfigurationError: a row lacks a reference or an answer that a metric needs; names row and metric
    :raises VertexRequestError: Google refuses a metric
    :raises VertexUnavailableError: a metric has no score, or too few scores, for temporary errors
    """
    _check_rows(rows, metrics, pair)
    scored = {row.row.id: row for row in _reusable(rows, metrics, known)}
    todo = [row for row in rows if row.id not in scored]
    tally, progress = _Tally(len(rows), scored.values()), _Progress(len(todo))
    for start in range(0, len(todo), ROWS_AT_ONCE):
        part = todo[start : start + ROWS_AT_ONCE]
        for row in _score_rows(service, part, metrics, pair, tally):
            scored[row.row.id] = row
        progress.log(len(part))
        save(list(scored.values()))
        tally.raise_if_hopeless()
    tally.raise_if_nothing()
    return summarize_scores([scored[row.id] for row in rows], pair[0], confidence)


def summarize_scores(
    rows: Sequence[ScoredRow], new_model: str = NEW_MODEL, confidence: float = CONFIDENCE
) -> ModelScores:
    """Means by model, win rate and numbers of errors of scored rows.

    :param new_model: role of the model that has the win rate
    """
    values: dict[str, dict[str, float]] = {}
    errors: Counter[str] = Counter()
    names = dict.fromkeys(name for row in rows for name in row.scores)
    for name in names:
        complete = [scores for row in rows if (scores := _complete(row, name))]
        for role in complete[0] if complete else ():
            values.setdefault(role, {})[name] = math.fsum(scores[role] for scores in complete) / len(complete)
        errors[name] += sum(bool(score.error) for row in rows for score in row.scores.get(name, {}).values())
    choices = [row.choice for row in rows if row.choice]
    errors[WIN_RATE] += sum(bool(choice.error) for choice in choices)
    rate = win_rate([choice.preferred for choice in choices if choice.preferred], confidence)
    if rate:
        values.setdefault(new_model, {})[WIN_RATE] = rate.observed
    return ModelScores(list(rows), values, rate, {name: number for name, number in errors.items() if number})


def win_rate(preferred: Sequence[Preference], confidence: float) -> WinRate | None:
    """The share of pairs that the new model wins, with Wilson's score interval; None without pairs.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American
    Statistical Association 22 (1927), 209-212. A tie counts as half a win. This makes the interval wider than needed:
    ties vary less than wins and losses.

    :param confidence: of each bound
    """
    if not preferred:
        return None
    # Imported here: DAG files load this module, and `statistics` takes a hundredth of a second.
    from statistics import NormalDist

    counts, size = Counter(preferred), len(preferred)
    share, z = (counts["new"] + counts["tie"] / 2) / size, NormalDist().inv_cdf(confidence)
    centre, spread = share + z * z / (2 * size), z * math.sqrt(share * (1 - share) / size + (z / size) ** 2 / 4)
    scale = 1 + z * z / size
    return WinRate(
        observed=share,
        lower=max((centre - spread) / scale, 0.0),
        upper=min((centre + spread) / scale, 1.0),
        confidence=confidence,
        wins=counts["new"],
        losses=counts["old"],
        ties=counts["tie"],
    )


def _complete(row: ScoredRow, name: str) -> dict[str, float]:
    """The scores of all models; empty if a score is missing."""
    scores = row.scores.get(name, {})
    found = {role: score.value for role, score in scores.items() if score.value is not None}
    return found if len(found) == len(scores) else {}


def _check_rows(rows: Sequence[AnsweredRow], metrics: Sequence[SampleMetric], pair: tuple[str, str]) -> None:
    for row in rows:
        for metric in metrics:
            if metric.needs_reference and not row.reference.strip():
                raise ConfigurationError(
                    f"evaluation.metrics: {metric.name} compares with a reference, but row {plain(row.id, NAME_SHOWN)} "
                    "has none. Add the answer to the row, or use metrics without a reference, e.g. general_quality."
                )
            if metric.kind == "pairwise" and (missing := set(pair) - set(row.answers)):
                raise ConfigurationError(
                    f"evaluation.metrics: pairwise {metric.name} compares {pair[0]} with {pair[1]}, but row "
                    f"{plain(row.id, NAME_SHOWN)} has no answer of {min(missing)}."
                )


def _reusable(
    rows: Iterable[AnsweredRow], metrics: Iterable[SampleMetric], known: Iterable[ScoredRow]
) -> Iterator[ScoredRow]:
    """Rows that are scored already, completely and without errors."""
    current = {row.id: row for row in rows}
    names = {metric.value for metric in metrics}
    for row in known:
        found = {name for name in row.scores if _complete(row, name)} | (
            {WIN_RATE} if row.choice and row.choice.preferred else set()
        )
        if current.get(row.row.id) == row.row and found == names:
            yield row


class _Tally:
    """Scores and errors by value, to end a scoring that gives nothing.

    :param rows: number of all rows
    :param known: rows that an earlier attempt has scored
    """

    def __init__(self, rows: int, known: Iterable[ScoredRow]) -> None:
        self.most_temporary = max(MAX_MISSING * rows, ERRORS_WITHOUT_SCORE)
        self.scores: Counter[str] = Counter()
        for row in known:
            self.scores.update(row.scores.keys())
            self.scores[WIN_RATE] += bool(row.choice and len(row.choice.reasons) == len(_ORDERS))
        self.errors: dict[str, list[VertexRequestError | VertexUnavailableError]] = {}

    def add(self, value: str, rating: object) -> None:
        if isinstance(rating, VertexRequestError | VertexUnavailableError):
            self.errors.setdefault(value, []).append(rating)
        else:
            self.scores[value] += 1

    def raise_if_hopeless(self) -> None:
        """:raises VertexRequestError or VertexUnavailableError: many errors and no score, or many temporary errors"""
        self._raise_from(ERRORS_WITHOUT_SCORE)
        for value, errors in self.errors.items():
            temporary = [error for error in errors if isinstance(error, VertexUnavailableError)]
            if len(temporary) > self.most_temporary:
                message = f"{value}: found {len(temporary)} temporary errors. {temporary[-1]}"
                raise VertexUnavailableError(plain(message, MESSAGE_SHOWN)) from temporary[-1]

    def raise_if_nothing(self) -> None:
        """:raises VertexRequestError or VertexUnavailableError: only errors; log the others' number"""
        self._raise_from(1)
        for value, errors in self.errors.items():
            log.warning("%s: %d scores are missing. First error: %s", value, len(errors), errors[0])

    def _raise_from(self, number: int) -> None:
        for value, errors in self.errors.items():
            if len(errors) >= number and not self.scores[value]:
                # Rather an error that a retry may mend: with one of them, the next attempt can succeed.
                worst = max(errors, key=lambda error: isinstance(error, VertexUnavailableError))
                message = f"{value}: found {len(errors)} errors and no score. {worst}"
                raise type(worst)(plain(message, MESSAGE_SHOWN)) from worst


class _Progress:
    """Logs how far the scoring is."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.started = total, 0, time.monotonic()
        self._next = self.started + PROGRESS_PAUSE

    def log(self, rows: int) -> None:
        self.done += rows
        if self.done >= self.total:
            log.info("Scored %d of %d rows.", self.done, self.total)
            return
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + PROGRESS_PAUSE
        rate = self.done / max(time.monotonic() - self.started, 1e-6)
        left = seconds((self.total - self.done) / rate)
        log.info("Scored %d of %d rows, %.1f rows/s, about %s left.", self.done, self.total, rate, left)


def _score_rows(
    service: ScoringService,
    rows: Sequence[AnsweredRow],
    metrics: Sequence[SampleMetric],
    pair: tuple[str, str],
    tally: _Tally,
) -> Iterator[ScoredRow]:
    scores: list[dict[str, dict[str, Score]]] = [{} for _ in rows]
    choices: list[PairChoice | None] = [None] * len(rows)
    for metric in metrics:
        if metric.kind == "pairwise":
            choices = list(_choices(service, rows, metric, pair, tally))
        else:
            for found, by_role in zip(scores, _scores(service, rows, metric, tally), strict=True):
                found[metric.value] = by_role
    return (ScoredRow(*parts) for parts in zip(rows, scores, choices, strict=True))


def _scores(
    service: ScoringService, rows: Sequence[AnsweredRow], metric: SampleMetric, tally: _Tally
) -> list[dict[str, Score]]:
    """The scores of all answers by one metric, by role for each row."""
    answers = [(index, role, row, text) for index, row in enumerate(rows) for role, text in row.answers.items()]
    if metric.kind == "local":
        ratings = [Score(_LOCAL[metric.name](text, row.reference)) for _, _, row, text in answers]
    else:
        sent = [RatedAnswer(row.prompt, row.reference, text) for _, _, row, text in answers if text.strip()]
        received = iter(service.rate(metric, sent) if sent else [])
        ratings = [_as_score(next(received), metric.value, tally) if text.strip() else _EMPTY for *_, text in answers]
    by_row: list[dict[str, Score]] = [{} for _ in rows]
    for (index, role, *_), rating in zip(answers, ratings, strict=True):
        by_row[index][role] = rating
    return by_row


def _as_score(rating: Rating, value: str, tally: _Tally) -> Score:
    tally.add(value, rating)
    return rating if isinstance(rating, Score) else Score(error=plain(str(rating), MESSAGE_SHOWN))


def _choices(
    service: ScoringService, rows: Sequence[AnsweredRow], metric: SampleMetric, pair: tuple[str, str], tally: _Tally
) -> Iterator[PairChoice]:
    prefer = partial(_preference, service, metric.name)
    with ThreadPoolExecutor(PAIRS_AT_ONCE, thread_name_prefix="judge") as pool:
        found = list(pool.map(prefer, rows, [pair] * len(rows)))
    for choice in found:
        if not isinstance(choice, PairChoice) or len(choice.reasons) == len(_ORDERS):
            tally.add(WIN_RATE, choice)
        yield choice if isinstance(choice, PairChoice) else PairChoice(error=plain(str(choice), MESSAGE_SHOWN))


def _preference(
    service: ScoringService, quality: str, row: AnsweredRow, pair: tuple[str, str]
) -> PairChoice | VertexRequestError | VertexUnavailableError:
    """The judge's choice between two answers, in both orders. An empty or equal answer needs no judge."""
    new, old = (row.answers[role] for role in pair)
    if new.strip() == old.strip():
        return PairChoice("tie", ("The answers are equal.",))
    if not new.strip() or not old.strip():
        return PairChoice("new" if new.strip() else "old", ("One answer is empty.",))
    try:
        forwards, first_reason = service.prefer(quality, row.prompt, old, new)
        backwards, second_reason = service.prefer(quality, row.prompt, new, old)
    except (VertexRequestError, VertexUnavailableError) as error:
        return error
    reasons = (first_reason, second_reason)
    if (forwards, backwards) == ("second", "first"):
        return PairChoice("new", reasons)
    if (forwards, backwards) == ("first", "second"):
        return PairChoice("old", reasons)
    return PairChoice("tie", reasons)
