"""`vertex-tuning model` against the local Google Cloud."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from vertex_tuning.__main__ import main
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.registry.aliases import CHAMPION

from tests.support.google_cloud import LOCATION
from tests.support.lineage import train
from tests.support.paths import PROJECT_DIR

TUNING = "shown_by_a_command"


@pytest.fixture(scope="module")
def champion(emulator: str) -> str:
    """A model in use."""
    with pytest.MonkeyPatch.context() as patch:
        from tests.support.google_cloud import connection

        patch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(emulator))
        job = train(TUNING, epoch_count=1)
        assert job.tuned_model
        RegistryHook(GoogleConnection(location=LOCATION)).merge_aliases(job.tuned_model.model, [CHAMPION])
        return job.tuned_model.model


def test_it_shows_version_endpoint_and_time(champion: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", TUNING, "--location", LOCATION]) == 0
    shown = capsys.readouterr().out
    assert f"model    {champion}\n" in shown
    assert main(["model", TUNING, "--location", LOCATION, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == champion
    assert "/endpoints/" in found["endpoint"]
    assert datetime.fromisoformat(found["created"]) <= datetime.fromisoformat(found["since"]) <= datetime.now(UTC)


def test_the_region_is_that_of_the_tunings_file(
    champion: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tunings = tmp_path / "include" / "tunings"
    tunings.mkdir(parents=True)
    sample = (PROJECT_DIR / "include" / "tunings" / "support_triage.yaml").read_text()
    (tunings / f"{TUNING}.yaml").write_text(sample)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRFLOW_VAR_VERTEX_TUNING_LOCATION", LOCATION)
    assert main(["model", TUNING, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == champion
    monkeypatch.delenv("AIRFLOW_VAR_VERTEX_TUNING_LOCATION")
    assert main(["model", TUNING]) == 1
    assert "Name the region: --location us-central1" in capsys.readouterr().err


def test_the_end_of_its_base_model_is_said(champion: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The model in use ends with its base, whatever the tuning trains now."""
    assert main(["model", TUNING, "--location", LOCATION]) == 0
    shown = capsys.readouterr()
    assert "base     gemini-2.5-flash\n" in shown.out
    assert shown.err.startswith("Warning: gemini-2.5-flash was retired on 2026-10-20")
    assert "Set base_model to gemini-3.5-flash-lite or" in shown.err
    assert main(["model", TUNING, "--location", LOCATION, "--json"]) == 0
    shown = capsys.readouterr()
    assert "A tuned model retires with its base." in json.loads(shown.out)["retirement"]


def test_no_model_in_use_is_said(champion: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "never_trained", "--location", LOCATION]) == 1
    assert capsys.readouterr().err == "never_trained: found no model in use.\n"


def test_a_connection_in_airflows_database_is_found(champion: str, airflow_db: None) -> None:
    """As on the hosts of a real Airflow, whose connections are seldom in the environment."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT_DIR / "plugins")}
    value = environment.pop("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT")
    airflow, command = ["-m", "airflow"], ["-m", "vertex_tuning", "model", TUNING, "--location", LOCATION]
    add = [*airflow, "connections", "add", "stored", "--conn-json", value]
    subprocess.run([sys.executable, *add], env=environment, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, *command, "--gcp-conn-id", "stored"], env=environment, capture_output=True, text=True
    )
    assert champion in done.stdout, done.stderr
    lost = subprocess.run(
        [sys.executable, *command, "--gcp-conn-id", "missing"], env=environment, capture_output=True, text=True
    )
    assert lost.returncode == 1
    assert "Traceback" not in lost.stderr
