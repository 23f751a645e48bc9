"""Asking a person whether a new model is put into use."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from vertex_tuning.exceptions import ConfigurationError, QuestionChangedError
from vertex_tuning.operators.base import ResultReader
from vertex_tuning.plain_text import NAME_SHOWN, TEXT_SHOWN, plain
from vertex_tuning.results import SUMMARY_KEY, Decision

if TYPE_CHECKING:
    from airflow.sdk import Context
    from jinja2 import Environment

    from vertex_tuning.operators.evaluation import EvaluateModelOperator
    from vertex_tuning.operators.report import WriteReportOperator

QUESTION: Final = "question"
"""Key in the task state store: a digest of the question that Airflow shows for this task instance."""

REASON: Final = "reason"


class ApproveModelOperator(ResultReader, ApprovalOperator):
    """
    Ask a person whether the new model is put into use. Who decided what, when and why is pushed as XCom `decision`.

    Airflow keeps the first question of a task instance and shows it again after a clear, whatever it has become
    (https://github.com/apache/airflow/issues/73235). So this task fails before it asks when the question has changed.
    What follows is skipped when the person rejects, or when nobody answers in time. Further parameters as in
    :class:`~airflow.providers.standard.operators.hitl.ApprovalOperator`.

    :param summary: what the person must know, as Markdown. (templated)
    :param report_url: address of the run's report. (templated)
    """

    template_fields: Collection[str] = (*ApprovalOperator.template_fields, "summary", "report_url")
    optional_results = frozenset({"report_url"})

    def __init__(
        self, *, summary: str, report_url: str | None = None, params: ParamsDict | None = None, **kwargs: Any
    ) -> None:
        # Airflow hands over those of the DAG as well, which nobody is asked for here.
        asked = ParamsDict.filter_params_by_source(params or ParamsDict(), source="task")
        asked[REASON] = Param(
            "", description="Shown in the report.", type=["string", "null"], maxLength=TEXT_SHOWN, title="Reason"
        )
        super().__init__(params=asked, **kwargs)
        self.summary = summary
        self.report_url = report_url

    def render_template_fields(self, context: Context, jinja_env: Environment | None = None) -> None:
        super().render_template_fields(context, jinja_env)
        link = f"\n\n[The report of this run](<{self.report_url}>)" if self.report_url else ""
        self.body = f"{self.summary}{link}"

    def execute(self, context: Context) -> Any:
        """
        :raises QuestionChangedError: Airflow would show an older question than this one
        """
        store, digest = context["task_state_store"], _digest(self.subject, self.body or "")
        if store.get(QUESTION, digest) != digest:
            raise QuestionChangedError(
                "The evaluation has changed since a person was first asked in this run, and Airflow would show the "
                "first question again. Nobody was asked. Start a new run; if data and settings are the same, with "
                "*Train even if nothing has changed*."
            )
        # Kept before the question is asked: a crash in between must not let another one be shown.
        store.set(QUESTION, digest, retention=NEVER_EXPIRE)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        if "error" not in event:
            decision = self._decision(event)
            # Said and kept before what follows is skipped: that wakes the tasks which tell how the run ended.
            self.log.info("%s%s", decision, f" Reason given: {decision.reason}" if decision.reason else "")
            context["ti"].xcom_push(key=decision.xcom_keys[0], value=decision.as_xcom())
        return super().execute_complete(context, event)

    def _decision(self, event: dict[str, Any]) -> Decision:
        user, at = event["responded_by_user"], event["responded_at"]
        approved = self.APPROVE in event["chosen_options"]
        return Decision(
            # At the deadline Airflow answers itself, in nobody's name.
            answer=("approved" if approved else "rejected") if user else "undecided",
            by=plain(user["name"] or user["id"], NAME_SHOWN) if user else "",
            at=at.isoformat() if isinstance(at, datetime) else str(at),
            reason=plain(str((event["params_input"] or {}).get(REASON) or "").strip(), TEXT_SHOWN),
            within=in_words(self.response_timeout) if self.response_timeout is not None else "",
        )


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def in_words(time: timedelta) -> str:
    """A length of time in the largest unit that it is a whole number of: `72 hours`, `90 minutes`, `1 second`."""
    seconds = round(time.total_seconds())
    size, unit = next(
        (size, unit) for size, unit in ((3600, "hour"), (60, "minute"), (1, "second")) if not seconds % size
    )
    return f"{seconds // size:,} {unit}{'' if seconds == size else 's'}"


def approval_task(
    *,
    evaluation: EvaluateModelOperator,
    deadline: timedelta,
    report: WriteReportOperator | None = None,
    task_id: str = "approve_model",
    **arguments: Any,
) -> ApproveModelOperator:
    """A task that waits, without a worker, until somebody approves of the new model in Airflow's UI.

    When a person rejects it, or the deadline passes, the promotion is skipped.

    :param evaluation: the task whose verdict the person reads
    :param deadline: for the answer, from when the question is asked
    :param report: a task that has written the report by then; the question links to it
    :param arguments: further ones of :class:`~vertex_tuning.operators.approval.ApproveModelOperator`
    :raises ConfigurationError: the deadline is over before the question is asked
    """
    if deadline <= timedelta(0):
        raise ConfigurationError(f"deadline: found {deadline}, expected more than no time.")
    return ApproveModelOperator(
        task_id=task_id,
        subject=f"Put the new model into use? Without an answer within {_hours(deadline)}, nothing is changed.",
        summary=evaluation.output[SUMMARY_KEY],
        report_url=report.output["report_url"] if report else None,
        response_timeout=deadline,
        # Without a default the task would fail at the deadline, and ask again with each of its retries.
        defaults=ApproveModelOperator.REJECT,
        **arguments,
    )


def _hours(deadline: timedelta) -> str:
    hours = deadline / timedelta(hours=1)
    return f"{hours:,.4g} hour{'' if hours == 1 else 's'}"
