"""Base of the tasks that send prompts to tuned models: the prompts, and how to wait for a busy endpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, NoReturn

import msgspec
from airflow.sdk.exceptions import AirflowSkipException

from vertex_tuning.config.switches import parse_switch
from vertex_tuning.evaluation.cases import SmokeCase, parse_cases, sample_cases
from vertex_tuning.evaluation.checks import ON_REFUSED
from vertex_tuning.evaluation.expectations import FOUND_SHOWN
from vertex_tuning.evaluation.generation_settings import GenerationSettings, default_settings, parse_settings
from vertex_tuning.evaluation.predict import (
    BACKOFF,
    MAX_WAIT_ON_WORKER,
    PARALLEL_REQUESTS,
    PredictLaterError,
    next_attempt,
    predict_all,
)
from vertex_tuning.exceptions import (
    ConfigurationError,
    DatasetError,
    NotFoundError,
    PermanentError,
    TuningError,
    VertexRequestError,
)
from vertex_tuning.links import ReportLink
from vertex_tuning.operators.base import VertexOperator
from vertex_tuning.operators.refusals import log_refusals_without_traceback
from vertex_tuning.operators.saved_answers import AnswersFile, PredictionProgress, SavedAnswers
from vertex_tuning.results import SmokeAnswer
from vertex_tuning.text.plain_text import plain
from vertex_tuning.text.templates import parse_rendered, rendered

if TYPE_CHECKING:
    from airflow.sdk import BaseOperatorLink, Context

    from vertex_tuning.jobs.job import TuningJob

OnRefused = Literal["fail", "skip"]


class Questions(NamedTuple):
    """Prompts for a model.

    :param label: name of the model for the log
    :param endpoint: endpoint of a tuned model, or name of a base model
    :param is_optional: whether the task goes on without answers if the model refuses a prompt for good
    """

    label: str
    endpoint: str
    cases: list[SmokeCase]
    is_optional: bool = False


WRONG_LOGGED: Final = 5
"""Most wrong answers of a model in the log."""

MAX_KEPT: Final = 256 * 1024 * 1024
"""Most bytes of answers to read from the run folder."""


def base_model_of(job: TuningJob) -> str:
    """The base model of a job, also of one that continues the training of a tuned model; empty if it is unknown."""
    return job.base_model or (job.pre_tuned_model and job.pre_tuned_model.base_model) or ""


class PredictionOperator(VertexOperator):
    """Base of the operators that send test prompts to models.

    The task waits for an endpoint that is not ready or overloaded; after a minute it waits in the triggerer, without a
    worker. Answers so far are kept in the run folder, also while the task runs: after a kill, the next attempt does not
    pay for them again.

    :param cases: prompts and expectations; the fields are those of :class:`~vertex_tuning.evaluation.cases.SmokeCase`.
        (templated)
    :param ask_cases: false to test the sample only, e.g. if the run's data is unrelated to the cases. (templated)
    :param sample_uri: dataset in Cloud Storage; a sample of its examples is tested by exact match. (templated)
    :param sample_size: number of examples in the sample, chosen by their hashes.
    :param base_model: base model of the tuned models, or a tuned model whose training they continue, for the default of
        `generation_config`; see :func:`~vertex_tuning.evaluation.generation_settings.default_settings`. (templated)
    :param generation_config: settings of the prompts; a case may have its own. Fields:
        :class:`~vertex_tuning.evaluation.generation_settings.GenerationSettings`. (templated)
    :param on_refused: what the task does if the model is refused: `fail`, or `skip` itself and the later tasks.
    :param parallel: number of requests to a model at the same time.
    :param timeout: total seconds to wait for endpoints that are not ready or overloaded.
    :param deferrable: free the worker if the wait is long.
    :param run_folder: `gs://` folder for all answers, also for the answers so far while the task waits. Without it,
        only some answers are kept, and the other prompts are sent again. (templated)
    """

    template_fields: Sequence[str] = (
        *VertexOperator.template_fields,
        "cases",
        "ask_cases",
        "sample_uri",
        "base_model",
        "generation_config",
        "run_folder",
    )
    operator_extra_links: Collection[BaseOperatorLink] = (ReportLink(),)

    patience: float = MAX_WAIT_ON_WORKER
    backoff = BACKOFF
    _inline: Any = None
    """Answers from before a deferral, if there is no run folder."""

    def __init__(
        self,
        *,
        cases: Sequence[Mapping[str, Any]] | str | None = None,
        ask_cases: bool | str = True,
        sample_uri: str | None = None,
        sample_size: int = 10,
        base_model: str | None = None,
        generation_config: Mapping[str, Any] | str | None = None,
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
        self.base_model = base_model
        self.generation_config = generation_config
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
        self._inline = answered
        return self.predict(context, deadline or time.time() + self.timeout)

    def predict(self, context: Context, deadline: float) -> dict[str, Any]:
        """Predict all cases and return the result of the task.

        :param deadline: Unix time after which no prompt is sent again
        """
        raise NotImplementedError

    def parsed_cases(self) -> list[SmokeCase]:
        return parse_cases(parse_rendered("cases", self.cases, list[Any], "a list of cases or its JSON") or [])

    def settings(self, base_model: str = "") -> GenerationSettings:
        """Settings of the prompts.

        :param base_model: base model of the tuned models; if empty, the argument of the operator
        :raises ConfigurationError: `generation_config` has mistakes
        """
        given = parse_rendered("generation_config", self.generation_config, dict[str, Any], "settings or their JSON")
        return parse_settings(given).over(default_settings(base_model or self._base_model()))

    def _base_model(self) -> str:
        """The base model, also of a tuned model whose training was continued; empty if it is unknown."""
        named = rendered(self.base_model) or ""
        if not named.startswith("projects/"):
            return named
        try:
            job = self.registry.job_of(self.registry.get(named))
        except NotFoundError:
            job = None
        return base_model_of(job) if job else ""

    def questions(self, settings: GenerationSettings) -> tuple[list[SmokeCase], list[SmokeCase]]:
        """The cases and the sample, under these settings.

        :raises DatasetError: the file of the sample has no rows of a dataset
        """
        cases = self.parsed_cases() if parse_switch("ask_cases", self.ask_cases) else []
        return [case.under(settings) for case in cases], [case.under(settings) for case in self._sample()]

    def _sample(self) -> list[SmokeCase]:
        if not rendered(self.sample_uri):
            return []
        # Imported here: the module loads for 0.1 s, and DAG files are parsed often.
        from vertex_tuning.datasets.prepare import sample

        with self.storage.open_object(str(self.sample_uri)) as file:
            try:
                return sample_cases(sample(file, self.sample_size))
            except msgspec.DecodeError as error:
                raise DatasetError(f"{self.sample_uri}: {error}, expected rows of Gemini's tuning format.") from error

    def predict_models(
        self, context: Context, models: Mapping[str, Questions], deadline: float
    ) -> tuple[dict[str, list[SmokeAnswer]], list[str]]:
        """Predict the cases of all models at the same time; defer the task if a model keeps it waiting.

        :param models: prompts for each model
        :returns: the answers of each model, and a note for each optional model that refused a prompt for good
        """
        saved = self._saved_answers(context, [case for asked in models.values() for case in asked.cases])
        for asked in models.values():
            self.hook.client(asked.endpoint)  # created here, so that the threads share one client
        try:
            with ThreadPoolExecutor(len(models)) as pool:
                futures = {name: pool.submit(self._predict_one, ask, deadline, saved) for name, ask in models.items()}
        finally:
            uri = saved.save()
        found, notes, later = {}, [], None
        for name, future in futures.items():
            try:
                found[name] = future.result()
            except PredictLaterError as error:
                later = error
            except PermanentError as error:
                if not models[name].is_optional:
                    raise
                notes.append(f"{models[name].label}: no answers, so there are no values of it. {error}")
        if later:
            self._defer_rest(None if uri else saved.inline(), later, deadline)
        return found, notes

    def _predict_one(self, asked: Questions, deadline: float, saved: SavedAnswers) -> list[SmokeAnswer]:
        known = saved.of(asked.endpoint)
        progress = PredictionProgress(asked.label, len(asked.cases), len(known))

        def keep(answers: list[SmokeAnswer]) -> None:
            saved.update(asked.endpoint, answers)
            progress.update(len(answers))

        return predict_all(
            self.hook,
            asked.endpoint,
            asked.cases,
            deadline=deadline,
            parallel=self.parallel,
            patience=self.patience if self.deferrable else math.inf,
            backoff=self.backoff,
            answered=known,
            on_progress=keep,
        )

    def _defer_rest(self, inline: Any, later: PredictLaterError, deadline: float) -> NoReturn:
        """Defer the task and keep the answers so far.

        If each attempt sent all prompts again, an endpoint with a low limit per minute would never finish them.

        :param inline: answers so far, if there is no run folder to keep them
        """
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        moment = next_attempt(deadline)
        self.log.warning("%d answers so far; predicting the rest at %s. %s", len(later.answers), moment, later)
        self.defer(
            trigger=DateTimeTrigger(moment=moment),
            method_name="predict_rest",
            kwargs={"deadline": deadline, "answered": inline},
        )

    def _saved_answers(self, context: Context, cases: list[SmokeCase]) -> SavedAnswers:
        name = self.own_file("answers-so-far", context)
        return SavedAnswers(cases, self._read_back(name), partial(self.write, name))

    def own_file(self, what: str, context: Context) -> str:
        """Name of a file in the run's folder that belongs to this task, or to this instance of a mapped task."""
        index = context["ti"].map_index
        return f"{what}-{self.task_id if index in (None, -1) else f'{self.task_id}-{index}'}.json"

    def _read_back(self, name: str) -> AnswersFile | None:
        """Read the answers so far. None without any, or if they cannot be read: the prompts are sent again."""
        try:
            if self._inline is not None:
                return msgspec.convert(self._inline, AnswersFile)
            if uri := self.uri(name):
                return msgspec.json.decode(self.storage.read_object(uri, MAX_KEPT), type=AnswersFile)
        except NotFoundError:
            return None
        except (VertexRequestError, msgspec.ValidationError, msgspec.DecodeError) as error:
            self.log.warning("The answers so far cannot be read, so all prompts are sent again. %s", error)
        return None

    def uri(self, name: str) -> str | None:
        """URI of a file in the run's folder; None without such a folder."""
        return f"{str(self.run_folder).rstrip('/')}/{name}" if rendered(self.run_folder) else None

    def write(self, name: str, whole: Any) -> str | None:
        """Write a result to the run's folder, if it is set, and return its URI."""
        uri = self.uri(name)
        return uri and self.storage.write_object(uri, msgspec.json.encode(whole), "application/json")

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
