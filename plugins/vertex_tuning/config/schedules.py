"""When a tuning runs by itself. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

import pendulum
from croniter import CroniterBadDateError, croniter

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.suggestions import nearest

FIELDS: Final = 5

_NAMES: Final = re.compile(r"(?i)mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec")
_RANDOM: Final = re.compile(r"(?i)[rh]")
"""croniter draws `R` anew with each parse of the DAG file, so that the DAG would never keep a schedule."""


def check_cron(expression: str) -> str:
    """
    :raises ConfigurationError: the expression is no cron expression, is random, or names a date that never comes
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
    """
    :raises ConfigurationError: there is no such time zone
    """
    if name not in (zones := pendulum.timezones()):
        near = nearest(name, zones)
        raise ConfigurationError(f"expected an IANA time zone, e.g. {near or 'Europe/Berlin'!r}.")
    return name
