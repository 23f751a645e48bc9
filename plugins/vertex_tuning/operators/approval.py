"""Asking a person whether a new model is put into use."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict
from airflow.sdk.execution_time.context import NEVER_EXPIRE

from vertex_tuning.exceptions import QuestionChangedError
from vertex_tuning.operators.base import no_result_of
from vertex_tuning.operators.xcom_templates import pulled, required
from vertex_tuning.plain_text import NAME_SHOWN, TEXT_SHOWN, plain
from vertex_tuning.results import Decision

if TYPE_CHECKING:
    from airflow.sdk import Context

QUESTION: Final = "question"
"""Key in the task state store: a digest of the question that Airflow shows for this task instance."""

REASON: Final = "reason"


class ApproveModelOperator(ApprovalOperator):
    """
    Ask a person whether the new model is put into use. Who decided what, when and why is pushed as XCom `decision`.

    Airflow keeps the first question of a task instance and shows it again after a clear, whatever it has become
    (https://github.com/apache/airflow/issues/73235). So this task fails before it asks when the question has changed.
    What follows is skipped when the person rejects, or when nobody answers in time. Parameters as in
    :class:`~airflow.providers.standard.operators.hitl.ApprovalOperator`.
    """

    no_result_of = staticmethod(no_result_of)

    def __init__(self, *, params: ParamsDict | None = None, **kwargs: Any) -> None:
        # Airflow hands over those of the DAG as well, which nobody is asked for here.
        asked = ParamsDict.filter_params_by_source(params or ParamsDict(), source="task")
        asked[REASON] = Param(
            "", description="Shown in the report.", type=["string", "null"], maxLength=TEXT_SHOWN, title="Reason"
        )
        super().__init__(params=asked, **kwargs)

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
            within=in_words(self.response_timeout) if self.response_timeout else "",
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
    evaluated_by: str,
    deadline: timedelta,
    reported_by: str = "",
    task_id: str = "approve_model",
    **arguments: Any,
) -> ApproveModelOperator:
    """A task that waits, without a worker, until somebody approves of the new model in Airflow's UI.

    When a person rejects it, or the deadline passes, the promotion is skipped.

    :param evaluated_by: task id of the :class:`~vertex_tuning.operators.evaluation.EvaluateModelOperator`
    :param deadline: for the answer, from when the question is asked
    :param reported_by: task id of a :class:`~vertex_tuning.operators.report.WriteReportOperator` that has run by then;
        the question links to its report
    :param arguments: further ones of :class:`~vertex_tuning.operators.approval.ApproveModelOperator`
    """
    body = f"{{{{ {required(evaluated_by, 'summary')} }}}}"
    if reported_by:
        url = f"({pulled(reported_by)} or {{}}).get('report_url')"
        body += f"{{% if {url} %}}\n\n[The report of this run](<{{{{ {url} }}}}>){{% endif %}}"
    return ApproveModelOperator(
        task_id=task_id,
        subject="Put the new model into use?",
        body=body,
        response_timeout=deadline,
        # Without a default the task would fail at the deadline, and ask again with each of its retries.
        defaults=ApproveModelOperator.REJECT,
        **arguments,
    )
