"""After the job: what its metrics say, and whether the tuned model answers as it should."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from vertex_tuning.exceptions import MetricsError, SmokeTestError
from vertex_tuning.jobs import TuningJob
from vertex_tuning.links import ExperimentLink, TuningJobLink
from vertex_tuning.metrics import headline, summarise
from vertex_tuning.operators.base import VertexOperator
from vertex_tuning.smoke import SmokeAnswer, SmokeCase, parse_cases

if TYPE_CHECKING:
    from airflow.sdk import Context

ANSWER_SHOWN: Final = 500
"""Characters of an answer kept in XCom."""


class CollectMetricsOperator(VertexOperator):
    """
    Read a tuning job's training and validation metrics and return first, last and best value of each.

    :param job_name: `projects/…/locations/…/tuningJobs/ID`, of a job that has ended. (templated)
    """

    template_fields: Sequence[str] = (*VertexOperator.template_fields, "job_name")
    operator_extra_links = (TuningJobLink(), ExperimentLink())

    def __init__(self, *, job_name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.job_name = job_name
        self.job: TuningJob | None = None

    def execute(self, context: Context) -> dict[str, Any]:
        self.job = self.hook.get_tuning_job(self.job_name)
        if not self.job.experiment:
            raise MetricsError(f"{self.job_name} has no experiment, expected one to read metrics from.")
        summary = summarise(self.hook.read_metrics(self.job.experiment))
        if not summary:
            raise MetricsError(f"{self.job.experiment} holds no metrics, expected /train_total_loss at least.")
        for name, values in summary.items():
            self.log.info("%s: %s", name, values)
        context["ti"].xcom_push(key="headline", value=headline(summary))
        return {"job_name": self.job_name, "experiment": self.job.experiment, "metrics": summary}


class SmokeTestOperator(VertexOperator):
    """
    Ask a tuned model prompts whose answers are known, and fail when an answer is not as expected.

    :param endpoint: `projects/…/locations/…/endpoints/ID`. (templated)
    :param cases: prompts and expectations; the fields are those of :class:`~vertex_tuning.smoke.SmokeCase`.
        (templated)
    :param min_pass_share: share of the cases that must pass, 0 to 1.
    :param event_extra: what the event of each of the task's outlets says when the model has passed. (templated)
    """

    template_fields: Sequence[str] = (*VertexOperator.template_fields, "endpoint", "cases", "event_extra")
    template_fields_renderers = {"cases": "json"}

    def __init__(
        self,
        *,
        endpoint: str,
        cases: list[dict[str, Any]],
        min_pass_share: float = 1.0,
        event_extra: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.cases = cases
        self.min_pass_share = min_pass_share
        self.event_extra = event_extra

    def execute(self, context: Context) -> dict[str, Any]:
        cases = parse_cases(self.cases)
        answers = [self._ask(case) for case in cases]
        failed = [answer for answer in answers if answer.problem]
        passed = len(answers) - len(failed)
        result = {
            "endpoint": self.endpoint,
            "passed": passed,
            "total": len(answers),
            "answers": msgspec.to_builtins(answers),
        }
        if passed < self.min_pass_share * len(answers):
            # Pushed, because a failed task returns nothing and somebody will want to read the answers.
            context["ti"].xcom_push(key="smoke_test", value=result)
            listed = "\n".join(f"  {one.prompt!r} -> {one.answer!r}: {one.problem}" for one in failed)
            raise SmokeTestError(
                f"{passed} of {len(answers)} cases passed, expected a share of {self.min_pass_share:g}.\n{listed}"
            )
        for asset in self.outlets:
            context["outlet_events"][asset].extra = self.event_extra or {}
        return result

    def _ask(self, case: SmokeCase) -> SmokeAnswer:
        started = time.monotonic()
        contents = [{"role": "user", "parts": [{"text": case.prompt}]}]
        response = self.hook.generate(self.endpoint, contents, case.config())
        answer = response.text or ""
        problem = case.problem(answer) or ""
        self.log.info("%r -> %r%s", case.prompt, answer, f": {problem}" if problem else "")
        return SmokeAnswer(
            prompt=case.prompt,
            answer=answer[:ANSWER_SHOWN],
            problem=problem,
            latency=round(time.monotonic() - started, 3),
            tokens=(response.usage_metadata and response.usage_metadata.total_token_count) or 0,
        )
