"""What Airflow shows of the package: it names what exists, with the defaults of the code."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import vertex_tuning
from airflow.sdk import BaseOperator, BaseOperatorLink
from vertex_tuning.installation import installed_twice
from vertex_tuning.provider import DISTRIBUTION, get_provider_info

PACKAGE = Path(vertex_tuning.__file__).parent
INFO = get_provider_info()


def test_airflow_accepts_it() -> None:
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


@pytest.mark.parametrize("kind", ["hooks", "operators", "sensors", "triggers"])
def test_every_module_that_it_names_exists(kind: str) -> None:
    for entry in INFO[kind]:
        assert entry["python-modules"]
        for module in entry["python-modules"]:
            assert importlib.import_module(module).__doc__


def test_it_names_every_module_with_a_public_operator() -> None:
    named = {module for entry in INFO["operators"] for module in entry["python-modules"]}
    public = {
        f"vertex_tuning.operators.{module}"
        for module in re.findall(r"vertex_tuning\.operators\.(\w+)", vertex_tuning.__doc__ or "")
    }
    assert named == public
    for module in named:
        classes = [kind for _, kind in inspect.getmembers(importlib.import_module(module), inspect.isclass)]
        assert any(issubclass(kind, BaseOperator) and kind.__module__ == module for kind in classes)


def test_every_link_is_one() -> None:
    for path in INFO["extra-links"]:
        module, _, name = path.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), name), BaseOperatorLink)


def test_its_options_are_those_that_the_code_reads_with_the_same_defaults() -> None:
    options = INFO["config"]["vertex_tuning"]["options"]
    reads = r"conf\.get\w*\(\s*\"vertex_tuning\",\s*\"(\w+)\"(?:,\s*fallback=([^),]+))?"
    sources = [path.read_text() for path in PACKAGE.rglob("*.py")]
    found = {name: default.strip('"') for source in sources for name, default in re.findall(reads, source)}
    found |= {path.stem: "" for path in (PACKAGE / "data").glob("*.yaml")}
    assert options.keys() == found.keys()
    for name, option in options.items():
        same = option["default"] == found[name] or float(option["default"]) == float(found[name])
        assert same, name


def test_it_imports_nothing_of_airflow_which_reads_it_while_it_starts() -> None:
    code = "import sys, vertex_tuning.provider; print([name for name in sys.modules if name.startswith('airflow')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# Installed as a wheel and as a folder


def installed_wheel(folder: Path) -> Path:
    """A folder that looks like site-packages with the wheel."""
    about = folder / f"{DISTRIBUTION.replace('-', '_')}-1.0.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {DISTRIBUTION}\nVersion: 1.0.0\n")
    (folder / "vertex_tuning").mkdir()
    return folder


def test_one_installation_is_none_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed_twice() == ""
    monkeypatch.syspath_prepend(installed_wheel(tmp_path / "site"))
    monkeypatch.setenv("AIRFLOW__CORE__PLUGINS_FOLDER", str(tmp_path / "plugins"))
    assert installed_twice() == ""


def test_a_wheel_beside_the_folder_is_told_with_both_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed_wheel(tmp_path / "site"))
    folder = tmp_path / "plugins" / "vertex_tuning"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    monkeypatch.setenv("AIRFLOW__CORE__PLUGINS_FOLDER", str(folder.parent))
    message = installed_twice()
    assert f"in {tmp_path / 'site' / 'vertex_tuning'} and a second copy in {folder}" in message
    assert f"Airflow runs {PACKAGE}" in message
