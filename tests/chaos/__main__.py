"""Command line: `python -m tests.chaos --runs 30 --seed 7`."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import sys
from pathlib import Path

from rich.console import Console

from include.local.stack import PROJECT_DIR, Stack, StackError, running
from tests.chaos.course import SETTINGS, Course
from tests.chaos.plan import draw


def main() -> int:
    """Run the chaos.

    :returns: the exit code: 1 when a pipeline did not complete, or a job trained twice, was left running or was lost
    """
    arguments = _parser().parse_args()
    console = Console() if sys.stdout.isatty() else Console(width=int(os.environ.get("COLUMNS") or 120))
    home = Path(os.environ.get("AIRFLOW_HOME") or PROJECT_DIR / ".airflow") / "chaos"
    stack = Stack(
        home=home,
        airflow_port=int(os.environ.get("AIRFLOW_PORT") or 8080),
        emulator_port=int(os.environ.get("EMULATOR_PORT") or 8085),
        settings=SETTINGS,
        emulator_options=("--concurrent-tuning-jobs", "8", "--log-level", "warning"),
    )
    console.print(f"{arguments.runs} runs with SEED={arguments.seed}; logs: {stack.logs}", soft_wrap=True)
    try:
        return _run(stack, arguments, console)
    except StackError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return 130


def _run(stack: Stack, arguments: argparse.Namespace, console: Console) -> int:
    stack.stop()
    shutil.rmtree(stack.home, ignore_errors=True)
    with running(stack), contextlib.closing(Course(stack, console)) as course:
        report = course.run(draw(arguments.runs, arguments.seed))
    report.print(console)
    return 0 if report.passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=30, help="how many pipelines, each with one blow")
    parser.add_argument("--seed", type=int, default=random.randrange(10_000), help="repeats a course")  # noqa: S311
    return parser


if __name__ == "__main__":
    sys.exit(main())
