"""Command line: `python -m tests.stacks.chaos --runs 30 --seed 7`.

Prints a line for each run as it ends. Exit codes: 0 when all is as it has to be, 1 when a pipeline did not complete, a
job trained twice, was lost, left running or cancelled, or the course was stopped, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil
from rich.console import Console

from include.local.stack import PROJECT_DIR, StackError, running
from tests.stacks.chaos.chaos_stack import SETTINGS, ChaosStack
from tests.stacks.chaos.course import Course
from tests.stacks.chaos.plan import draw
from tests.stacks.chaos.postgres import postgres
from tests.support.processes import left_running

SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Run the chaos.

    :returns: the exit code
    """
    arguments = _parser().parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=int(os.environ.get("COLUMNS") or 120))
    # Airflow's processes give themselves titles. Without this they overwrite the environment by which they are found.
    os.environ["SPT_NOENV"] = "1"
    home = Path(os.environ.get("AIRFLOW_HOME") or PROJECT_DIR / ".airflow") / "chaos"
    try:
        with _nothing_left(home), postgres(home) as database_url:
            return _run(_stack(home, database_url), arguments, console)
    except StackError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130


@contextlib.contextmanager
def _nothing_left(home: Path) -> Iterator[None]:
    """End, before and after a block, every process of an installation; on any way out, an impatient user's included."""
    for number in SIGNALS:
        signal.signal(number, lambda *_: sys.exit(1))
    _end_all(home)
    shutil.rmtree(home, ignore_errors=True)
    try:
        yield
    finally:
        for number in (*SIGNALS, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        _end_all(home)


def _end_all(home: Path) -> None:
    while left := left_running(home):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=10)


def _stack(home: Path, database_url: str) -> ChaosStack:
    return ChaosStack(
        home=home,
        airflow_port=int(os.environ.get("AIRFLOW_PORT") or 8080),
        emulator_port=int(os.environ.get("EMULATOR_PORT") or 8085),
        settings={**SETTINGS, "DATABASE__SQL_ALCHEMY_CONN": database_url},
        emulator_options=("--concurrent-tuning-jobs", "8", "--log-level", "warning"),
    )


def _run(stack: ChaosStack, arguments: argparse.Namespace, console: Console) -> int:
    console.print(f"{arguments.runs} runs with SEED={arguments.seed}; logs: {stack.logs}", soft_wrap=True)
    with running(stack), contextlib.closing(Course(stack, console)) as course:
        try:
            course.run(draw(arguments.runs, arguments.seed))
        finally:
            if course.cloud.is_up():
                (report := course.report()).print(console)
    return 0 if report.passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.stacks.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=30, help="how many pipelines, each with one blow")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="repeats a course")
    return parser


if __name__ == "__main__":
    sys.exit(main())
