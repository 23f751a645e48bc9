"""Send a message by the notifier that a tuning names, so that no notifier can disturb a run."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk.exceptions import AirflowTaskTimeout

from vertex_tuning.config.notifiers import create_notifier
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.text.plain_text import MESSAGE_SHOWN, plain, without_secrets

if TYPE_CHECKING:
    from airflow.sdk import BaseNotifier, Context

    from vertex_tuning.config.notify import Notification
    from vertex_tuning.notifications.notice import Notice

log = logging.getLogger(__name__)

SENT: Final = "sent"
"""Key in the task state store: the messages that the task instance has sent."""

SECONDS: Final = 60
"""Time for one message: longer than the time limit of a connection, which is 30 s by default for SMTP."""


def send_once(notification: Notification, notice: Notice, context: Context) -> str:
    """Send a message that the task instance has not sent before, also in an earlier attempt or before a clear.

    :returns: why the message was not sent; empty if it was sent, now or before
    """
    from airflow.sdk.execution_time.context import NEVER_EXPIRE

    store, key = context["task_state_store"], _identity(notification, notice)
    found = store.get(SENT)
    sent = found if isinstance(found, list) else []
    if key in sent:
        log.info("%s: sent before by %s.", notice.event, notification.notifier)
        return ""
    problem = send(notification, notice, context)
    if not problem:
        store.set(SENT, [*sent, key], retention=NEVER_EXPIRE)
    return problem


def _identity(notification: Notification, notice: Notice) -> str:
    """A hash by which messages are the same. Another outcome, or other arguments, make another message."""
    news = (notice.event, notice.title, notice.sentence, notification.notifier)
    return hashlib.sha256("\0".join([*news, notification.model_dump_json()]).encode()).hexdigest()[:32]


def send(notification: Notification, notice: Notice, context: Mapping[str, Any]) -> str:
    """Send a message. No error of the notifier is raised, and it is stopped after `SECONDS`.

    :param context: Airflow's context, for the templates of the arguments
    :returns: why the message was not sent; empty if it was sent
    """
    # Imported here: it belongs to the process of a task.
    from airflow.sdk.execution_time.timeout import timeout

    try:
        notifier = create_notifier(notification)
        with timeout(SECONDS, f"{notification.notifier} took longer than {SECONDS} s"):
            _call(notifier, {**context, "notification": notice})
    except ConfigurationError as error:
        problem = str(error)
    except (Exception, AirflowTaskTimeout, SystemExit) as error:  # noqa: BLE001 - a notifier may raise any error
        problem = f"{type(error).__name__}: {error}"
    else:
        log.info("%s: sent %r by %s.", notice.event, notice.subject, notification.notifier)
        return ""
    problem = plain(without_secrets(f"{notice.event}: not sent by {notification.notifier}: {problem}"), MESSAGE_SHOWN)
    log.warning("%s", problem)
    return problem


def _call(notifier: BaseNotifier, context: dict[str, Any]) -> None:
    """Call a notifier as Airflow does, and raise its error.

    Airflow's own call logs the error before it raises it, also a password or a token in it.
    """
    notify, errors = notifier.notify, list[Exception]()

    def quiet(context: Context) -> None:
        try:
            notify(context)
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)

    notifier.notify = quiet  # type: ignore[method-assign]
    notifier(context)
    if errors:
        raise errors[0]
