"""How a run of the demo ended."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx

from include.local.airflow_api import AirflowApi
from include.local.stack import Stack

BROKEN: Final = 1
REFUSED: Final = 3

GOOD: Final = frozenset({"promoted", "first", "passed", "skipped"})
"""Verdicts of `write_report` that need no action. `skipped`: the model exists already."""

REFUSALS: Final = frozenset({"ModelRefusedError", "SmokeTestError", "ChampionError"})
"""Errors that say that the model is not good enough, or could not be judged."""


@dataclass(frozen=True)
class Failure:
    """A task that failed.

    :param error: class and message; see :func:`last_error`
    :param log: path of its log
    """

    task_id: str
    error: str
    log: Path

    @property
    def is_refusal(self) -> bool:
        """Whether the model was refused. Otherwise the run broke."""
        return self.error.partition(":")[0] in REFUSALS


def failures(stack: Stack, api: AirflowApi, dag_id: str, run_id: str) -> list[Failure]:
    """The tasks of a run that failed."""
    tasks = api.tasks(dag_id, run_id)
    return [
        _failure(stack.logs / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}", task_id, task)
        for task_id, task in tasks.items()
        if task["state"] == "failed"
    ]


def _failure(folder: Path, task_id: str, task: Mapping[str, Any]) -> Failure:
    log = folder / f"attempt={task['try_number']}.log"
    return Failure(task_id, last_error(log), log)


def last_error(log: Path) -> str:
    """Class and message of the exception that ended a task, from its log of one JSON object a line."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    for line in reversed(lines):
        with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
            error = json.loads(line)["error_detail"][0]
            return f"{error['exc_type']}: {error['exc_value']}"
    return "Its log has no error."


def exit_code(report: Mapping[str, Any] | None, failed: Sequence[Failure]) -> int:
    """The exit code of the demo.

    :param report: result of `write_report`; None if it has none
    :param failed: the tasks that failed
    :returns: 0 if the model was promoted or exists already. `REFUSED` if it was refused or not judged, or if the sample
        cannot tell (undecided). `BROKEN` if the run broke
    """
    if failed:
        return REFUSED if all(failure.is_refusal for failure in failed) else BROKEN
    verdict = (report or {}).get("verdict", "failed")
    if verdict in GOOD:
        return 0
    return BROKEN if verdict == "failed" else REFUSED


def save_report(stack: Stack, api: AirflowApi, dag_id: str, run_id: str) -> Path | None:
    """Save the run's report where it can be read after the stack has stopped."""
    uri = (api.result(dag_id, run_id, "write_report") or {}).get("report_uri")
    if not uri:
        return None
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    page = httpx.get(f"{stack.emulator_url}/storage/v1/b/{bucket}/o/{quote(name, safe='')}", params={"alt": "media"})
    path = stack.home / "report.html"
    path.write_bytes(page.raise_for_status().content)
    return path
