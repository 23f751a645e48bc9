"""The message about a run that takes too long, as a deadline of Airflow on the run."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import conf

from vertex_tuning.config.notify import Notification
from vertex_tuning.notifications.notice import Notice
from vertex_tuning.text.plain_text import NAME_SHOWN, moment, plain

if TYPE_CHECKING:
    from airflow.sdk.definitions.deadline import DeadlineAlert

    from vertex_tuning.config.tuning import Tuning

log = logging.getLogger(__name__)

UNENDED: Final = frozenset({"queued", "running"})


def overdue_alerts(tuning: Tuning) -> list[DeadlineAlert] | None:
    """The `deadline` of a DAG with a tuning: one for each notification with the event `overdue`; None without any.

    Airflow's scheduler finds deadlines that have passed, and an executor calls :func:`send_overdue`.
    """
    awaited = [notification for notification in tuning.notify if notification.overdue_hours is not None]
    return [_alert(tuning.name, notification) for notification in awaited] or None


def _alert(tuning: str, notification: Notification) -> DeadlineAlert:
    # Imported here: few DAGs have a deadline.
    from airflow.sdk.definitions.callback import SyncCallback
    from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=notification.overdue_hours or 0),
        # As one text: Airflow computes hashes of the values, which lists and mappings do not have.
        callback=SyncCallback(
            f"{__name__}.{send_overdue.__name__}",
            kwargs={"tuning": tuning, "notification": notification.model_dump_json()},
        ),
    )


def send_overdue(tuning: str, notification: str, context: Mapping[str, Any]) -> None:
    """Send the message about an overdue run, if it has not ended. No error is raised.

    :param notification: the notification as JSON
    :param context: what Airflow knows of a missed deadline: `dag_run` and `deadline`
    """
    # Imported here: a DAG file needs only the deadline.
    from airflow.sdk.execution_time.context import ConnectionAccessor, VariableAccessor

    from vertex_tuning.notifications.sending import send

    run = context["dag_run"]
    if run["state"] not in UNENDED:
        # Airflow keeps the deadline of a failed run.
        log.info("The run %s has ended (%s), so it is not overdue.", run["dag_run_id"], run["state"])
        return
    message = Notification.model_validate(json.loads(notification))
    stores = {
        "var": {"json": VariableAccessor(deserialize_json=True), "value": VariableAccessor(deserialize_json=False)},
        "conn": ConnectionAccessor(),
    }
    send(message, _notice(tuning, message.overdue_hours or 0, run), {**stores, **context})


def _notice(tuning: str, hours: float, run: Mapping[str, Any]) -> Notice:
    dag_id, run_id = str(run["dag_id"]), str(run["dag_run_id"])
    queued = moment(str(run.get("queued_at") or ""))
    return Notice(
        event="overdue",
        tuning=tuning,
        dag_id=dag_id,
        run_id=plain(run_id, NAME_SHOWN),
        title="Overdue",
        sentence=f"The run has not ended after {hours:g} hours. It was queued on {queued} and still goes on.",
        run_url=_run_url(dag_id, run_id),
    )


def _run_url(dag_id: str, run_id: str) -> str:
    """The page of a run in Airflow, as Airflow writes it in `ti.log_url`."""
    from urllib.parse import quote

    base: str = conf.get("api", "base_url", fallback="http://localhost:8080/")
    return f"{base.rstrip('/')}/dags/{dag_id}/runs/{quote(run_id)}"
