"""Log a refusal without its traceback: a refused model is a result, for which the place in the code is irrelevant."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from vertex_tuning.exceptions import ModelRefusedError, SmokeTestError


def log_refusals_without_traceback() -> None:
    """Remove the traceback from the log of this process when a task ends with a refusal.

    Airflow's task runner logs each error of a task with its traceback, and has no option against that (3.3.2). The line
    `Task failed with exception` and the class and message of the error stay.
    """
    processors = structlog.get_config()["processors"]
    if without_traceback not in processors:
        processors.insert(0, without_traceback)


def without_traceback(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Remove the traceback of a refusal, as a structlog processor."""
    found = event.get("exc_info")
    error = sys.exc_info()[1] if found is True else found[1] if isinstance(found, tuple) else found
    if isinstance(error, ModelRefusedError | SmokeTestError):
        event["exc_info"] = (type(error), error, None)
    return event
