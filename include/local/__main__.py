"""Command line: `python -m include.local demo | up | down`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import httpx
from rich.console import Console

from include.local.demo import SAMPLE, run_demo
from include.local.own_data import OwnData, write_tuning
from include.local.stack import MAX_PORT, PRIVATE_UMASK, PROJECT_DIR, USER, Stack, StackError, running


def main() -> int:
    """Run one command.

    :returns: the exit code: 0; 1 if an input is wrong or the run broke; 3 if the model was refused or not judged, or
        if the sample cannot tell
    """
    arguments = _parser().parse_args()
    os.umask(PRIVATE_UMASK)
    console = Console() if sys.stdout.isatty() else Console(width=int(os.environ.get("COLUMNS") or 120))
    try:
        return _COMMANDS[arguments.command](arguments, console)
    except StackError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    except httpx.HTTPError as error:
        console.print(f"Airflow or the local Google Cloud did not respond: {error!r}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m include.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="retrain a model from start to end")
    demo.add_argument("--dataset", type=Path, help="training data: JSON lines or CSV")
    demo.add_argument(
        "--validation", type=Path, help="validation data; some of the training data is held out if not set"
    )
    demo.add_argument("--prompt", help="name of the column or field that is the prompt")
    demo.add_argument("--response", help="name of the column or field that is the response")
    demo.add_argument("--task", help="kind of task, e.g. classification")
    demo.add_argument("--name", help="name of the tuning; made from the file name if not set")
    commands.add_parser("up", help="start everything and leave it running")
    commands.add_parser("down", help="stop what `up` started")
    return parser


def _stack() -> Stack:
    return Stack(
        home=Path(os.environ.get("AIRFLOW_HOME") or PROJECT_DIR / ".airflow"),
        airflow_port=_port("AIRFLOW_PORT", 8080),
        emulator_port=_port("EMULATOR_PORT", 8085),
    )


def _port(variable: str, default: int) -> int:
    port = os.environ.get(variable) or str(default)
    if not (port.isascii() and port.isdigit() and 0 < int(port) <= MAX_PORT):
        raise StackError(f"{variable}: found {port!r}, expected a number from 1 to {MAX_PORT}.")
    return int(port)


def _demo(arguments: argparse.Namespace, console: Console) -> int:
    stack = _stack()
    if stack.is_running():
        raise StackError("It is running already. Stop it first: make down")
    stack.require_free_ports()
    tuning = _tuning(arguments, stack, console)
    console.print("Starting the local Google Cloud and Airflow …")
    started = time.monotonic()
    with running(stack):
        console.print(
            f"Started in {time.monotonic() - started:.0f} s. {_where(stack)}", highlight=False, soft_wrap=True
        )
        return run_demo(stack, tuning, console)


def _tuning(arguments: argparse.Namespace, stack: Stack, console: Console) -> str:
    """The name of the tuning: the sample's, or that of the user's data."""
    options = {name: value for name, value in vars(arguments).items() if name != "command" and value is not None}
    if not options:
        return SAMPLE
    if "dataset" not in options:
        raise StackError(f"{next(iter(options)).upper()}: found without DATASET, expected both. Name it: DATASET=…")
    return write_tuning(OwnData(**options), stack, console)


def _up(_: argparse.Namespace, console: Console) -> int:
    stack = _stack()
    if stack.is_running():
        stack.require_running()
        console.print(
            f"It is running already. {_where(stack)}\nStop it with: make down", highlight=False, soft_wrap=True
        )
        return 0
    stack.require_free_ports()
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
