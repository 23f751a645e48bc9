"""Runs the tests on every version and prints a table."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.support.paths import PROJECT_DIR
from tests.support.wheels import build_wheels
from tests.versions.environments import InstallError, Versions, create

AIRFLOW: Final = ("3.3.0", "3.3.1", "3.3.2", "3.4.0b2")
"""Every release from the lowest that the package allows, and the newest pre-release."""
PYTHON: Final = ("3.11", "3.12", "3.13", "3.14")
STABLE: Final = "3.3.2"
TESTS: Final = ("tests/unit", "tests/integration", "tests/stacks/test_outside_project.py")


def main() -> int:
    """Run the tests.

    :returns: the exit code: 1 if a version fails
    """
    arguments = _parser().parse_args()
    print("| Airflow | Python | other packages | result |\n|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="versions-") as folder:
        wheels = build_wheels(Path(folder) / "dist")
        results = [_row(versions, Path(folder), wheels, arguments.tests) for versions in _rows(arguments.airflow)]
    return 0 if all(results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.versions", description=__doc__)
    parser.add_argument("--airflow", action="append", help="only this version; may be repeated")
    parser.add_argument("tests", nargs="*", default=TESTS, help="files and folders of tests")
    return parser


def _rows(airflow: list[str] | None) -> list[Versions]:
    """Each Airflow on one Python, the stable one on each Python, and the lowest versions of everything."""
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if airflow:
        return [Versions(version, own) for version in airflow]
    pythons = [Versions(STABLE, python) for python in PYTHON if python != own]
    return [Versions(AIRFLOW[0], own, lowest=True), *(Versions(version, own) for version in AIRFLOW), *pythons]


def _row(versions: Versions, folder: Path, wheels: list[Path], tests: list[str]) -> bool:
    """Run one row's tests and print it.

    :returns: whether all passed; a version that cannot be had here is no failure
    """
    environment = folder / versions.name
    try:
        source = create(versions, environment, wheels)
    except InstallError as error:
        missing = "No interpreter found" in str(error)
        reason = "not tested: there is no such Python here" if missing else f"cannot be installed: {_first(str(error))}"
        print(f"| {versions.airflow} | {versions.python} | - | {reason} |", flush=True)
        return missing
    started = time.monotonic()
    # Without `pythonpath = plugins`: the tests import the wheels.
    pytest = ["-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider", "-o", "pythonpath=."]
    done = subprocess.run(
        [environment / "bin" / "python", *pytest, *tests], cwd=PROJECT_DIR, capture_output=True, text=True, check=False
    )
    summary = re.findall(r"\d+ (?:passed|failed|skipped|errors?)", done.stdout[-300:]) or ["failed"]
    minutes = (time.monotonic() - started) / 60
    print(
        f"| {versions.airflow} | {versions.python} | {source} | {', '.join(summary)} in {minutes:.0f} min |", flush=True
    )
    if done.returncode:
        print(f"{done.stdout[-8000:]}\n{done.stderr[-2000:]}", file=sys.stderr, flush=True)
    return not done.returncode


def _first(text: str) -> str:
    return " ".join(text.split())[:200]


if __name__ == "__main__":
    sys.exit(main())
