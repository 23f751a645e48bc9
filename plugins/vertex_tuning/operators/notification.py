"""Send messages to people: at the end of a run, and when a person must decide."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk import BaseNotifier

from vertex_tuning.deployment import deployment_id
from vertex_tuning.exceptions import ConfigurationError, NotifierError, TuningError
from vertex_tuning.notifications.sending import send_once
from vertex_tuning.operators.base import VertexOperator
from vertex_tuning.registry.aliases import BASE_MODEL_LABEL, CHAMPION
from vertex_tuning.results import RECORD_KEY
from vertex_tuning.text.templates import rendered

if TYPE_CHECKING:
    from airflow.sdk import Context

    from vertex_tuning.config.notify import Notification
    from vertex_tuning.history.run_record import RunRecord

log = logging.getLogger(__name__)


class NotifyOperator(VertexOperator):
    """Send the messages about the end of a run. Use it as a teardown after the task that writes the report.

    A message is sent once: a retry or a cleared run that ends in the same way does not send it again. A message that
    cannot be sent fails this task after the others are sent, and as a teardown, it does not fail the run.

    :param notify: the messages, see :class:`~vertex_tuning.config.notify.Notification`.
    :param record: the record of the run, from the task that writes the report. (templated)
    :param tuning: name of the tuning. (templated)
    :param base_model: base model of the tuning. (templated)
    :param champion_alias: alias of the model in use. (templated)
    :param notices_folder: `gs://…` folder that keeps which retirement of a base model was announced, so that it is
        announced once; if not set, each run announces it. (templated)
    """

    template_fields: Sequence[str] = (
        *VertexOperator.template_fields,
        "record",
        "tuning",
        "base_model",
        "champion_alias",
        "notices_folder",
    )
    optional_results = frozenset({"record"})

    def __init__(
        self,
        *,
        notify: Sequence[Notification],
        record: Any,
        tuning: str,
        base_model: str = "",
        champion_alias: str = CHAMPION,
        notices_folder: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.notify = list(notify)
        self.record = record
        self.tuning = tuning
        self.base_model = base_model
        self.champion_alias = champion_alias
        self.notices_folder = notices_folder

    def execute(self, context: Context) -> None:
        """Send the messages.

        :raises NotifierError: a message was not sent; the others were
        """
        from vertex_tuning.notifications.notice_builder import end_events, run_notice

        record = _record(self.record)
        problems = [
            send_once(notification, run_notice(record, event), context)
            for notification in self.notify
            if (event := next((event for event in end_events(record) if event in notification.on), None))
        ]
        problems += self._announce_retirements(record, context)
        if unsent := list(filter(None, problems)):
            raise NotifierError("\n".join(unsent))

    def _announce_retirements(self, record: RunRecord, context: Context) -> list[str]:
        """Send each announcement that no earlier run has sent.

        :returns: why messages were not sent
        """
        from vertex_tuning.notifications.notice_builder import retirement_notice

        wanted = [notification for notification in self.notify if "retiring" in notification.on]
        problems: list[str] = []
        for note in self._retirements() if wanted else ():
            notice, marker = retirement_notice(record, note), self._marker(note)
            if marker and self.storage.find_object(marker):
                continue
            unsent = [send_once(notification, notice, context) for notification in wanted]
            if marker and not any(unsent):
                self.storage.write_object(marker, note.encode(), "text/plain; charset=utf-8")
            problems += unsent
        return problems

    def _retirements(self) -> list[str]:
        """Notes about base models that Google retires soon: that of the tuning and that of the model in use."""
        from vertex_tuning.config.base_models import retirement_note

        models = [rendered(self.base_model), self._base_in_use()]
        return list(filter(None, dict.fromkeys(retirement_note(model) for model in models if model)))

    def _base_in_use(self) -> str:
        from vertex_tuning.registry.promotion import ModelAliases

        try:
            champion = ModelAliases(self.registry, self.tuning, self.champion_alias).current().champion
        except TuningError as error:
            self.log.warning("The base model of the model in use is not known: %s", error)
            return ""
        return champion.labels.get(BASE_MODEL_LABEL, "") if champion else ""

    def _marker(self, note: str) -> str:
        """The object that says that this installation has sent a note; empty without a folder."""
        if not (folder := rendered(self.notices_folder)):
            return ""
        news = hashlib.sha256(note.encode()).hexdigest()[:32]
        return f"{str(folder).rstrip('/')}/{deployment_id()}/retiring-{news}.txt"


class ApprovalNotifier(BaseNotifier):
    """Sends the messages of the event `approval_waiting`. It never raises an error, which would fail the approval.

    :param notify: the messages, see :class:`~vertex_tuning.config.notify.Notification`
    :param report_task_id: the task that wrote the report so far
    """

    def __init__(self, notify: Iterable[Notification], report_task_id: str) -> None:
        super().__init__()
        self.notifications = [notification for notification in notify if "approval_waiting" in notification.on]
        self.report_task_id = report_task_id

    def notify(self, context: Context) -> None:
        """Send the messages; a message that was sent for this request before is not sent again."""
        try:
            self._notify(context)
        except Exception as error:  # noqa: BLE001 - the approval goes on without the message
            log.warning("Nobody was notified of the approval request: %s", error)

    def _notify(self, context: Context) -> None:
        from vertex_tuning.notifications.notice_builder import run_notice

        ti: Any = context["ti"]
        left = ti.xcom_pull(key=RECORD_KEY, task_ids=self.report_task_id, map_indexes=ti.map_index)
        place = f"{ti.log_url.partition('?')[0]}/required_actions"
        notice = run_notice(_record(left), "approval_waiting", place)
        for notification in self.notifications:
            send_once(notification, notice, context)


def _record(found: Any) -> RunRecord:
    """The record of a run, as its report task left it.

    :raises ConfigurationError: it left none
    """
    from vertex_tuning.history.run_record import RunRecord

    if found is None:
        raise ConfigurationError("The report task has no record of the run; was it marked by hand? Clear it.")
    return msgspec.convert(found, RunRecord)
