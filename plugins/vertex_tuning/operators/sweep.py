"""Compare several settings in one run: list the candidates, and select the best of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from airflow.sdk.exceptions import AirflowSkipException

from vertex_tuning.config.hyper_parameters import Candidate, HyperParameters, Sweep
from vertex_tuning.evaluation.tables import text_table
from vertex_tuning.exceptions import SweepError
from vertex_tuning.metrics.series import LOWER_IS_BETTER, VALIDATION_LOSS, headline
from vertex_tuning.operators.base import ResultReader, task_states
from vertex_tuning.operators.report import ERROR
from vertex_tuning.results import (
    MAPPED_ROLES,
    RETURN_VALUE,
    CandidateResult,
    CandidateState,
    MetricsResult,
    Role,
    SelectionResult,
)
from vertex_tuning.text.plain_text import plain
from vertex_tuning.text.templates import parse_rendered

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg


class PlanCandidatesOperator(ResultReader):
    """List the candidates of a sweep: the settings of each tuning job.

    Each setting is a value or a list of values, or a template that renders to one of these as JSON.

    :param epoch_count: passes over the training data; if not set, the number of epochs that the dataset recommends.
        (templated)
    :param learning_rate_multiplier: factor on the recommended learning rate. (templated)
    :param adapter_size: 1, 2, 4, 8, 16 or 32. (templated)
    :param sweep: how they are combined, and how many there may be.
    """

    template_fields: Sequence[str] = ("epoch_count", "learning_rate_multiplier", "adapter_size")

    def __init__(
        self,
        *,
        epoch_count: Sequence[int | str] | int | str | None = None,
        learning_rate_multiplier: Sequence[float | str] | float | str = 1.0,
        adapter_size: Sequence[int | str] | int | str = 4,
        sweep: Sweep | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", False)  # it returns a list
        super().__init__(**kwargs)
        self.epoch_count = epoch_count
        self.learning_rate_multiplier = learning_rate_multiplier
        self.adapter_size = adapter_size
        self.sweep = sweep or Sweep()

    def execute(self, context: Context) -> list[Candidate]:
        given = {name: _parsed(name, getattr(self, name)) for name in self.template_fields}
        candidates = self.sweep.candidates(HyperParameters(**given))
        names = list(self.template_fields)
        rows = [[number, *(candidate[name] for name in names)] for number, candidate in enumerate(candidates, 1)]
        self.log.info("%d candidates:\n%s", len(candidates), text_table(["candidate", *names], rows))
        return candidates


class SelectCandidateOperator(ResultReader):
    """Select the best candidate of a sweep by a value that the service measured on validation data.

    Candidates that failed, or whose value is not known, cannot be selected. Of equal candidates, the first wins. The
    result has the metrics of the best candidate, and `candidates`, also those that failed. XCom `selection` has the
    candidates even if the task fails. The task is skipped if all candidates were skipped.

    Use it with the trigger rule `all_done`, because a candidate may fail.

    :param candidates: result of a `PlanCandidatesOperator`. (templated)
    :param select_by: name of the value, e.g. `eval_total_loss.last`; the lowest loss or the highest share wins.
    :param min_candidates: number of candidates that must succeed.
    :param tasks: ids of the mapped tasks by :class:`~vertex_tuning.results.Role`: those that create, wait and collect.
    """

    template_fields: Sequence[str] = ("candidates",)
    template_fields_renderers = {"candidates": "json"}

    def __init__(
        self,
        *,
        candidates: Sequence[Candidate] | XComArg | str,
        select_by: str,
        min_candidates: int = 1,
        tasks: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("multiple_outputs", True)
        super().__init__(**kwargs)
        self.candidates = candidates
        self.select_by = select_by
        self.min_candidates = min_candidates
        self.tasks = {role: (tasks or {}).get(role, role.task_id) for role in MAPPED_ROLES}

    @property
    def output(self) -> Any:
        """The result, as an argument of other tasks: `select.output["endpoint"]`."""
        return super().output

    def execute(self, context: Context) -> dict[str, Any]:
        planned = parse_rendered("candidates", self.candidates, list[dict[str, Any]], "a list of settings") or []
        states = task_states(context)
        if not planned and states.get(self.tasks[Role.CREATE]) == "skipped":
            raise AirflowSkipException("No candidate was planned, because the run was skipped before.")
        collected = {index: self._collected(context, index) for index in range(len(planned))}
        found = [
            self._candidate(context, index, settings, collected[index], states)
            for index, settings in enumerate(planned)
        ]
        self._log(found)
        best = self._best(found)
        metrics = collected[best.index] if best else None
        result = SelectionResult(
            **(msgspec.structs.asdict(metrics) if metrics else msgspec.structs.asdict(NO_METRICS)),
            select_by=self.select_by,
            selected=best.index if best else None,
            candidates=found,
            headline=headline(metrics.metrics) if metrics else {},
        )
        context["ti"].xcom_push(key=SelectionResult.xcom_keys[0], value=result.as_xcom())
        self._require_enough(found)
        return result.as_xcom()

    def _collected(self, context: Context, index: int) -> MetricsResult | None:
        """The metrics of a candidate; None if it has none."""
        found = self._pull(context, Role.METRICS, RETURN_VALUE, index)
        return msgspec.convert(found, MetricsResult) if isinstance(found, dict) else None

    def _pull(self, context: Context, role: Role, key: str, index: int) -> Any:
        return context["ti"].xcom_pull(task_ids=self.tasks[role], key=key, map_indexes=index)

    def _candidate(
        self,
        context: Context,
        index: int,
        settings: Candidate,
        metrics: MetricsResult | None,
        states: Mapping[str, str | None],
    ) -> CandidateResult:
        state, error = self._end(context, index, states)
        value = metrics.values.get(self.select_by) if metrics else None
        if value is not None and not math.isfinite(value):
            value = None
        if state == "succeeded" and value is None:
            error = f"{self.select_by} is not known, so this candidate cannot be selected."
        loss = metrics.metrics.get(VALIDATION_LOSS) if metrics else None
        return CandidateResult(
            index=index,
            settings=settings,
            state=state,
            value=value,
            error=plain(error),
            job_name=self._job_name(context, index),
            curve=[(int(step), point) for step, point in loss.curve if point is not None] if loss else [],
            billed_tokens=metrics.billed_tokens if metrics else None,
        )

    def _job_name(self, context: Context, index: int) -> str:
        """The job of a candidate: the last one, if others failed before it; empty if none was created."""
        left = (self._pull(context, role, RETURN_VALUE, index) for role in (Role.WAIT, Role.CREATE))
        return next((str(job.get("name", "")) for job in left if isinstance(job, dict)), "")

    def _end(self, context: Context, index: int, states: Mapping[str, str | None]) -> tuple[CandidateState, str]:
        """How the tasks of a candidate ended, and the error of a failed task."""
        for role in MAPPED_ROLES:
            task_id = self.tasks[role]
            state = states.get(f"{task_id}_{index}", states.get(task_id))
            if state == "skipped":
                return "skipped", ""
            if state != "success":
                error = self._pull(context, role, ERROR, index) if state == "failed" else None
                return "failed", str(error or f"{task_id} is {state or 'not started'}.")
        return "succeeded", ""

    def _best(self, found: Sequence[CandidateResult]) -> CandidateResult | None:
        sign = 1 if f"/{self.select_by.partition('.')[0]}" in LOWER_IS_BETTER else -1
        known = [candidate for candidate in found if candidate.state == "succeeded" and candidate.value is not None]
        return min(known, key=lambda candidate: sign * (candidate.value or 0.0), default=None)

    def _log(self, found: Sequence[CandidateResult]) -> None:
        best = self._best(found)
        names = list(HyperParameters.model_fields)
        rows = [
            [candidate.number, *(candidate.settings.get(name) for name in names), candidate.state, candidate.value]
            for candidate in found
        ]
        self.log.info("Candidates:\n%s", text_table(["candidate", *names, "state", self.select_by], rows))
        if best:
            self.log.info("Selected: candidate %d, %s is %s.", best.number, self.select_by, best.value)

    def _require_enough(self, found: Sequence[CandidateResult]) -> None:
        """Check that enough candidates succeeded.

        :raises AirflowSkipException: all candidates were skipped
        :raises SweepError: too few candidates succeeded
        """
        skipped = [candidate for candidate in found if candidate.state == "skipped"]
        if found and len(skipped) == len(found):
            raise AirflowSkipException("All candidates were skipped. The log of each says why.")
        usable = [candidate for candidate in found if candidate.state == "succeeded" and candidate.value is not None]
        needed = max(1, min(self.min_candidates, len(found) - len(skipped)))
        if len(usable) < needed:
            failed = [f"Candidate {candidate.number}: {candidate.error}" for candidate in found if candidate.error]
            enough = f"found {len(usable)} of {len(found)} candidates with {self.select_by}, expected at least {needed}"
            raise SweepError("\n".join([f"min_candidates: {enough}. No model was put into use.", *failed]))


NO_METRICS: Final = MetricsResult(
    metrics={}, epochs=[], checkpoints=[], overfitting=None, best_checkpoint=None, values={}, warnings=[]
)
"""Metrics of a sweep without a best candidate."""


def _parsed(name: str, value: Any) -> Any:
    """A setting as a template gives it: a value, or a list of values.

    :raises ConfigurationError: it is neither
    """
    kind = float if name == "learning_rate_multiplier" else int
    listed = value if isinstance(value, list | tuple) else [value]
    expected = "a number, or a list of numbers"
    found: list[Any] = []
    for part in listed:
        parsed = parse_rendered(name, part, kind | list[kind], expected)  # type: ignore[valid-type]
        found += parsed if isinstance(parsed, list) else [parsed]
    is_list = len(found) != 1 or any(isinstance(part, str) and part.strip().startswith("[") for part in listed)
    return found if is_list else found[0]
