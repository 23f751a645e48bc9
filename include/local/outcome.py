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
"""Verdicts of `write_report` that a person need not act on; `skipped`: the model exists already."""

REFUSALS: Final = frozenset({"ModelRefusedError", "SmokeTestError", "ChampionError"})
"""Errors of tasks that could not put the model into use, for what it is."""


@dataclass(frozen=True)
class Failure:
    """A task that failed.

    :param error: class and message; see :func:`last_error`
    :param log: where its log lies
    """

    task_id: str
    error: str
    log: Path

    @property
    def is_refusal(self) -> bool:
        """Whether it says something of the model, and not that the run broke."""
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
    return "It left no error in its log."


def exit_code(report: Mapping[str, Any] | None, failed: Sequence[Failure]) -> int:
    """What the demo's process ends with.

    :param report: result of `write_report`, if there is one
    :param failed: the run's tasks that failed
    :returns: 0 when the model was promoted or exists already, `REFUSED` when it was refused or could not be decided
        on, `BROKEN` when the run broke
    """
    if failed:
        return REFUSED if all(failure.is_refusal for failure in failed) else BROKEN
    verdict = (report or {}).get("verdict", "failed")
    if verdict in GOOD:
        return 0
    return BROKEN if verdict == "failed" else REFUSED


def save_report(stack: Stack, api: AirflowApi, dag_id: str, run_id: str) -> Path | None:
    """Keep the run's report where it can be read when all this has been stopped."""
    uri = (api.result(dag_id, run_id, "write_report") or {}).get("report_uri")
    if not uri:
        return None
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    page = httpx.get(f"{stack.emulator_url}/storage/v1/b/{bucket}/o/{quote(name, safe='')}", params={"alt": "media"})
    path = stack.home / "report.html"
    path.write_bytes(page.raise_for_status().content)
    return path
