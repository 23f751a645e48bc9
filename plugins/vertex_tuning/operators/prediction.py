"""Base of the tasks that send prompts to tuned models: the prompts, and how to wait for a busy endpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate, takewhile
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn

import msgspec
from airflow.sdk.exceptions import AirflowSkipException

from vertex_tuning.config.switches import parse_switch
from vertex_tuning.evaluation.cases import SmokeCase, parse_cases, sample_cases
from vertex_tuning.evaluation.checks import ON_REFUSED
from vertex_tuning.evaluation.expectations import FOUND_SHOWN
from vertex_tuning.evaluation.predict import (
    BACKOFF,
    MAX_WAIT_ON_WORKER,
    PARALLEL_REQUESTS,
    PredictLaterError,
    next_attempt,
    predict_all,
)
from vertex_tuning.exceptions import ConfigurationError, DatasetError, TuningError, VertexRequestError
from vertex_tuning.links import ReportLink
from vertex_tuning.operators.base import VertexOperator
from vertex_tuning.operators.refusals import log_refusals_without_traceback
from vertex_tuning.results import SmokeAnswer
from vertex_tuning.text.plain_text import plain
from vertex_tuning.text.templates import parse_rendered, rendered

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, Context

OnRefused = Literal["fail", "skip"]

WRONG_LOGGED: Final = 5
"""Most wrong answers of a model in the log."""

MAX_INLINE: Final = 100_000
"""Most bytes of a model's answers in Airflow's database, if no run folder is set."""
MAX_KEPT: Final = 256 * 1024 * 1024
"""Most bytes of answers to read from the run folder."""


class PredictionOperator(VertexOperator):
    """Base of the operators that send test prompts to models.

    The task waits for an endpoint that is not ready or overloaded; after a minute it waits in the triggerer, without a
    worker. Answers so far are kept.

    :param cases: prompts and expectations; the fields are those of :class:`~vertex_tuning.evaluation.cases.SmokeCase`.
        (templated)
    :param ask_cases: false to test the sample only, e.g. if the run's data is unrelated to the cases. (templated)
    :param sample_uri: dataset in Cloud Storage; a sample of its examples is tested by exact match. (templated)
    :param sample_size: number of examples in the sample.
    :param on_refused: what the task does if the model is refused: `fail`, or `skip` itself and the later tasks.
    :param parallel: number of requests to a model at the same time.
    :param timeout: total seconds to wait for endpoints that are not ready or overloaded.
    :param deferrable: free the worker if the wait is long.
    :param run_folder: `gs://` folder for all answers, also for the answers so far while the task waits. Without it,
        only some answers are kept, and the other prompts are sent again. (templated)
    """

    template_fields: Sequence[str] = (*VertexOperator.template_fields, "cases", "ask_cases", "sample_uri", "run_folder")
    operator_extra_links: Collection[BaseOperatorLink] = (ReportLink(),)

    patience: float = MAX_WAIT_ON_WORKER
    backoff = BACKOFF

    def __init__(
        self,
        *,
        cases: Sequence[Mapping[str, Any]] | str | None = None,
        ask_cases: bool | str = True,
        sample_uri: str | None = None,
        sample_size: int = 10,
        on_refused: OnRefused = "fail",
        parallel: int = PARALLEL_REQUESTS,
        timeout: float = 1800.0,
        deferrable: bool = True,
        run_folder: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.cases = cases or []
        self.ask_cases = ask_cases
        self.sample_uri = sample_uri
        self.sample_size = sample_size
        self.on_refused = on_refused
        self.parallel = parallel
        self.timeout = timeout
        self.deferrable = deferrable
        self.run_folder = run_folder

    def execute(self, context: Context) -> dict[str, Any]:
        if self.on_refused not in ON_REFUSED:
            raise ConfigurationError(f"on_refused: found {self.on_refused!r}, expected {' or '.join(ON_REFUSED)}.")
        return self.predict_rest(context)

    def predict_rest(
        self, context: Context, event: Any = None, deadline: float | None = None, answered: Any = None
    ) -> dict[str, Any]:
        """Predict the cases without an answer after a deferral.

        :param deadline, answered: values from before the deferral; `dag.test()` loses them
        """
        return self.predict(context, deadline or time.time() + self.timeout, self._read_back(answered))

    def predict(self, context: Context, deadline: float, answered: Any) -> dict[str, Any]:
        """Predict all cases and return the result of the task.

        :param answered: the value passed to `defer_rest`, or its first part; None in the first call
        """
        raise NotImplementedError

    def parsed_cases(self) -> list[SmokeCase]:
        return parse_cases(parse_rendered("cases", self.cases, list[Any], "a list of cases or its JSON") or [])

    def questions(self) -> tuple[list[SmokeCase], list[SmokeCase]]:
        """The cases and the sample.

        :raises DatasetError: the file of the sample has no rows of a dataset
        """
        cases = self.parsed_cases() if parse_switch("ask_cases", self.ask_cases) else []
        if not rendered(self.sample_uri):
            return cases, []
        # Imported here: the module loads for 0.1 s, and DAG files are parsed often.
        from vertex_tuning.datasets.prepare import sample

        with self.storage.open_object(str(self.sample_uri)) as file:
            try:
                return cases, sample_cases(sample(file, self.sample_size))
            except msgspec.DecodeError as error:
                raise DatasetError(f"{self.sample_uri}: {error}, expected rows of Gemini's tuning format.") from error

    def predict_cases(
        self, endpoint: str, cases: list[SmokeCase], deadline: float, answered: list[SmokeAnswer]
    ) -> list[SmokeAnswer]:
        """Predict the cases with one model.

        :raises PredictLaterError: the task should defer and predict the rest later
        """
        return predict_all(
            self.hook,
            endpoint,
            cases,
            deadline=deadline,
            parallel=self.parallel,
            patience=self.patience if self.deferrable else math.inf,
            backoff=self.backoff,
            answered=answered,
        )

    def defer_rest(self, context: Context, later: PredictLaterError, deadline: float, answered: Any) -> NoReturn:
        """Defer the task and keep the answers so far.

        If each attempt sent all prompts again, an endpoint with a low limit per minute would never finish them.
        """
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        moment = next_attempt(deadline)
        self.log.warning("%d answers so far; predicting the rest at %s. %s", len(later.answers), moment, later)
        self.defer(
            trigger=DateTimeTrigger(moment=moment),
            method_name="predict_rest",
            kwargs={"deadline": deadline, "answered": self._keep(context, answered)},
        )

    def _keep(self, context: Context, answered: Any) -> Any:
        """Store the answers in the run's folder and return the URI; without a folder, return the first answers.

        :param answered: answers, or answers by name
        """
        index = context["ti"].map_index
        name = self.task_id if index in (None, -1) else f"{self.task_id}-{index}"
        if uri := self.write(f"answers-so-far-{name}.json", answered):
            return uri
        if isinstance(answered, dict):
            return msgspec.to_builtins({side: _first(answers) for side, answers in answered.items()})
        return msgspec.to_builtins(_first(answered))

    def _read_back(self, kept: Any) -> Any:
        """Read what `_keep` stored. None if it cannot be read: the prompts are sent again."""
        if not isinstance(kept, str):
            return kept
        try:
            return msgspec.json.decode(self.storage.read_object(kept, MAX_KEPT))
        except (VertexRequestError, msgspec.DecodeError) as error:
            self.log.warning("The answers so far cannot be read, so all prompts are sent again. %s", error)
            return None

    def write(self, name: str, whole: Any) -> str | None:
        """Write a result to the run's folder, if it is set, and return its URI."""
        if not rendered(self.run_folder):
            return None
        uri = f"{str(self.run_folder).rstrip('/')}/{name}"
        return self.storage.write_object(uri, msgspec.json.encode(whole), "application/json")

    def log_answers(self, model: str, cases: Sequence[SmokeAnswer], sampled: Sequence[SmokeAnswer]) -> None:
        """Log a summary of the answers of a model; the file in the run's folder has all answers.

        :param model: name of the model for the log
        """
        for kind, answers in (("smoke cases", cases), ("examples", sampled)):
            if answers:
                passed = sum(not answer.problem for answer in answers)
                self.log.info("%s: %d of %d %s answered as expected.", model, passed, len(answers), kind)
        wrong = [answer.cut() for answer in (*cases, *sampled) if answer.problem]
        for answer in wrong[:WRONG_LOGGED]:
            self.log.info("%s, %s: '%s': %s", model, answer.name, plain(answer.answer, FOUND_SHOWN), answer.problem)
        if len(wrong) > WRONG_LOGGED:
            more = len(wrong) - WRONG_LOGGED
            self.log.info("%s: %d more answers were not as expected. The report has them.", model, more)

    def refuse(self, error: TuningError) -> NoReturn:
        """End the task as failed or skipped, by `on_refused`."""
        self.log.warning("%s", error)
        if self.on_refused == "skip":
            self.log.info("The later tasks are skipped, because on_refused is 'skip'.")
            raise AirflowSkipException(str(error))
        log_refusals_without_traceback()
        raise error


def _first(answers: Sequence[SmokeAnswer]) -> list[SmokeAnswer]:
    """The first answers, at most `MAX_INLINE` bytes."""
    sizes = accumulate(len(msgspec.json.encode(answer)) for answer in answers)
    return list(answers[: sum(1 for _ in takewhile(lambda size: size <= MAX_INLINE, sizes))])
