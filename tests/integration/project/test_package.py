"""The wheels: what is in them, what they require, and the files around them."""

from __future__ import annotations

import ast
import configparser
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from importlib.metadata import packages_distributions
from typing import Any

import pytest
import yaml

from tests.support.paths import PROJECT_DIR
from tests.support.wheels import build_wheels

EMULATOR_DIR = PROJECT_DIR / "include" / "gcp_emulator"
SOURCES = {"package": PROJECT_DIR / "plugins" / "vertex_tuning", "emulator": EMULATOR_DIR}
PROJECTS = {"package": PROJECT_DIR, "emulator": EMULATOR_DIR}
OWN = {"vertex_tuning", "include"}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, zipfile.ZipFile]:
    package, emulator = build_wheels(tmp_path_factory.mktemp("dist"))
    return {"package": zipfile.ZipFile(package), "emulator": zipfile.ZipFile(emulator)}


def about(wheel: zipfile.ZipFile, name: str) -> str:
    [path] = [path for path in wheel.namelist() if path.endswith(f".dist-info/{name}")]
    return wheel.read(path).decode()


def project(kind: str) -> dict[str, Any]:
    content: dict[str, Any] = tomllib.loads((PROJECTS[kind] / "pyproject.toml").read_text())["project"]
    return content


@pytest.mark.parametrize(("kind", "inside"), [("package", "vertex_tuning"), ("emulator", "gcp_emulator")])
def test_a_wheel_has_every_file_of_its_folder_and_nothing_else(
    wheels: dict[str, zipfile.ZipFile], kind: str, inside: str
) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."],
        cwd=SOURCES[kind], capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    wanted = {f"{inside}/{path}" for path in listed if path not in ("pyproject.toml", "README.md", "LICENSE")}
    assert {path for path in wheels[kind].namelist() if ".dist-info/" not in path} == wanted


@pytest.mark.parametrize("kind", PROJECTS)
def test_a_wheel_has_the_licence(wheels: dict[str, zipfile.ZipFile], kind: str) -> None:
    metadata = Parser().parsestr(about(wheels[kind], "METADATA"))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Apache License" in about(wheels[kind], "licenses/LICENSE")
    assert (PROJECTS[kind] / "LICENSE").read_bytes() == (PROJECT_DIR / "LICENSE").read_bytes()


def test_the_entry_points_lead_to_functions(wheels: dict[str, zipfile.ZipFile]) -> None:
    parser = configparser.ConfigParser()
    parser.read_string(about(wheels["package"], "entry_points.txt"))
    assert dict(parser["apache_airflow_provider"]) == {"provider_info": "vertex_tuning.provider:get_provider_info"}
    assert dict(parser["airflow.plugins"]) == {"vertex_tuning": "vertex_tuning.ui.airflow_plugin:TuningsPlugin"}
    assert dict(parser["console_scripts"]) == {"vertex-tuning": "vertex_tuning.__main__:main"}


NOT_ALWAYS_INSTALLED = {"openlineage": ["openlineage-python"]}
"""Distributions of an extra, by the name of their module."""


def imported(kind: str) -> Iterator[str]:
    """Names of the modules that the sources import."""
    for path in SOURCES[kind].rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", requirement)[0].lower().replace("_", "-") for requirement in requirements}


@pytest.mark.parametrize("kind", PROJECTS)
def test_every_library_that_is_imported_is_required(kind: str) -> None:
    content = project(kind)
    extras = content.get("optional-dependencies", {}).values()
    required = names([*content["dependencies"], *(requirement for extra in extras for requirement in extra)])
    distributions = packages_distributions()
    missing = set()
    for module in set(imported(kind)):
        top = module.partition(".")[0].replace("pydantic_core", "pydantic")  # a part of pydantic
        if top in sys.stdlib_module_names or top in OWN:
            continue
        providers = {
            name.lower().replace("_", "-") for name in distributions.get(top, NOT_ALWAYS_INSTALLED.get(top, []))
        }
        if not providers & required:
            missing.add(module)
    assert missing == set()


def test_the_wheel_of_the_package_is_used_with_ranges_whose_floor_is_not_above_the_projects_versions() -> None:
    pinned = dict(
        re.findall(r"(?m)^([\w-]+)(?:\[.*?\])?==(\S+)", (PROJECT_DIR / "constraints.txt").read_text().lower())
    )
    for kind in PROJECTS:
        for requirement in project(kind)["dependencies"]:
            name, _, floor = requirement.partition(">=")
            assert floor, f"{requirement}: expected a range"
            version = pinned[re.split(r"\[", name)[0].lower()]
            assert tuple(map(int, floor.split("."))) <= tuple(map(int, version.split(".")[:3])), requirement


def test_the_versions_agree_and_the_changelog_has_them() -> None:
    version = project("package")["version"]
    assert project("emulator")["version"] == version
    changelog = (PROJECT_DIR / "CHANGELOG.md").read_text()
    assert re.findall(r"(?m)^## \[([\d.]+)\] - \d{4}-\d\d-\d\d$", changelog)[0] == version
    assert f"vertex-tuning-gcp-emulator>={version}" in project("package")["optional-dependencies"]["emulator"]


def test_the_local_google_cloud_imports_itself_by_relative_names() -> None:
    assert [name for name in imported("emulator") if name.startswith("include")] == []


# The files around


def make_targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z-]+):.*##", (PROJECT_DIR / "Makefile").read_text()))


def test_the_ci_calls_targets_that_exist() -> None:
    workflow = yaml.safe_load((PROJECT_DIR / ".github" / "workflows" / "ci.yml").read_text())
    commands = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    called = {target for command in commands for target in re.findall(r"make ([a-z-]+)", command)}
    assert {"check", "test", "test-versions", "wheels"} <= called <= make_targets()
    matrix = workflow["jobs"]["versions"]["strategy"]["matrix"]["airflow"]
    from tests.versions.__main__ import AIRFLOW

    assert matrix == list(AIRFLOW)


def test_contributing_names_targets_that_exist() -> None:
    named = set(re.findall(r"`make ([a-z-]+)", (PROJECT_DIR / "CONTRIBUTING.md").read_text()))
    assert {"check", "test", "test-versions", "wheels", "constraints"} <= named <= make_targets()


def test_hooks_and_renovate_name_files_that_exist() -> None:
    hooks = yaml.safe_load((PROJECT_DIR / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {hook["id"] for hook in hooks} == {"ruff-format", "ruff-check", "lint-tunings"}
    rules = json.loads((PROJECT_DIR / "renovate.json").read_text())["packageRules"]
    assert (PROJECT_DIR / rules[-1]["matchFileNames"][0]).is_file()
