"""Command line of the package: `vertex-tuning`, or `python -m vertex_tuning`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from vertex_tuning.cli.check_command import add_check_command
from vertex_tuning.cli.costs_command import add_costs_command
from vertex_tuning.cli.history_command import add_history_command
from vertex_tuning.cli.init_command import add_init_command
from vertex_tuning.cli.lint_command import add_lint_command
from vertex_tuning.cli.model_command import add_model_command
from vertex_tuning.cli.schema_command import add_schema_command


def main(words: Sequence[str] | None = None) -> int:
    """Run one command.

    :param words: command line; that of the process if not given
    :returns: the exit code: 0, or 1 if something is wrong; argparse ends with 2 for a wrong command line
    """
    arguments = parser().parse_args(words)
    code: int = arguments.run(arguments)
    return code


def parser() -> argparse.ArgumentParser:
    """The command line of all commands."""
    parser = argparse.ArgumentParser(
        prog="vertex-tuning",
        description="Retrain Gemini models on Vertex AI from Apache Airflow.",
        epilog="Exit codes: 0 right, 1 refused or not found, 2 wrong command line.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    add_init_command(commands)
    add_check_command(commands)
    add_lint_command(commands)
    add_model_command(commands)
    add_costs_command(commands)
    add_history_command(commands)
    add_schema_command(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
