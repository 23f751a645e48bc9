"""Refusals in a task's log: that a model is refused is a result, and the place in the code says nothing about it."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from vertex_tuning.exceptions import ModelRefusedError, SmokeTestError


def log_refusals_without_traceback() -> None:
    """Leave the traceback out of what this process logs when a task ends with a refusal.

    Airflow's task runner logs whatever ends a task with its traceback, and has no switch for that (3.3.2). The line
    itself stays, `Task failed with exception`, and so do the error's class and message.
    """
    processors = structlog.get_config()["processors"]
    if without_traceback not in processors:
        processors.insert(0, without_traceback)


def without_traceback(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor."""
    found = event.get("exc_info")
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if isinstance(error, ModelRefusedError | SmokeTestError):
        event["exc_info"] = (type(error), error, None)
    return event
