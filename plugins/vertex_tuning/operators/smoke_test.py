"""Asking a tuned model prompts whose answers are known."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from vertex_tuning.asking import PARALLEL, AskLaterError, ask_all, next_visit
from vertex_tuning.exceptions import ConfigurationError, DatasetError, SmokeTestError
from vertex_tuning.links import ReportLink
from vertex_tuning.operators.base import NOT_GIVEN, VertexOperator, is_true
from vertex_tuning.smoke import SmokeAnswer, SmokeCase, parse_cases, sample_cases, share, summarize, values_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class SmokeTestOperator(VertexOperator):
    """
    Ask a tuned model prompts whose answers are known, and fail when too many answers are not as expected.

    An endpoint that is not ready or overloaded is waited for; when that takes longer than a minute, in the triggerer,
    without a worker. Answers it has given by then are kept.

    :param endpoint: `projects/…/locations/…/endpoints/ID`. (templated)
    :param cases: prompts and expectations; the fields are those of :class:`~vertex_tuning.smoke.SmokeCase`.
        (templated)
    :param ask_cases: false to ask the sample only, as when a run's data is not what the cases are about. (templated)
    :param min_pass_share: share of the cases that must pass, 0 to 1.
    :param sample_uri: dataset in Cloud Storage to ask examples of as well, scored by exact match. (templated)
    :param sample_size: how many of them.
    :param min_sample_share: share of the examples that must be answered exactly, 0 to 1; when not given, the share is
        reported and not judged.
    :param parallel: how many prompts are asked at the same time.
    :param timeout: seconds to wait in all for an endpoint that is not ready or overloaded.
    :param deferrable: leave the worker when the wait is long.
    :param run_folder: `gs://` folder to write all answers to, in full, as `smoke-test.json`. (templated)
    """

    template_fields: Sequence[str] = (
        *VertexOperator.template_fields,
        "endpoint",
        "cases",
        "ask_cases",
        "sample_uri",
        "run_folder",
    )
    template_fields_renderers = {"cases": "json"}
    operator_extra_links = (ReportLink(),)

    def __init__(
        self,
        *,
        endpoint: str,
        cases: list[dict[str, Any]],
        ask_cases: bool | str = True,
        min_pass_share: float = 1.0,
        sample_uri: str | None = None,
        sample_size: int = 10,
        min_sample_share: float | None = None,
        parallel: int = PARALLEL,
        timeout: float = 1800.0,
        deferrable: bool = True,
        run_folder: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.cases = cases
        self.ask_cases = ask_cases
        self.min_pass_share = min_pass_share
        self.sample_uri = sample_uri
        self.sample_size = sample_size
        self.min_sample_share = min_sample_share
        self.parallel = parallel
        self.timeout = timeout
        self.deferrable = deferrable
        self.run_folder = run_folder

    def execute(self, context: Context) -> dict[str, Any]:
        return self._test(context, deadline=time.time() + self.timeout, answered=[])

    def ask_rest(
        self,
        context: Context,
        event: Any = None,
        deadline: float | None = None,
        answered: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """The endpoint may answer now.

        :param deadline, answered: as they were when the worker was left; `dag.test()` loses them
        """
        kept = msgspec.convert(answered or [], list[SmokeAnswer])
        return self._test(context, deadline or time.time() + self.timeout, kept)

    def _test(self, context: Context, deadline: float, answered: list[SmokeAnswer]) -> dict[str, Any]:
        cases = parse_cases(self.cases) if is_true(self.ask_cases) else []
        sampled = self._sample()
        if not cases and not sampled:
            raise ConfigurationError("cases: found none and no sample_uri, expected something to ask the model.")
        asked, exact = self._ask(cases, sampled, deadline, answered)
        result = self._result(asked, exact)
        # Pushed before judging, because a failed task returns nothing and somebody will want to read the answers.
        context["ti"].xcom_push(key="answers", value=result)
        self.log.info("Passed: %s.", ", ".join(f"{name} {value:.3g}" for name, value in result["values"].items()))
        self._require("cases", asked, self.min_pass_share)
        if self.min_sample_share is not None:
            self._require("examples", exact, self.min_sample_share)
        return result

    def _sample(self) -> list[SmokeCase]:
        if self.sample_uri in NOT_GIVEN:
            return []
        # Imported here: reading datasets takes a tenth of a second to load, and DAG files are parsed all the time.
        from vertex_tuning.datasets.dataset import sample

        with self.storage.open_object(str(self.sample_uri)) as file:
            try:
                return sample_cases(sample(file, self.sample_size))
            except msgspec.DecodeError as error:
                raise DatasetError(f"{self.sample_uri}: {error}, expected rows as tuning takes them.") from error

    def _ask(
        self, cases: list[SmokeCase], sampled: list[SmokeCase], deadline: float, answered: list[SmokeAnswer]
    ) -> tuple[list[SmokeAnswer], list[SmokeAnswer]]:
        """Both in one go, so that none waits for the slowest of the others."""
        try:
            answers = ask_all(
                self.hook,
                self.endpoint,
                [*cases, *sampled],
                deadline=deadline,
                parallel=self.parallel,
                patience=None if self.deferrable else math.inf,
                answered=answered,
            )
        except AskLaterError as later:
            self._come_back(later, deadline)
        return answers[: len(cases)], answers[len(cases) :]

    def _come_back(self, later: AskLaterError, deadline: float) -> NoReturn:
        """Leave the worker. The answers go along: asked all over again, an endpoint that takes fewer prompts a minute
        than there are would never be done with them."""
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        moment = next_visit(deadline)
        self.log.warning("%d answers so far; asking the rest at %s. %s", len(later.answers), moment, later)
        self.defer(
            trigger=DateTimeTrigger(moment=moment),
            method_name="ask_rest",
            kwargs={"deadline": deadline, "answered": msgspec.to_builtins(later.answers)},
        )

    def _result(self, asked: list[SmokeAnswer], exact: list[SmokeAnswer]) -> dict[str, Any]:
        """What goes to XCom, with texts cut; the whole is written to the run's folder."""
        common = {"endpoint": self.endpoint, "values": values_of(asked, exact)}
        uri = None
        if self.run_folder not in NOT_GIVEN:
            whole = msgspec.json.encode({**common, "cases": summarize(asked), "sample": summarize(exact)})
            uri = f"{str(self.run_folder).rstrip('/')}/smoke-test.json"
            self.storage.write_object(uri, whole, "application/json")
        cut = {
            "cases": summarize([answer.cut() for answer in asked]),
            "sample": summarize([answer.cut() for answer in exact]),
        }
        return {**common, **cut, "result_uri": uri}

    def _require(self, what: str, answers: list[SmokeAnswer], least: float) -> None:
        passed = share(answers)
        if passed is not None and passed < least:
            failed = [answer.cut() for answer in answers if answer.problem]
            listed = "\n".join(f"  {one.name}: {one.prompt!r} -> {one.answer!r}: {one.problem}" for one in failed)
            right = len(answers) - len(failed)
            raise SmokeTestError(f"{right} of {len(answers)} {what} passed, expected a share of {least:g}.\n{listed}")
