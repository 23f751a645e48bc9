"""Airflow in a temporary home, set up before anything imports it."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.paths import PROJECT_DIR

AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="airflow-tests-"))

# The package comes from the plugins folder, or, in the tests of versions, from a wheel: then there is no such folder.
PLUGINS_FOLDER = PROJECT_DIR / "plugins"
found = importlib.util.find_spec("vertex_tuning")
if found and found.origin and not Path(found.origin).is_relative_to(PLUGINS_FOLDER):
    PLUGINS_FOLDER = AIRFLOW_HOME / "plugins"

# A busy machine makes an example slow, and says nothing about the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

for name in [name for name in os.environ if name.startswith(("AIRFLOW", "GOOGLE_", "STORAGE_EMULATOR"))]:
    del os.environ[name]
os.environ |= {
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_DIR / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS_FOLDER),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{AIRFLOW_HOME}/airflow.db",
    "AIRFLOW__VERTEX_TUNING__DEPLOYMENT": "tests",
    "AIRFLOW__VERTEX_TUNING__POLL_INTERVAL": "0.1",
    "AIRFLOW__VERTEX_TUNING__RETRY_DELAY": "0.1",
}


def pytest_unconfigure() -> None:
    shutil.rmtree(AIRFLOW_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def airflow_db(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Airflow's metadata database; made by one of the processes that run the tests, and copied by the others."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    own, first = AIRFLOW_HOME / "airflow.db", shared / "airflow.db"
    with (shared / "airflow.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if first.exists():
            shutil.copy(first, own)
        else:
            subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
            shutil.copy(own, first)


@pytest.fixture(scope="session")
def project_dir() -> Path:
    """The project's folder."""
    return PROJECT_DIR
