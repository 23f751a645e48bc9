"""Command line: `python -m include.local demo | up | down`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from include.local.demo import TUNING, run_demo
from include.local.stack import PRIVATE_UMASK, PROJECT_DIR, USER, Stack, StackError, running


def main() -> int:
    """Run one command.

    :returns: the exit code; 1 when it did not work out
    """
    arguments = _parser().parse_args()
    os.umask(PRIVATE_UMASK)
    console = Console() if sys.stdout.isatty() else Console(width=int(os.environ.get("COLUMNS") or 120))
    try:
        return _COMMANDS[arguments.command](arguments, console)
    except StackError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m include.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="retrain a model from start to end")
    demo.add_argument("--dataset", type=Path, help="training data of your own, JSONL")
    demo.add_argument("--validation", type=Path, help="validation data of your own, JSONL")
    commands.add_parser("up", help="start everything and leave it running")
    commands.add_parser("down", help="stop what `up` started")
    return parser


def _stack(*datasets: Path | None) -> Stack:
    return Stack(
        home=Path(os.environ.get("AIRFLOW_HOME") or PROJECT_DIR / ".airflow"),
        airflow_port=int(os.environ.get("AIRFLOW_PORT") or 8080),
        emulator_port=int(os.environ.get("EMULATOR_PORT") or 8085),
        dataset_dirs=tuple({path.resolve().parent for path in datasets if path}),
    )


def _demo(arguments: argparse.Namespace, console: Console) -> int:
    stack = _stack(arguments.dataset, arguments.validation)
    if stack.is_running():
        raise StackError("It is running already. Stop it first: make down")
    console.print("Starting the local Google Cloud and Airflow …")
    started = time.monotonic()
    with running(stack):
        console.print(f"Started in {time.monotonic() - started:.0f} s. {_where(stack)}", highlight=False)
        return 0 if run_demo(stack, _conf(arguments), console) else 1


def _conf(arguments: argparse.Namespace) -> dict[str, Any]:
    # A demo that finds nothing to do because there was one before would show nothing.
    if not arguments.dataset:
        return {"force": True}
    return {
        "force": True,
        "training_data": str(arguments.dataset.resolve()),
        "validation_data": str(arguments.validation.resolve()) if arguments.validation else None,
        "display_name": arguments.dataset.stem[:128],
        "ask_smoke_cases": _is_about_the_same(arguments.dataset),
    }


def _is_about_the_same(dataset: Path) -> bool:
    """Whether data has the instruction the tuning's smoke test is asked with."""
    tuning = yaml.safe_load((PROJECT_DIR / "include" / "tunings" / f"{TUNING}.yaml").read_text())
    instruction = tuning["smoke_test"]["system_instruction"]
    try:
        with dataset.open("rb") as file:
            row = json.loads(file.readline())
        return bool(row["systemInstruction"]["parts"][0]["text"] == instruction)
    except (OSError, ValueError, LookupError, TypeError):
        return False  # what is wrong with the data, the run says


def _up(_: argparse.Namespace, console: Console) -> int:
    stack = _stack()
    if stack.is_running():
        raise StackError(f"It is running already. {_where(stack)} Stop it with: make down")
    console.print("Starting the local Google Cloud and Airflow …")
    try:
        stack.start()
    except BaseException:
        stack.stop()
        raise
    console.print(f"{_where(stack)}\nStop it with: make down", highlight=False, soft_wrap=True)
    return 0


def _down(_: argparse.Namespace, console: Console) -> int:
    stack = _stack()
    was_running = stack.is_running()
    stack.stop()
    console.print("Stopped." if was_running else "Nothing was running.")
    return 0


def _where(stack: Stack) -> str:
    return (
        f"Airflow: {stack.airflow_url} (user {USER}, password {stack.secrets['password']}). "
        f"Local Google Cloud: {stack.emulator_url}"
    )


_COMMANDS = {"demo": _demo, "up": _up, "down": _down}

if __name__ == "__main__":
    sys.exit(main())
