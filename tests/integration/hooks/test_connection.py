"""One connection serves all hooks of a task."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from vertex_tuning.operators.metrics import CollectMetricsOperator

from tests.integration.conftest import connection
from tests.integration.hooks.test_genai import keyfile
from tests.support.tasks import execute


def test_a_task_authenticates_once(done: dict[str, Any], emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads the job and its experiment, and writes to Cloud Storage."""
    key = keyfile(f"{emulator}/token")
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(emulator, is_anonymous=False, keyfile_dict=key))
    httpx.delete(f"{emulator}/_internal/requests").raise_for_status()
    execute(CollectMetricsOperator(task_id="metrics", job_name=done["name"], run_folder="gs://bucket/run"))
    requests = httpx.get(f"{emulator}/_internal/requests").json()["requests"]
    assert sum(request["path"] == "/token" for request in requests) == 1
    assert len(requests) > 5
