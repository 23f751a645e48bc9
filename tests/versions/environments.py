"""A clean environment with the built wheels, for one version of Airflow and of Python."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from tests.support.paths import PROJECT_DIR

UV: Final = str(PROJECT_DIR / ".venv" / "bin" / "uv")
CONSTRAINTS: Final = "https://raw.githubusercontent.com/apache/airflow/constraints-{airflow}/constraints-{python}.txt"
EXTRAS: Final = ("evaluation", "openlineage", "smtp")
NOT_FOR_TESTS: Final = r"ruff|mypy|types-|import-linter|playwright|mkdocs|apache-airflow-providers-|-r "
"""Lines of requirements-dev.txt that no test outside of tests/stacks needs, or that the extras of the wheel bring."""
OF_THE_TESTS: Final = r"httpx|rich|psutil|cryptography"
"""Lines of requirements.txt that only tests and the demo need."""


class InstallError(Exception):
    """The versions do not go together, or cannot be had."""


@dataclass(frozen=True)
class Versions:
    """A row of the table.

    :param airflow: version of Airflow
    :param python: version of Python, e.g. `3.11`
    :param lowest: whether all other packages have the lowest version that the wheels allow
    """

    airflow: str
    python: str
    lowest: bool = False

    @property
    def name(self) -> str:
        return f"airflow-{self.airflow}-python-{self.python}{'-lowest' if self.lowest else ''}"


def create(versions: Versions, folder: Path, wheels: list[Path]) -> str:
    """Create the environment.

    :param folder: its place
    :param wheels: the built wheels
    :returns: where the versions of the other packages come from
    :raises InstallError: the environment cannot be made; with the reason
    """
    _uv("venv", "--quiet", "--seed", "--no-python-downloads", "--python", versions.python, str(folder))
    python = str(folder / "bin" / "python")
    constraints, source = _constraints(versions, folder)
    package, emulator = sorted(map(str, wheels))  # airflow_… and vertex_…
    install = ["pip", "install", "--quiet", "--system-certs", "--prerelease=if-necessary-or-explicit"]
    wanted = [f"{package}[{','.join(EXTRAS)}]", emulator, f"apache-airflow=={versions.airflow}", *_tools()]
    _uv(*install, "--python", python, *constraints, *wanted)
    return source


def _tools() -> list[str]:
    """What the tests need themselves, in the versions of the project's environment."""
    lines = (PROJECT_DIR / "requirements-dev.txt").read_text().splitlines()
    tools = [line for line in lines if line and not re.match(rf"#|{NOT_FOR_TESTS}", line)]
    lines = (PROJECT_DIR / "requirements.txt").read_text().splitlines()
    return [*tools, *(line for line in lines if re.match(OF_THE_TESTS, line))]


def _constraints(versions: Versions, folder: Path) -> tuple[list[str], str]:
    """Arguments of `uv pip install`, and where the versions come from."""
    if versions.lowest:
        return ["--constraints", str(_lowest(versions, folder / "lowest.txt"))], "the lowest that are allowed"
    url = CONSTRAINTS.format(airflow=versions.airflow, python=versions.python)
    path = folder / "constraints.txt"
    try:
        path.write_bytes(httpx.get(url, timeout=20).raise_for_status().content)
    except httpx.HTTPError:
        return [], "the newest: Airflow's constraints cannot be reached"
    return ["--constraints", str(path)], "Airflow's constraints"


def _lowest(versions: Versions, path: Path) -> Path:
    """The lowest versions of the packages that the wheels name, and versions of the others that go with them."""
    airflow = path.with_name("airflow.txt")
    airflow.write_text(f"apache-airflow=={versions.airflow}\n")
    projects = [str(PROJECT_DIR / "pyproject.toml"), str(PROJECT_DIR / "include" / "gcp_emulator" / "pyproject.toml")]
    extras = [word for extra in EXTRAS for word in ("--extra", extra)]
    options = ["--quiet", "--system-certs", "--resolution", "lowest-direct", "--python-version", versions.python]
    _uv("pip", "compile", *options, *extras, "--constraints", str(airflow), "--output-file", str(path), *projects)
    names = {_name(line) for line in requirements()}
    kept = [line for line in path.read_text().splitlines() if line.startswith("#") or _name(line) in names]
    path.write_text("\n".join(kept) + "\n")
    return path


def requirements() -> list[str]:
    """Every requirement of the wheels, extras included."""
    found: list[str] = []
    for project in (PROJECT_DIR, PROJECT_DIR / "include" / "gcp_emulator"):
        content = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        found += content["dependencies"]
        for extra in content.get("optional-dependencies", {}).values():
            found += extra
    return found


def _name(requirement: str) -> str:
    return re.split(r"[\[<>=!~; ]", requirement.strip(), maxsplit=1)[0].lower()


def _uv(*arguments: str) -> None:
    done = subprocess.run([UV, *arguments], capture_output=True, text=True, env=os.environ, check=False)
    if done.returncode:
        raise InstallError(done.stderr.strip() or f"uv ended with {done.returncode}")
