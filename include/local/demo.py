"""`make demo`: one retraining from start to end, watched and summed up in the terminal."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from include.local.airflow_api import ENDED, AirflowApi
from include.local.job_view import JobView, JobWatcher
from include.local.stack import USER, Stack, StackError
from include.local.summary import print_summary

TUNING: Final = "support_triage"
DAG_ID: Final = f"retrain_{TUNING}"
PARSE_SECONDS: Final = 60
MARKS: Final = {"success": "[green]✓", "failed": "[red]✗", "upstream_failed": "[red]-", "deferred": "[cyan]…"}


def run_demo(stack: Stack, conf: dict[str, Any], console: Console) -> bool:
    """Start a run, follow it and print what came of it.

    :param stack: running
    :param conf: form values other than the tuning's own
    :returns: whether the run succeeded
    """
    with contextlib.closing(AirflowApi(stack.airflow_url, USER, stack.secrets["password"])) as api:
        return _run(stack, api, conf, console)


def _run(stack: Stack, api: AirflowApi, conf: dict[str, Any], console: Console) -> bool:
    _wait_for_dag(api)
    api.unpause(DAG_ID)
    run_id = api.trigger(DAG_ID, conf)
    console.print(f"Started run [bold]{run_id}[/] of {DAG_ID}.")
    started = time.monotonic()
    state = _follow(stack, api, run_id, console)
    console.print(f"The pipeline took {time.monotonic() - started:.0f} s and ended as [bold]{state}[/].\n")
    if state == "success":
        print_summary(api, DAG_ID, run_id, console)
    else:
        print_failure(stack, api, run_id, console)
    _save_report(stack, api, run_id, console)
    return state == "success"


def _wait_for_dag(api: AirflowApi) -> None:
    deadline = time.monotonic() + PARSE_SECONDS
    while not api.has_dag(DAG_ID):
        if time.monotonic() > deadline:
            problems = "\n".join(api.import_errors()) or "Airflow names no import error."
            raise StackError(f"The DAG {DAG_ID} did not appear within {PARSE_SECONDS} s.\n{problems}")
        time.sleep(0.5)


def _follow(stack: Stack, api: AirflowApi, run_id: str, console: Console) -> str:
    """Report every change until the run has ended."""
    columns = (
        TextColumn("  tuning job {task.fields[state]:<9}"),
        BarColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
    )
    watcher: JobWatcher | None = None
    seen: dict[str, str] = {}
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("job", total=None, visible=False, state="", detail="")
        while True:
            stack.require_running()
            state = api.state(DAG_ID, run_id)
            _report_changes(api.tasks(DAG_ID, run_id), seen, console)
            watcher = watcher or _watcher(stack, api, run_id)
            if watcher:
                _update(progress, bar, watcher, seen)
            if state in ENDED:
                return state
            time.sleep(0.5)


def _report_changes(tasks: dict[str, dict[str, Any]], seen: dict[str, str], console: Console) -> None:
    for task_id, task in sorted(tasks.items(), key=lambda item: item[1]["start_date"] or "~"):
        state = task["state"] or "none"
        if seen.get(task_id) != state and state not in ("none", "scheduled", "queued"):
            seen[task_id] = state
            console.print(f"  {MARKS.get(state, '[white]·')}[/] {task_id:<20} {state}")


def _watcher(stack: Stack, api: AirflowApi, run_id: str) -> JobWatcher | None:
    job = api.result(DAG_ID, run_id, "create_tuning_job")
    return JobWatcher(stack.emulator_url, job["name"]) if job else None


def _update(progress: Progress, bar: Any, watcher: JobWatcher, seen: dict[str, str]) -> None:
    """Move the bar; where nobody sees a bar, print a line for each new state and epoch instead."""
    with contextlib.suppress(httpx.HTTPError):
        view = watcher.look()
        progress.update(
            bar, visible=True, completed=view.step, total=view.steps or None, state=view.state, detail=_detail(view)
        )
        moment = f"{view.state} {view.epoch}"
        if not progress.console.is_terminal and seen.get("job") != moment:
            seen["job"] = moment
            progress.console.print(f"    tuning job {view.state} {_detail(view)}")


def _detail(view: JobView) -> str:
    if not view.step:
        return ""
    loss = f", loss {view.loss:.3f}" if view.loss is not None else ""
    return f"step {view.step}/{view.steps}, epoch {view.epoch}/{view.epochs}{loss}"


def print_failure(stack: Stack, api: AirflowApi, run_id: str, console: Console) -> None:
    """Which tasks of a run failed, each with its error and where its log lies."""
    for task_id, task in api.tasks(DAG_ID, run_id).items():
        if task["state"] == "failed":
            attempt = f"attempt={task['try_number']}.log"
            log = stack.logs / f"dag_id={DAG_ID}" / f"run_id={run_id}" / f"task_id={task_id}" / attempt
            console.print(f"[red bold]{task_id} failed:[/]")
            console.print(last_error(log), markup=False, highlight=False)
            console.print(f"Its log: {log}", highlight=False, soft_wrap=True)


def _save_report(stack: Stack, api: AirflowApi, run_id: str, console: Console) -> None:
    """Keep the run's report where it can be read when all this has been stopped."""
    written = api.result(DAG_ID, run_id, "write_report") or {}
    if uri := written.get("report_uri"):
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        page = httpx.get(
            f"{stack.emulator_url}/storage/v1/b/{bucket}/o/{quote(name, safe='')}", params={"alt": "media"}
        )
        path = stack.home / "report.html"
        path.write_bytes(page.raise_for_status().content)
        console.print(f"Report of the run: {path}", highlight=False, soft_wrap=True)


def last_error(log: Path) -> str:
    """The exception that ended the task, from its log of one JSON object a line."""
    for line in reversed(log.read_text(errors="replace").splitlines()):
        with contextlib.suppress(ValueError, KeyError, IndexError, TypeError):
            error = json.loads(line)["error_detail"][0]
            return f"{error['exc_type']}: {error['exc_value']}"
    return "It left no error in its log."
