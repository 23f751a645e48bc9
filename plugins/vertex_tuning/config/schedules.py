"""When a tuning runs: its fields and their checks. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Final

import pendulum
from croniter import CroniterBadDateError, croniter
from pydantic import model_validator

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.schema import Model, checked, refuse
from vertex_tuning.text.suggestions import nearest

FIELDS: Final = 5

_NAMES: Final = re.compile(r"(?i)mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec")
_RANDOM: Final = re.compile(r"(?i)[rh]")
"""Letters for random times: croniter draws new times for `R` in each parse, so the schedule would change constantly."""

_SUBSCRIPTION: Final = re.compile(r"projects/[a-z0-9][a-z0-9.:-]*/subscriptions/[A-Za-z][\w.~+%-]{2,254}", re.ASCII)
"""https://docs.cloud.google.com/pubsub/docs/pubsub-basics#resource_names"""


def check_cron(expression: str) -> str:
    """Return a cron expression that defines a fixed schedule.

    :param expression: five cron fields, e.g. `0 6 * * 1`
    :raises ConfigurationError: the expression is invalid, is random, or never matches a date
    """
    if len(expression.split()) != FIELDS or not croniter.is_valid(expression):
        raise ConfigurationError("expected five cron fields, e.g. '0 6 * * 1'.")
    if _RANDOM.search(_NAMES.sub("", expression)):
        raise ConfigurationError("expected a fixed time: R and H are drawn at random.")
    try:
        croniter(expression, datetime.now(UTC)).get_next()
    except CroniterBadDateError as error:
        raise ConfigurationError("expected a date that exists.") from error
    return expression


def check_timezone(name: str) -> str:
    """Return the name of an IANA time zone.

    :param name: e.g. `Europe/Berlin`
    :raises ConfigurationError: no time zone has this name; the message suggests a similar name
    """
    if name not in (zones := pendulum.timezones()):
        suggestion = nearest(name, zones) or "Europe/Berlin"
        raise ConfigurationError(f"expected an IANA time zone, e.g. {suggestion!r}.")
    return name


def check_subscription(name: str) -> str:
    """Return the full name of a Pub/Sub subscription.

    :raises ConfigurationError: the name has another form
    """
    if not _SUBSCRIPTION.fullmatch(name):
        raise ConfigurationError("expected projects/PROJECT/subscriptions/NAME.")
    return name


class WatchedSubscription(Model):
    """A Pub/Sub subscription whose messages start the retraining.

    :param subscription: `projects/PROJECT/subscriptions/NAME`, which only this Airflow reads; see the guide to data
        that arrives
    """

    subscription: Annotated[str, checked(check_subscription)]


class Schedule(Model):
    """When the retraining runs: at fixed times, when data arrives, or both. Empty: by hand or by an asset event alone.

    :param cron: five cron fields; if not set, there are no fixed times
    :param timezone: IANA time zone of the cron expression
    :param watch: start the retraining also when new data arrives
    :param only_with_new_data: run at the fixed times only, and only if the asset of the dataset was updated since the
        data of the last evaluated model
    """

    cron: Annotated[str, checked(check_cron)] | None = None
    timezone: Annotated[str, checked(check_timezone)] = "UTC"
    watch: WatchedSubscription | None = None
    only_with_new_data: bool = False

    @model_validator(mode="after")
    def _has_times_where_needed(self) -> Schedule:
        refuse(self._mistakes())
        return self

    def _mistakes(self) -> Iterable[str]:
        if self.cron is None:
            for field in self.model_fields_set & {"timezone", "only_with_new_data"}:
                if value := getattr(self, field):
                    yield f"schedule.{field}: found {value!r}, expected schedule.cron as well."
