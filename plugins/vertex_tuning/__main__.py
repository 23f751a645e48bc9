"""Command line of the package: `python -m vertex_tuning check TRAIN …` checks a dataset as `upload_dataset` does."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from vertex_tuning.cli.check_command import add_check_command


def main(words: Sequence[str] | None = None) -> int:
    """Run one command.

    :param words: command line; that of the process if not given
    :returns: the exit code: 0, or 1 if something is wrong; argparse ends with 2 for a wrong command line
    """
    parser = argparse.ArgumentParser(prog="python -m vertex_tuning", description=__doc__)
    add_check_command(parser.add_subparsers(metavar="COMMAND", required=True))
    arguments = parser.parse_args(words)
    code: int = arguments.run(arguments)
    return code


if __name__ == "__main__":
    sys.exit(main())
