"""Airflow in a temporary home, set up before anything imports it."""

from __future__ import annotations

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

# A busy machine makes an example slow, and says nothing about the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

for name in [name for name in os.environ if name.startswith(("AIRFLOW", "GOOGLE_", "STORAGE_EMULATOR"))]:
    del os.environ[name]
os.environ |= {
    "AIRFLOW_HOME": str(AIRFLOW_HOME),
    "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT_DIR / "dags"),
    "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT_DIR / "plugins"),
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
def airflow_db() -> None:
    """Airflow's metadata database, made once."""
    subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)


@pytest.fixture(scope="session")
def project_dir() -> Path:
    """The project's folder."""
    return PROJECT_DIR
