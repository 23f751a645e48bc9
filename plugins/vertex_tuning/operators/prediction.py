"""What the tasks that ask tuned models have in common: what is asked, and how a busy endpoint is waited for."""

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
from vertex_tuning.plain_text import plain
from vertex_tuning.results import SmokeAnswer
from vertex_tuning.templates import parse_rendered, rendered

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, Context

OnRefused = Literal["fail", "skip"]

WRONG_LOGGED: Final = 5
"""Answers of a model that were not as expected."""

MAX_INLINE: Final = 100_000
"""Bytes of a model's answers that wait in Airflow's database, when there is no run folder."""
MAX_KEPT: Final = 256 * 1024 * 1024
"""Bytes of answers that are read back from the run folder."""


class PredictionOperator(VertexOperator):
    """
    Base of the operators that ask models prompts whose answers are known.

    An endpoint that is not ready or overloaded is waited for; when that takes longer than a minute, in the triggerer,
    without a worker. Answers it has given by then are kept.

    :param cases: prompts and expectations; the fields are those of :class:`~vertex_tuning.evaluation.cases.SmokeCase`.
        (templated)
    :param ask_cases: false to ask the sample only, as when a run's data is not what the cases are about. (templated)
    :param sample_uri: dataset in Cloud Storage to ask examples of as well, scored by exact match. (templated)
    :param sample_size: how many of them.
    :param on_refused: what becomes of the task when the model does not do: `fail`, or `skip` what follows as well.
    :param parallel: how many prompts a model is asked at the same time.
    :param timeout: seconds to wait in all for endpoints that are not ready or overloaded.
    :param deferrable: leave the worker when the wait is long.
    :param run_folder: `gs://` folder to write all of it to, and where answers are kept while the endpoint is waited
        for. Without it only some answers are kept, and the others asked again. (templated)
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
        """Ask what has not been answered; the endpoints may answer now.

        :param deadline, answered: as they were when the worker was left; `dag.test()` loses them
        """
        return self.predict(context, deadline or time.time() + self.timeout, self._read_back(answered))

    def predict(self, context: Context, deadline: float, answered: Any) -> dict[str, Any]:
        """
        :param answered: what `defer_rest` was given, or the first of it; None at first
        """
        raise NotImplementedError

    def parsed_cases(self) -> list[SmokeCase]:
        return parse_cases(parse_rendered("cases", self.cases, list[Any], "a list of cases or its JSON") or [])

    def questions(self) -> tuple[list[SmokeCase], list[SmokeCase]]:
        """The cases and the sample.

        :raises DatasetError: the sample is of something else than rows of a dataset
        """
        cases = self.parsed_cases() if parse_switch("ask_cases", self.ask_cases) else []
        if not rendered(self.sample_uri):
            return cases, []
        # Imported here: reading datasets takes a tenth of a second to load, and DAG files are parsed all the time.
        from vertex_tuning.datasets.prepare import sample

        with self.storage.open_object(str(self.sample_uri)) as file:
            try:
                return cases, sample_cases(sample(file, self.sample_size))
            except msgspec.DecodeError as error:
                raise DatasetError(f"{self.sample_uri}: {error}, expected rows as tuning takes them.") from error

    def predict_cases(
        self, endpoint: str, cases: list[SmokeCase], deadline: float, answered: list[SmokeAnswer]
    ) -> list[SmokeAnswer]:
        """
        :raises PredictLaterError: it is better to leave the worker now and to come back
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
        """Leave the worker. The answers go along: asked all over again, an endpoint that takes fewer prompts a minute
        than there are would never be done with them."""
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        moment = next_attempt(deadline)
        self.log.warning("%d answers so far; asking the rest at %s. %s", len(later.answers), moment, later)
        self.defer(
            trigger=DateTimeTrigger(moment=moment),
            method_name="predict_rest",
            kwargs={"deadline": deadline, "answered": self._keep(context, answered)},
        )

    def _keep(self, context: Context, answered: Any) -> Any:
        """The URI of the answers in the run's folder; without one, as many of them as Airflow's database should hold.

        :param answered: answers, or answers by name
        """
        index = context["ti"].map_index
        name = self.task_id if index in (None, -1) else f"{self.task_id}-{index}"
        if uri := self.write(f"answers-so-far-{name}.json", answered):
            return uri
        few = {side: _first(one) for side, one in answered.items()} if isinstance(answered, dict) else _first(answered)
        return msgspec.to_builtins(few)

    def _read_back(self, kept: Any) -> Any:
        """What `_keep` was given. What cannot be read is asked again."""
        if not isinstance(kept, str):
            return kept
        try:
            return msgspec.json.decode(self.storage.read_object(kept, MAX_KEPT))
        except (VertexRequestError, msgspec.DecodeError) as error:
            self.log.warning("The answers so far cannot be read, so all prompts are asked again. %s", error)
            return None

    def write(self, name: str, whole: Any) -> str | None:
        """Write a result into the run's folder, if there is one; its URI."""
        if not rendered(self.run_folder):
            return None
        uri = f"{str(self.run_folder).rstrip('/')}/{name}"
        return self.storage.write_object(uri, msgspec.json.encode(whole), "application/json")

    def log_answers(self, model: str, cases: Sequence[SmokeAnswer], sampled: Sequence[SmokeAnswer]) -> None:
        """Say how a model has answered; the file in the run's folder has all answers.

        :param model: whose answers these are, in words
        """
        for kind, answers in (("smoke cases", cases), ("examples", sampled)):
            if answers:
                passed = sum(not answer.problem for answer in answers)
                self.log.info("%s: %d of %d %s answered as expected.", model, passed, len(answers), kind)
        wrong = [answer.cut() for answer in (*cases, *sampled) if answer.problem]
        for one in wrong[:WRONG_LOGGED]:
            self.log.info("%s, %s: '%s': %s", model, one.name, plain(one.answer, FOUND_SHOWN), one.problem)
        if len(wrong) > WRONG_LOGGED:
            more = len(wrong) - WRONG_LOGGED
            self.log.info("%s: %d more answers were not as expected. The report has them.", model, more)

    def refuse(self, error: TuningError) -> NoReturn:
        """End the task, as `on_refused` says."""
        self.log.warning("%s", error)
        if self.on_refused == "skip":
            self.log.info("What follows is skipped, because on_refused is 'skip'.")
            raise AirflowSkipException(str(error))
        log_refusals_without_traceback()
        raise error


def _first(answers: Sequence[SmokeAnswer]) -> list[SmokeAnswer]:
    """The first answers, of `MAX_INLINE` bytes at most."""
    sizes = accumulate(len(msgspec.json.encode(answer)) for answer in answers)
    return list(answers[: sum(1 for _ in takewhile(lambda size: size <= MAX_INLINE, sizes))])
