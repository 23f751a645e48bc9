"""Smoke test of a tuned model: prompts with expected responses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from vertex_tuning.evaluation.cases import (
    ANSWERS_SHOWN,
    in_full,
    pass_share,
    summarize,
    values_of,
)
from vertex_tuning.evaluation.checks import share_mistake
from vertex_tuning.exceptions import ConfigurationError, SmokeTestError
from vertex_tuning.operators.prediction import PredictionOperator, Questions
from vertex_tuning.results import SmokeAnswer, SmokeResult
from vertex_tuning.text.plain_text import first_lines

if TYPE_CHECKING:
    from airflow.sdk import Context


class SmokeTestOperator(PredictionOperator):
    """Send test prompts to a tuned model, and refuse the model if too many responses are wrong.

    All answers are written to the run's folder as `smoke-test.json`. Some of them, with shortened texts, are returned
    and pushed as XCom `answers` before the model is judged. Further parameters:
    :class:`~vertex_tuning.operators.prediction.PredictionOperator`.

    :param endpoint: `projects/…/locations/…/endpoints/ID`. (templated)
    :param min_pass_share: share of the cases that must pass, 0 to 1.
    :param min_sample_share: share of the examples that must get the exact response, 0 to 1; if not set, the share is
        only reported.
    """

    template_fields: Sequence[str] = (*PredictionOperator.template_fields, "endpoint")
    template_fields_renderers = {"cases": "json"}

    def __init__(
        self, *, endpoint: str, min_pass_share: float = 1.0, min_sample_share: float | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        for name, least in (("min_pass_share", min_pass_share), ("min_sample_share", min_sample_share)):
            if mistake := share_mistake(name, least):
                raise ConfigurationError(mistake)
        self.endpoint = endpoint
        self.min_pass_share = min_pass_share
        self.min_sample_share = min_sample_share

    def predict(self, context: Context, deadline: float) -> dict[str, Any]:
        cases, sampled = self.questions(self.settings())
        if not cases and not sampled:
            if self.cases:
                self.log.info("The cases are not sent, because ask_cases is off.")
                return SmokeResult(endpoint=self.endpoint).as_xcom()
            raise ConfigurationError("cases: found no cases and no sample_uri, expected at least one of the two.")
        # Both in one call, so that no prompt waits for the slowest of the other list.
        asked = Questions("Model", self.endpoint, [*cases, *sampled])
        found, _ = self.predict_models(context, {"model": asked}, deadline)
        answers = found["model"]
        case_answers, sample_answers = answers[: len(cases)], answers[len(cases) :]
        result = self._result(case_answers, sample_answers)
        # Pushed before the model is judged: a failed task returns no result, but users want to read the answers.
        context["ti"].xcom_push(key=result.xcom_keys[0], value=result.as_xcom())
        self.log_answers("Model", case_answers, sample_answers)
        self.log.info("Values: %s", ", ".join(f"{name} {value:.3g}" for name, value in result.values.items()))
        self._require("smoke cases", case_answers, self.min_pass_share)
        if self.min_sample_share is not None:
            self._require("examples", sample_answers, self.min_sample_share)
        return result.as_xcom()

    def _result(self, case_answers: list[SmokeAnswer], sample_answers: list[SmokeAnswer]) -> SmokeResult:
        """The result for XCom: some answers with shortened texts. All answers are written to the run's folder."""
        whole = SmokeResult(
            endpoint=self.endpoint,
            values=values_of(case_answers, sample_answers),
            cases=in_full(case_answers),
            sample=in_full(sample_answers),
        )
        uri = self.write(whole.file_name, whole)
        return msgspec.structs.replace(
            whole, cases=summarize(case_answers), sample=summarize(sample_answers), result_uri=uri
        )

    def _require(self, what: str, answers: list[SmokeAnswer], least: float) -> None:
        passed = pass_share(answers)
        if passed is not None and passed < least:
            failed = [answer.cut() for answer in answers if answer.problem]
            shown = [f"  {wrong.name}: '{wrong.prompt}' -> '{wrong.answer}': {wrong.problem}" for wrong in failed]
            listed = "\n".join(first_lines(shown, ANSWERS_SHOWN))
            right, kind = len(answers) - len(failed), f"{what} answered as expected"
            self.refuse(
                SmokeTestError(f"Refused: {right} of {len(answers)} {kind}, expected {_at_least(least)}.\n{listed}")
            )


def _at_least(share: float) -> str:
    return "all" if share == 1 else f"at least {share * 100:.4g} %"
