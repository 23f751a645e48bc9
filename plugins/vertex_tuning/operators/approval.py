"""Approval of a new model by a person."""

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
from vertex_tuning.results import SUMMARY_KEY, Decision
from vertex_tuning.text.plain_text import NAME_SHOWN, TEXT_SHOWN, plain

if TYPE_CHECKING:
    from airflow.sdk import Context
    from jinja2 import Environment

    from vertex_tuning.operators.evaluation import EvaluateModelOperator
    from vertex_tuning.operators.report import WriteReportOperator

QUESTION: Final = "question"
"""Key in the task state store: hash of the request that Airflow shows for this task instance."""

REASON: Final = "reason"


class ApproveModelOperator(ResultReader, ApprovalOperator):
    """Wait until a person approves or rejects the new model. XCom `decision` says who decided what, when and why.

    Airflow keeps the first request of a task instance and shows it again after a clear, even if the text has changed
    (https://github.com/apache/airflow/issues/73235). If the text has changed, this task fails before it
    waits, and a new run is needed. The later tasks are skipped if the person rejects the model or
    does not respond in time. For further parameters see
    :class:`~airflow.providers.standard.operators.hitl.ApprovalOperator`.

    :param summary: text for the person, as Markdown. (templated)
    :param report_url: URL of the run's report. (templated)
    """

    template_fields: Collection[str] = (*ApprovalOperator.template_fields, "summary", "report_url")
    optional_results = frozenset({"report_url"})

    def __init__(
        self, *, summary: str, report_url: str | None = None, params: ParamsDict | None = None, **kwargs: Any
    ) -> None:
        # Airflow also passes the parameters of the DAG, which do not belong to this request.
        task_params = ParamsDict.filter_params_by_source(params or ParamsDict(), source="task")
        task_params[REASON] = Param(
            "", description="Shown in the report.", type=["string", "null"], maxLength=TEXT_SHOWN, title="Reason"
        )
        super().__init__(params=task_params, **kwargs)
        self.summary = summary
        self.report_url = report_url

    def render_template_fields(self, context: Context, jinja_env: Environment | None = None) -> None:
        super().render_template_fields(context, jinja_env)
        link = f"\n\n[The report of this run](<{self.report_url}>)" if self.report_url else ""
        self.body = f"{self.summary}{link}"

    def execute(self, context: Context) -> Any:
        """Show the request in Airflow's UI and wait for the decision.

        :raises QuestionChangedError: Airflow would show an older request
        """
        store, digest = context["task_state_store"], _digest(self.subject, self.body or "")
        if store.get(QUESTION, digest) != digest:
            raise QuestionChangedError(
                "The evaluation has changed since the first approval request of this run. Airflow would show the old "
                "request, so no approval was requested. Start a new run. If data and settings are the same, use "
                "*Train even if nothing has changed*."
            )
        # Stored before the request is shown: after a crash in between, Airflow must not show another request.
        store.set(QUESTION, digest, retention=NEVER_EXPIRE)
        return super().execute(context)

    def execute_complete(self, context: Context, event: dict[str, Any]) -> Any:
        if "error" not in event:
            decision = self._decision(event)
            # Logged and pushed before the later tasks are skipped: the skip starts the tasks that read the decision.
            self.log.info("%s%s", decision, f" Reason given: {decision.reason}" if decision.reason else "")
            context["ti"].xcom_push(key=decision.xcom_keys[0], value=decision.as_xcom())
        return super().execute_complete(context, event)

    def _decision(self, event: dict[str, Any]) -> Decision:
        user, at = event["responded_by_user"], event["responded_at"]
        approved = self.APPROVE in event["chosen_options"]
        return Decision(
            # At the deadline, Airflow responds itself, without a user.
            answer=("approved" if approved else "rejected") if user else "undecided",
            by=plain(user["name"] or user["id"], NAME_SHOWN) if user else "",
            at=at.isoformat() if isinstance(at, datetime) else str(at),
            reason=plain(str((event["params_input"] or {}).get(REASON) or "").strip(), TEXT_SHOWN),
            within=in_words(self.response_timeout) if self.response_timeout is not None else "",
        )


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def in_words(time: timedelta) -> str:
    """A duration in the largest unit that gives a whole number: `72 hours`, `90 minutes`, `1 second`."""
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
    """A task that waits, without a worker, until a person approves the new model in Airflow's UI.

    If the person rejects the model, or the deadline passes, the promotion is skipped.

    :param evaluation: the task whose verdict the person reads
    :param deadline: time for the decision, from the start of the request
    :param report: an earlier task that writes the report; the request links to it
    :param arguments: further arguments of :class:`~vertex_tuning.operators.approval.ApproveModelOperator`
    :raises ConfigurationError: the deadline is not positive
    """
    if deadline <= timedelta(0):
        raise ConfigurationError(f"deadline: found {deadline}, expected more than 0.")
    return ApproveModelOperator(
        task_id=task_id,
        subject=f"Put the new model into use? Without an answer within {_hours(deadline)}, nothing is changed.",
        summary=evaluation.output[SUMMARY_KEY],
        report_url=report.output["report_url"] if report else None,
        response_timeout=deadline,
        # Without a default, the task would fail at the deadline, and each retry would show a new request.
        defaults=ApproveModelOperator.REJECT,
        **arguments,
    )


def _hours(deadline: timedelta) -> str:
    hours = deadline / timedelta(hours=1)
    return f"{hours:,.4g} hour{'' if hours == 1 else 's'}"
