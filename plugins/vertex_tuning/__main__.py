"""Command line of the package: `python -m vertex_tuning check TRAIN …` checks a dataset as `upload_dataset` does."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import types

REFUSED = 1
"""Exit code for a dataset that cannot be used; argparse ends with 2 for a wrong command line."""


def main() -> int:
    """Run one command.

    :returns: the exit code: 0, or `REFUSED`
    """
    arguments = _parser().parse_args()
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
    return REFUSED if result.error else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vertex_tuning", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check", help="check a local dataset", epilog="Exit codes: 0 right, 1 refused, 2 wrong command line."
    )
    check.add_argument("train", metavar="TRAIN", help="training data: JSON lines or CSV, plain or gzipped")
    check.add_argument("--validation", metavar="FILE", help="validation data")
    check.add_argument(
        "--columns",
        type=_columns,
        default={},
        metavar="prompt=NAME,response=NAME",
        help="columns of a CSV file, or fields of JSON objects",
    )
    check.add_argument("--task", help="kind of task, e.g. classification, for Google's recommendations")
    check.add_argument(
        "--validation-fraction", type=float, metavar="SHARE", help="share of TRAIN to set aside for validation"
    )
    check.add_argument("--report", metavar="FILE", help="write all findings to this JSON file")
    check.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


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
    found = importlib.util.find_spec("airflow")
    package = types.ModuleType("airflow")
    package.__path__ = list((found and found.submodule_search_locations) or [])
    sys.modules["airflow"] = package


if __name__ == "__main__":
    sys.exit(main())
