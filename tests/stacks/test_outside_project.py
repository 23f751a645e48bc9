"""The wheels in a folder outside of the project: from `vertex-tuning init` to a model in use.

What the project's folder has is not on the path; the libraries are those of this environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.emulator import classification_rows
from tests.support.google_cloud import LOCATION, connection
from tests.support.processes import free_port
from tests.support.waiting import wait_until
from tests.support.wheels import install_wheels

DAG_FILE = '''\
"""Retraining DAGs for Airflow: one for each file of include/tunings."""

from vertex_tuning.dags import housekeeping_dag, orphaned_jobs_dag, retraining_dags, rollback_dags

globals().update(retraining_dags(__file__) | rollback_dags(__file__))
globals().update(orphaned_jobs_dag(__file__) | housekeeping_dag(__file__))
'''

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed wheels."""
    return install_wheels(tmp_path_factory.mktemp("installed"))


class Outside:
    """A folder with a DAG file and data, and an Airflow of its own.

    :param folder: an empty one
    :param site: the installed wheels
    """

    def __init__(self, folder: Path, site: Path) -> None:
        self.folder, self.site = folder, site
        self.environment = {
            "PATH": f"{site / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(site),
            "HOME": str(folder),
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__VERTEX_TUNING__DEPLOYMENT": "outside",
            "AIRFLOW__VERTEX_TUNING__POLL_INTERVAL": "0.2",
            "AIRFLOW_VAR_VERTEX_TUNING_LOCATION": LOCATION,
            "AIRFLOW_VAR_VERTEX_TUNING_BUCKET": "outside",
        }

    def run(self, *command: str) -> str:
        """Run a command of the installed packages.

        :returns: its standard output
        """
        script = self.site / "bin" / command[0]
        program = [sys.executable, str(script)] if script.exists() else [sys.executable, "-m", command[0]]
        done = subprocess.run(
            [*program, *command[1:]], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=500
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
        return done.stdout

    @contextmanager
    def google_cloud(self) -> Iterator[str]:
        """Start the local Google Cloud by its command, and set Airflow's connection to it."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = [sys.executable, str(self.site / "bin" / "gcp-emulator"), "--port", str(port)]
        with subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                wait_until(lambda: process.poll() is not None or answers(url), 60, pause=0.1)
                httpx.post(f"{url}/storage/v1/b", params={"project": "p"}, json={"name": "outside"}).raise_for_status()
                self.environment["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"] = connection(url)
                yield url
            finally:
                process.terminate()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/_internal/health").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def outside(tmp_path: Path, site: Path) -> Outside:
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "retraining.py").write_text(DAG_FILE)
    (tmp_path / "data").mkdir()
    rows = "".join(f"{json.dumps(row)}\n" for row in classification_rows(300))
    (tmp_path / "data" / "cards.jsonl").write_text(rows)
    return Outside(tmp_path, site)


def test_the_dag_file_is_the_guides_and_has_ten_lines_at_most(project_dir: Path) -> None:
    assert textwrap.indent(DAG_FILE, "    ") in (project_dir / "docs" / "package.md").read_text()
    assert len(DAG_FILE.splitlines()) <= 10
    assert all(word in DAG_FILE.lower() for word in ("airflow", "dag"))  # or Airflow would not read the file


def test_the_installed_package_makes_a_tuning_and_retrains_a_model(outside: Outside) -> None:
    where = outside.run("vertex_tuning", "--help")
    assert where.startswith("usage: vertex-tuning")
    outside.run("vertex-tuning", "init", "cards", "--data", "data/cards.jsonl")
    assert outside.run("vertex-tuning", "lint") == "No mistakes in 1 tuning.\n"
    outside.run("airflow", "db", "migrate")
    with outside.google_cloud():
        outside.run("airflow", "dags", "test", "retrain_cards", "--conf", json.dumps({"epoch_count": 4}))
        shown = json.loads(outside.run("vertex-tuning", "model", "cards", "--json"))
    assert shown["model"].startswith("projects/")
    assert shown["model"].endswith("@1")
    assert "/endpoints/" in shown["endpoint"]


def test_airflow_shows_the_provider_and_its_options(outside: Outside) -> None:
    [info] = json.loads(
        outside.run("airflow", "providers", "get", "airflow-provider-vertex-tuning", "--full", "-o", "json")
    )
    assert "vertex_tuning.operators.tuning_job" in str(info["operators"])
    for kind in ("integrations", "hooks", "sensors", "triggers", "extra-links", "config"):
        assert info[kind], kind
    options = outside.run("airflow", "config", "list", "--section", "vertex_tuning", "--include-descriptions")
    for name in ("deployment", "poll_interval", "tunings_dirs", "prices"):
        assert f"{name} =" in options
    assert "Seconds between two polls of a tuning job" in options
    assert outside.run("airflow", "config", "get-value", "vertex_tuning", "poll_interval").strip() == "0.2"


def test_every_module_of_the_local_google_cloud_imports_under_its_own_name(outside: Outside) -> None:
    code = (
        "import importlib, pkgutil, sys, gcp_emulator\n"
        "for module in pkgutil.walk_packages(gcp_emulator.__path__, 'gcp_emulator.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('include', 'airflow', 'vertex_tuning')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=outside.folder, env=outside.environment, capture_output=True, text=True
    )
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_a_second_copy_in_the_plugins_folder_is_told(outside: Outside, project_dir: Path) -> None:
    outside.environment["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(project_dir / "plugins")
    (outside.folder / "dags" / "check.py").write_text(
        "# for Airflow's DAG processor\nfrom vertex_tuning.dags import check_tunings\n\ncheck_tunings(__file__)\n"
    )
    (outside.folder / "include" / "tunings").mkdir(parents=True)
    outside.run("airflow", "db", "migrate")
    code = (
        "from airflow.dag_processing.dagbag import DagBag\n"
        f"print(DagBag(dag_folder={str(outside.folder / 'dags')!r}).import_errors)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=outside.folder, env=outside.environment, capture_output=True, text=True
    )
    assert f"a second copy in {project_dir / 'plugins' / 'vertex_tuning'}" in done.stdout
    assert os.fspath(outside.site) in done.stdout
