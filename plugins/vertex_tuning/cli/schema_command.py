"""`vertex-tuning schema`: print the JSON Schema of a tuning file."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vertex_tuning.cli.check_command import Commands


def add_schema_command(commands: Commands) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "schema",
        help="print the JSON Schema of a tuning file",
        description="Print the JSON Schema of a tuning file, for editors that complete and check YAML.",
    )
    parser.set_defaults(run=_print_schema)


def _print_schema(_: argparse.Namespace) -> int:
    from vertex_tuning.config.tuning_schema import schema_text

    print(schema_text(), end="")
    return 0
