"""`make demo`: one retraining from start to end, watched and summed up in the terminal."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import Any, Final

import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from include.local.airflow_api import ENDED, AirflowApi
from include.local.job_view import JobView, JobWatcher
from include.local.outcome import exit_code, failures, save_report
from include.local.stack import PROJECT_DIR, USER, Stack, StackError
from include.local.summary import print_failures, print_next, print_summary

SAMPLE: Final = "support_triage"
DAG_ID: Final = f"retrain_{SAMPLE}"
PARSE_SECONDS: Final = 60
MARKS: Final = {"success": "[green]✓", "failed": "[red]✗", "upstream_failed": "[red]-", "deferred": "[cyan]…"}


def run_demo(stack: Stack, tuning: str, console: Console) -> int:
    """Start a run, follow it and print its results.

    :param stack: a stack that runs
    :param tuning: name of the tuning
    :returns: the exit code, see :func:`~include.local.outcome.exit_code`
    """
    with contextlib.closing(AirflowApi(stack.airflow_url, USER, stack.secrets["password"])) as api:
        return _run(stack, api, tuning, console)


def _run(stack: Stack, api: AirflowApi, tuning: str, console: Console) -> int:
    dag_id = f"retrain_{tuning}"
    _wait_for_dag(stack, api, dag_id)
    api.unpause(dag_id)
    # Without `force`, a second demo with the same data would be skipped (`skip_if_unchanged`) and show nothing.
    run_id = api.trigger(dag_id, {"force": True})
    console.print(f"Started run [bold]{run_id}[/] of {dag_id}.")
    started = time.monotonic()
    _follow(stack, api, dag_id, run_id, console)
    console.print(f"The pipeline took {time.monotonic() - started:.0f} s.\n")
    print_summary(api, dag_id, run_id, console)
    failed = failures(stack, api, dag_id, run_id)
    print_failures(failed, console)
    own = tuning != SAMPLE
    print_next(
        console,
        run_url=f"{stack.airflow_url}/dags/{dag_id}/runs/{run_id}",
        report=save_report(stack, api, dag_id, run_id),
        tuning=stack.tunings.path(tuning) if own else PROJECT_DIR / "include" / "tunings" / f"{tuning}.yaml",
        has_schedule=not own or bool(stack.tunings.cron(tuning)),
    )
    return exit_code(api.result(dag_id, run_id, "write_report"), failed)


def _wait_for_dag(stack: Stack, api: AirflowApi, dag_id: str) -> None:
    """Wait until Airflow has parsed the DAG since this start: it also knows the DAG of an earlier start.

    :raises StackError: the DAG did not appear
    """
    processor = stack.process("dag-processor")
    started = datetime.fromtimestamp(processor.create_time() if processor else time.time(), UTC)
    deadline = time.monotonic() + PARSE_SECONDS
    while not api.is_parsed(dag_id, since=started):
        if time.monotonic() > deadline:
            problems = "\n".join(api.import_errors()) or "Airflow names no import error."
            raise StackError(f"The DAG {dag_id} did not appear within {PARSE_SECONDS} s.\n{problems}")
        stack.require_running()
        time.sleep(0.5)


def _follow(stack: Stack, api: AirflowApi, dag_id: str, run_id: str, console: Console) -> None:
    """Print every change until the run has ended."""
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
            state = api.state(dag_id, run_id)
            _report_changes(api.tasks(dag_id, run_id), seen, console)
            watcher = watcher or _watcher(stack, api, dag_id, run_id)
            if watcher:
                _update(progress, bar, watcher, seen)
            if state in ENDED:
                return
            time.sleep(0.5)


def _report_changes(tasks: dict[str, dict[str, Any]], seen: dict[str, str], console: Console) -> None:
    for task_id, task in sorted(tasks.items(), key=lambda item: item[1]["start_date"] or "~"):
        state = task["state"] or "none"
        if seen.get(task_id) != state and state not in ("none", "scheduled", "queued"):
            seen[task_id] = state
            console.print(f"  {MARKS.get(state, '[white]·')}[/] {task_id:<20} {state}")


def _watcher(stack: Stack, api: AirflowApi, dag_id: str, run_id: str) -> JobWatcher | None:
    job = api.result(dag_id, run_id, "create_tuning_job")
    return JobWatcher(stack.emulator_url, job["name"]) if job else None


def _update(progress: Progress, bar: Any, watcher: JobWatcher, seen: dict[str, str]) -> None:
    """Move the bar. Without a terminal, print a line for each new state and epoch instead."""
    with contextlib.suppress(httpx.HTTPError):
        view = watcher.read()
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
