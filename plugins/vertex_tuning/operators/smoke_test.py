"""Asking a tuned model prompts whose answers are known."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from vertex_tuning.datasets import sample
from vertex_tuning.exceptions import ConfigurationError, SmokeTestError
from vertex_tuning.operators.base import VertexOperator
from vertex_tuning.smoke import SmokeAnswer, SmokeCase, case_of, parse_cases

if TYPE_CHECKING:
    from airflow.sdk import Context

TEXT_SHOWN: Final = 500
"""Characters of a prompt or an answer kept in XCom."""


class SmokeTestOperator(VertexOperator):
    """
    Ask a tuned model prompts whose answers are known, and fail when too many answers are not as expected.

    :param endpoint: `projects/…/locations/…/endpoints/ID`. (templated)
    :param cases: prompts and expectations; the fields are those of :class:`~vertex_tuning.smoke.SmokeCase`.
        (templated)
    :param ask_cases: false to ask the sample only, as when a run's data is not what the cases are about. (templated)
    :param min_pass_share: share of the cases that must pass, 0 to 1.
    :param sample_uri: dataset in Cloud Storage to ask examples of as well. They are scored by exact match and
        reported, not judged. (templated)
    :param sample_size: how many of them.
    :param event_extra: what the event of each of the task's outlets says when the model has passed. (templated)
    """

    template_fields: Sequence[str] = (
        *VertexOperator.template_fields,
        "endpoint",
        "cases",
        "ask_cases",
        "sample_uri",
        "event_extra",
    )
    template_fields_renderers = {"cases": "json", "event_extra": "json"}

    def __init__(
        self,
        *,
        endpoint: str,
        cases: list[dict[str, Any]],
        ask_cases: bool | str = True,
        min_pass_share: float = 1.0,
        sample_uri: str | None = None,
        sample_size: int = 10,
        event_extra: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.endpoint = endpoint
        self.cases = cases
        self.ask_cases = ask_cases
        self.min_pass_share = min_pass_share
        self.sample_uri = sample_uri
        self.sample_size = sample_size
        self.event_extra = event_extra

    def execute(self, context: Context) -> dict[str, Any]:
        cases = parse_cases(self.cases) if str(self.ask_cases) == "True" else []
        sampled = self._sample()
        if not cases and not sampled:
            raise ConfigurationError("cases: found none and no sample_uri, expected something to ask the model.")
        asked, exact = self._ask_all(cases), self._ask_all(sampled)
        result = {"endpoint": self.endpoint, "cases": asked, "sample": exact}
        # Pushed before judging, because a failed task returns nothing and somebody will want to read the answers.
        context["ti"].xcom_push(key="answers", value=result)
        self._require_passed(asked["answers"])
        for asset in self.outlets:
            context["outlet_events"][asset].extra = self.event_extra or {}
        return result

    def _sample(self) -> list[SmokeCase]:
        if not self.sample_uri or self.sample_uri == "None":
            return []
        with self.storage.open_object(self.sample_uri) as file:
            return [case_of(row) for row in sample(file, self.sample_size)]

    def _ask_all(self, cases: list[SmokeCase]) -> dict[str, Any]:
        answers = [self._ask(case) for case in cases]
        passed = sum(not answer.problem for answer in answers)
        return {"passed": passed, "total": len(answers), "answers": msgspec.to_builtins(answers)}

    def _require_passed(self, answers: list[dict[str, Any]]) -> None:
        failed = [one for one in answers if one["problem"]]
        passed = len(answers) - len(failed)
        if passed < self.min_pass_share * len(answers):
            listed = "\n".join(f"  {one['prompt']!r} -> {one['answer']!r}: {one['problem']}" for one in failed)
            raise SmokeTestError(
                f"{passed} of {len(answers)} cases passed, expected a share of {self.min_pass_share:g}.\n{listed}"
            )

    def _ask(self, case: SmokeCase) -> SmokeAnswer:
        started = time.monotonic()
        response = self.hook.generate(self.endpoint, case.contents(), case.config())
        latency, answer = time.monotonic() - started, response.text or ""
        problem, usage = case.problem(answer), response.usage_metadata
        self.log.info("%r -> %r %s", case.prompt, answer, f"({problem})" if problem else "as expected")
        return SmokeAnswer(
            prompt=case.prompt[:TEXT_SHOWN],
            answer=answer[:TEXT_SHOWN],
            problem=problem[:TEXT_SHOWN],
            latency=round(latency, 3),
            tokens=(usage.total_token_count or 0) if usage else 0,
        )
