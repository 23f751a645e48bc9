"""Default arguments of the tasks in this project's DAGs: retries and their delay."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from airflow.sdk import conf

DEFAULT_ARGS: Final[dict[str, Any]] = {
    "retries": 3,
    "retry_delay": timedelta(seconds=conf.getfloat("vertex_tuning", "retry_delay", fallback=60.0)),
    "retry_exponential_backoff": 2,
    "max_retry_delay": timedelta(minutes=30),
}
