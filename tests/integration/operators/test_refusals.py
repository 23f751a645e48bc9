"""What a refusal leaves in a task's log, which Airflow writes for whatever ends a task."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

# As a task's process: Airflow sets the log up, its runner makes the logger, the operator refuses, the runner tells.
TASK = """
import sys
sys.path.insert(0, "plugins")
import structlog
from airflow.sdk.log import configure_logging
configure_logging(json_output=True, output=sys.stdout.buffer)
runner = structlog.get_logger("task")
runner.info("started")
from vertex_tuning import exceptions
from vertex_tuning.operators.smoke_test import SmokeTestOperator
operator = SmokeTestOperator(task_id="smoke", endpoint="e", cases=[])
try:
    operator.refuse(exceptions.ModelRefusedError("Refused: 61 %, model in use 96 %."))
except exceptions.ModelRefusedError:
    runner.exception("Task failed with exception")
for error in {errors}:
    try:
        raise error
    except Exception:
        runner.exception("Task failed with exception")
"""

ERRORS = {
    "exceptions.SmokeTestError('Refused: 1 of 6')": True,
    "exceptions.ChampionError('two models')": False,
    "ValueError('a bug')": False,
}
"""Whether an error is a refusal."""


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """What such a process writes, one after the other for each of the errors."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_VERSION"}
    program = TASK.format(errors=f"[{', '.join(ERRORS)}]")
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return [
        line for line in found if line["event"] in ("started", "Task failed with exception") or "Refused" in str(line)
    ]


def frames(line: dict[str, Any]) -> list[Any]:
    """The traceback of a line."""
    [error] = line["exception"]
    found: list[Any] = error["frames"]
    return found


def test_a_refusal_is_told_first_and_without_traceback(lines: list[dict[str, Any]]) -> None:
    started, refused, failed, *_ = lines
    assert started["event"] == "started"
    assert (refused["event"], refused["level"]) == ("Refused: 61 %, model in use 96 %.", "warning")
    assert frames(failed) == []
    assert "Refused: 61 %" in str(failed["exception"])


@pytest.mark.parametrize("error", ERRORS)
def test_other_errors_keep_theirs(lines: list[dict[str, Any]], error: str) -> None:
    line = lines[3:][list(ERRORS).index(error)]
    assert (frames(line) == []) is ERRORS[error]
    assert len(lines) == 3 + len(ERRORS)
