"""Check the schedule of a tuning: cron expression and time zone. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import pendulum
from croniter import CroniterBadDateError, croniter

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.text.suggestions import nearest

FIELDS: Final = 5

_NAMES: Final = re.compile(r"(?i)mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec")
_RANDOM: Final = re.compile(r"(?i)[rh]")
"""Letters for random times: croniter draws new times for `R` in each parse, so the schedule would change constantly."""


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
