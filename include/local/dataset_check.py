"""The check of a dataset before anything is started: the package's own, run as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec


class Warned(msgspec.Struct, frozen=True):
    """A warning about a dataset."""

    message: str


class DatasetCheck(msgspec.Struct, frozen=True):
    """What `python -m vertex_tuning check --json` prints.

    :param error: why the data cannot be used; empty if it can
    :param name_columns: whether the names of the columns, or fields, may be missing
    :param report: file with all findings; None if none was written
    :param warnings: the first warnings
    :param training_rows: examples to train on
    :param validation_rows: examples to judge the model by
    :param labels: number of different responses, if they are labels; else 0
    :param cases: smoke-test cases
    """

    error: str
    name_columns: bool
    report: str | None
    warnings: list[Warned]
    training_rows: int
    validation_rows: int
    labels: int
    cases: list[dict[str, Any]]


def check_dataset(
    project: Path,
    training: Path,
    *,
    validation: Path | None,
    columns: Mapping[str, str],
    task: str | None,
    validation_fraction: float | None,
    report: Path,
) -> DatasetCheck:
    """Check a dataset.

    :param project: the project's folder
    :raises subprocess.CalledProcessError: the check itself failed
    """
    options = {
        "validation": validation,
        "columns": ",".join(f"{column}={name}" for column, name in columns.items()),
        "task": task,
        "validation-fraction": validation_fraction,
        "report": report,
    }
    arguments = [f"--{name}={value}" for name, value in options.items() if value]
    path = os.pathsep.join(filter(None, [str(project / "plugins"), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "vertex_tuning", "check", "--json", *arguments, "--", os.fspath(training)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        check=False,
    )
    if not done.stdout:
        done.check_returncode()
    return msgspec.json.decode(done.stdout, type=DatasetCheck)
