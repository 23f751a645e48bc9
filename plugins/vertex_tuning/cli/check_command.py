"""`vertex-tuning check`: check a dataset as `upload_dataset` does."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from vertex_tuning.dataset_check import CheckResult, FileOpener

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

REFUSED: Final = 1
"""Exit code for a dataset that cannot be used."""
USAGE: Final = 2
"""Exit code for a wrong argument, as of argparse for a wrong command line."""


def add_check_command(commands: Commands) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "check",
        help="check a local dataset",
        description="Check a local dataset, and estimate the price of a tuning with it. Nothing is uploaded.",
        epilog="Exit codes: 0 right, 1 refused, 2 wrong command line.",
    )
    parser.add_argument(
        "train", metavar="TRAIN", help="training data: JSON lines or CSV, plain or gzipped; or a pattern"
    )
    parser.add_argument("--validation", metavar="FILE", help="validation data")
    parser.add_argument(
        "--validation-fraction", type=float, metavar="SHARE", help="share of TRAIN to set aside for validation"
    )
    add_columns(parser)
    parser.add_argument("--format", help="format of files whose rows do not show it, e.g. chat")
    parser.add_argument("--base-model", metavar="MODEL", help="model to tune, for its limits and its price")
    parser.add_argument("--task", help="kind of task, e.g. classification, for Google's recommendations")
    parser.add_argument("--epochs", type=int, metavar="N", help="epochs of the tuning; as recommended if not given")
    parser.add_argument("--convert", metavar="FILE", help="write what would be uploaded to this file")
    parser.add_argument("--report", metavar="FILE", help="write all findings to this JSON file")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.set_defaults(run=run_check)


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the columns of the data."""
    parser.add_argument(
        "--columns",
        type=_columns,
        default={},
        metavar="prompt=NAME,response=NAME",
        help="columns of a CSV file, or fields of JSON objects",
    )


def run_check(arguments: argparse.Namespace) -> int:
    """Check a dataset and print the result.

    :param arguments: parsed command line of `add_check_command`
    :returns: the exit code
    """
    _import_airflow_unstarted()
    # Imported here: the package's errors inherit Airflow's, which must not start Airflow.
    from vertex_tuning.dataset_check import check_dataset

    with _progress() as open_file:
        result = check_dataset(
            arguments.train,
            validation=arguments.validation,
            columns=arguments.columns,
            form=arguments.format,
            base_model=arguments.base_model,
            task=arguments.task,
            epochs=arguments.epochs,
            validation_fraction=arguments.validation_fraction,
            convert=arguments.convert,
            report=arguments.report,
            open_file=open_file,
        )
    if arguments.json:
        print(json.dumps(result.as_json()))
    else:
        print(result.text(), file=sys.stderr if result.error else sys.stdout)
    return _exit_code(result)


def _exit_code(result: CheckResult) -> int:
    if result.is_usage_error:
        return USAGE
    return REFUSED if result.error else 0


@contextmanager
def _progress() -> Iterator[FileOpener | None]:
    """A progress bar on the terminal; none if errors go elsewhere.

    :returns: opens a file so that the bar shows how much of it is read
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        yield lambda path: progress.open(path, "rb", description=path.name)


def _columns(text: str) -> dict[str, str]:
    """The columns by what they hold; a name may have commas and equals signs in it, but no further `,response=`.

    :raises argparse.ArgumentTypeError: the text names anything else than prompt and response
    """
    named: dict[str, str] = {}
    for part in text.replace(",response=", "\0response=").replace(",prompt=", "\0prompt=").split("\0"):
        column, _, name = part.partition("=")
        if column not in ("prompt", "response") or column in named or not name:
            raise argparse.ArgumentTypeError(f"found {text!r}, expected prompt=NAME,response=NAME")
        named[column] = name
    return named


def _import_airflow_unstarted() -> None:
    """Let the classes of Airflow's errors be imported without starting Airflow, which takes seconds."""
    if "airflow" in sys.modules:
        return
    found = importlib.util.find_spec("airflow")
    package: Any = types.ModuleType("airflow")
    package.__path__ = list((found and found.submodule_search_locations) or [])
    sys.modules["airflow"] = package
