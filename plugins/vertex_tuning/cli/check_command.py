"""`vertex-tuning check`: check a dataset as `upload_dataset` does."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_check_command(commands: Commands) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser("check", help="check a local dataset", description="Check a local dataset.")
    parser.add_argument("train", metavar="TRAIN", help="training data: JSON lines or CSV, plain or gzipped")
    parser.add_argument("--validation", metavar="FILE", help="validation data")
    add_columns(parser)
    parser.add_argument("--task", help="kind of task, e.g. classification, for Google's recommendations")
    parser.add_argument(
        "--validation-fraction", type=float, metavar="SHARE", help="share of TRAIN to set aside for validation"
    )
    parser.add_argument("--report", metavar="FILE", help="write all findings to this JSON file")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.set_defaults(run=_check)


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the columns of the data."""
    parser.add_argument(
        "--columns",
        type=_columns,
        default={},
        metavar="prompt=NAME,response=NAME",
        help="columns of a CSV file, or fields of JSON objects",
    )


def _check(arguments: argparse.Namespace) -> int:
    _import_airflow_unstarted()
    # Imported here: the package's errors inherit Airflow's, which must not start Airflow.
    from vertex_tuning.dataset_check import check_dataset

    result = check_dataset(
        arguments.train,
        validation=arguments.validation,
        columns=arguments.columns,
        task=arguments.task,
        validation_fraction=arguments.validation_fraction,
        report=arguments.report,
    )
    if arguments.json:
        print(json.dumps(result.as_json()))
    else:
        print(result.text(), file=sys.stderr if result.error else sys.stdout)
    return 1 if result.error else 0


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
