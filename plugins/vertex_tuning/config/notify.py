"""The field `notify` of a tuning: which notifier sends a message at which event."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.schema import FieldPath, Model, checked, field_name
from vertex_tuning.text.template_syntax import check_template

Event = Literal["promoted", "refused", "undecided", "failed", "approval_waiting", "overdue", "budget", "retiring"]

AFTER_THE_RUN: Final[frozenset[Event]] = frozenset({"promoted", "refused", "undecided", "failed", "budget", "retiring"})
"""Events that are known when a run has ended."""

MIN_OVERDUE_HOURS: Final = 0.01
MAX_OVERDUE_HOURS: Final = 24 * 365

_CLASS_PATH: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)


def _class_path(path: str) -> None:
    if not _CLASS_PATH.fullmatch(path):
        raise ConfigurationError(
            "expected the dotted path of a notifier class, e.g. airflow.providers.smtp.notifications.smtp.SmtpNotifier."
        )


class Notification(Model):
    """A message about a run, and the events at which it is sent.

    :param on: `promoted`, `refused`, `undecided` and `failed` say how a run ended. `budget`: the budget of 30 days had
        no room for it. `approval_waiting`: a person must decide. `overdue`: the run has not ended after
        `overdue_hours`. `retiring`: Google retires the base model of the tuning or of the model in use soon
    :param notifier: dotted path of an Airflow notifier class
    :param arguments: arguments of the class; texts may be templates, in which `notification` has the ready-made message
    :param overdue_hours: hours from the queueing of a run; required for `overdue`
    """

    on: list[Event] = Field(min_length=1)
    notifier: Annotated[str, checked(_class_path)]
    arguments: dict[str, Any] = Field(default_factory=dict)
    overdue_hours: float | None = Field(default=None, ge=MIN_OVERDUE_HOURS, le=MAX_OVERDUE_HOURS)


def notify_mistakes(notify: Iterable[Notification]) -> Iterator[str]:
    """Mistakes that are seen without the class of a notifier. No value is quoted: it may be a password."""
    for index, notification in enumerate(notify):
        yield from _overdue_mistakes(notification, f"notify[{index}]")
        yield from _template_mistakes(notification.arguments, ("notify", index, "arguments"))


def _overdue_mistakes(notification: Notification, field: str) -> Iterator[str]:
    hours, is_awaited = notification.overdue_hours, "overdue" in notification.on
    if is_awaited and hours is None:
        yield f"{field}.overdue_hours: found nothing, expected the hours after which a run is overdue."
    if hours is not None and not is_awaited:
        yield f"{field}.overdue_hours: found {hours:g}, expected 'overdue' in {field}.on."


def _template_mistakes(value: Any, path: FieldPath) -> Iterator[str]:
    if isinstance(value, str):
        try:
            check_template(value)
        except ConfigurationError as error:
            yield f"{field_name(path)}: {error}"
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _template_mistakes(part, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from _template_mistakes(part, (*path, index))
