"""Answers of models so far, kept so that a deferred or killed task does not send the same prompts again."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from itertools import accumulate, takewhile
from typing import Any, Final

import msgspec

from vertex_tuning.evaluation.cases import SmokeCase
from vertex_tuning.results import SmokeAnswer
from vertex_tuning.scores import SampleMetric, ScoredRow

MAX_INLINE: Final = 100_000
"""Most bytes of answers in Airflow's database, if no run folder is set."""

SAVE_INTERVAL: Final = 2.0
"""Seconds between two writes: a killed task pays again for the answers since. Cloud Storage takes one a second."""

LOG_INTERVAL: Final = 30.0
"""Seconds between two lines of progress of a model."""

log = logging.getLogger(__name__)


class AnswersFile(msgspec.Struct, frozen=True):
    """The answers so far.

    :param questions: hash of all prompts, settings and expectations; answers to others are of no use
    :param answers: by name of the model or endpoint
    """

    questions: str
    answers: dict[str, list[SmokeAnswer]]


class ScoresFile(msgspec.Struct, frozen=True):
    """The scores of answers so far.

    :param metrics: metrics that gave the scores; scores by others are of no use, also those of the same name
    :param rows: the rows with their scores
    """

    metrics: list[SampleMetric]
    rows: list[ScoredRow]


class SavedAnswers:
    """Answers of models so far. Its methods may be called from several threads.

    :param cases: all prompts of the task
    :param before: what an earlier attempt has saved, if anything
    :param write: writes the file and returns its URI; None if there is no place to write to
    """

    def __init__(
        self, cases: Sequence[SmokeCase], before: AnswersFile | None, write: Callable[[AnswersFile], str | None]
    ) -> None:
        self._questions = hashlib.sha256(msgspec.json.encode(cases)).hexdigest()
        self._answers = dict(before.answers) if before and before.questions == self._questions else {}
        self._write = write
        self._lock = threading.Lock()
        self._due = time.monotonic() + SAVE_INTERVAL
        if self._answers:
            log.info("An earlier attempt got %d answers; they are used.", sum(map(len, self._answers.values())))

    def of(self, model: str) -> list[SmokeAnswer]:
        """The answers of a model so far."""
        return self._answers.get(model, [])

    def update(self, model: str, answers: list[SmokeAnswer]) -> None:
        """Keep the answers of a model so far, and write the file from time to time."""
        with self._lock:
            self._answers[model] = answers
            if time.monotonic() >= self._due:
                started = time.monotonic()
                self.save()
                # A large file is written less often, so that writing takes a small part of the time.
                self._due = time.monotonic() + max(SAVE_INTERVAL, 20 * (time.monotonic() - started))

    def save(self) -> str | None:
        """Write the file and return its URI; None without a place to write to."""
        return self._write(AnswersFile(self._questions, self._answers))

    def inline(self) -> dict[str, Any]:
        """The first answers of each model, small enough for Airflow's database."""
        first = {model: _first(answers) for model, answers in self._answers.items()}
        kept: dict[str, Any] = msgspec.to_builtins(AnswersFile(self._questions, first))
        return kept


class PredictionProgress:
    """Lines in the log about the prompts of a model.

    :param model: name of the model for the log
    :param total: number of prompts
    :param known: number of answers from an earlier attempt
    """

    def __init__(self, model: str, total: int, known: int) -> None:
        self._model, self._total, self._known = model, total, known
        self._started = self._logged = time.monotonic()

    def update(self, answered: int) -> None:
        """Log the progress, at most every `LOG_INTERVAL` seconds.

        :param answered: number of answers so far
        """
        now, fresh = time.monotonic(), answered - self._known
        if now - self._logged < LOG_INTERVAL or fresh <= 0:
            return
        self._logged = now
        rate = fresh / (now - self._started)
        left = (self._total - answered) / rate
        log.info(
            "%s: %d of %d answered, %.1f a second, about %.0f s left.", self._model, answered, self._total, rate, left
        )


def _first(answers: Sequence[SmokeAnswer]) -> list[SmokeAnswer]:
    """The first answers, at most `MAX_INLINE` bytes."""
    sizes = accumulate(len(msgspec.json.encode(answer)) for answer in answers)
    return list(answers[: sum(1 for _ in takewhile(lambda size: size <= MAX_INLINE, sizes))])
