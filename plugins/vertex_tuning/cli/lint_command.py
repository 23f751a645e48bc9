"""`vertex-tuning lint`: find mistakes in tuning files, without a running Airflow."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vertex_tuning.cli.check_command import Commands
    from vertex_tuning.config.tuning import Tuning


def add_lint_command(commands: Commands) -> None:
    """Add the command to a parser."""
    parser = commands.add_parser(
        "lint",
        help="find mistakes in tuning files",
        description="Find mistakes in tuning files. Without FILE: in all files of include/tunings and of the folders "
        "in [vertex_tuning] tunings_dirs, and in the data files that they name. Notifier classes are imported.",
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="tuning file, or folder of tuning files")
    parser.set_defaults(run=_lint)


def _lint(arguments: argparse.Namespace) -> int:
    from vertex_tuning.config.notifiers import notifier_mistakes

    tunings, mistakes = _in_files(arguments.files) if arguments.files else _in_project(Path.cwd())
    mistakes += notifier_mistakes(tunings)
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    if not mistakes:
        print(f"No mistakes in {len(tunings)} tuning{'' if len(tunings) == 1 else 's'}.")
    return 1 if mistakes else 0


def _in_project(project: Path) -> tuple[list[Tuning], list[str]]:
    from vertex_tuning.config.loader import load_tunings
    from vertex_tuning.config.local_data import file_mistakes
    from vertex_tuning.config.tuning_folders import tuning_folders

    tunings, mistakes = load_tunings(*tuning_folders(project))
    return tunings, [*mistakes, *file_mistakes(project)]


def _in_files(paths: Iterable[Path]) -> tuple[list[Tuning], list[str]]:
    from vertex_tuning.config.loader import load_tuning, load_tunings
    from vertex_tuning.exceptions import ConfigurationError

    tunings: list[Tuning] = []
    mistakes: list[str] = []
    for path in map(Path.resolve, paths):
        if not path.exists():
            mistakes.append(f"{path}: found no such file, expected a tuning file or a folder of them.")
        elif path.is_dir():
            found, wrong = load_tunings(path)
            tunings += found
            mistakes += wrong
        else:
            try:
                tunings.append(load_tuning(path))
            except ConfigurationError as error:
                mistakes += str(error).splitlines()
    return tunings, mistakes
