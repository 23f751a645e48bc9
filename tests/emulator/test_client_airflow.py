"""Google's own Airflow operator for tuning, unmodified but for its minute between polls."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from airflow.providers.google.cloud.operators.gen_ai import GenAISupervisedFineTuningTrainOperator
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.emulator.jobs import TRAIN

pytestmark = [
    pytest.mark.usefixtures("datasets"),
    pytest.mark.filterwarnings("ignore:The SDK's tuning implementation is experimental"),
]


class TaskInstance:
    """Takes what an operator pushes."""

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def service_account_key(url: str) -> str:
    """A key file that fetches its tokens from the emulator."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "my-project",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": "tuner@my-project.iam.gserviceaccount.com",
            "token_uri": f"{url}/token",
        }
    )


@pytest.fixture
def connection(emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"project": "my-project", "keyfile_dict": service_account_key(emulator)}
    value = json.dumps({"conn_type": "google_cloud_platform", "extra": extra})
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", value)
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", emulator)
    pause = time.sleep
    monkeypatch.setattr("airflow.providers.google.cloud.hooks.gen_ai.time.sleep", lambda _: pause(0.05))


@pytest.mark.usefixtures("connection")
def test_supervised_fine_tuning() -> None:
    tune = GenAISupervisedFineTuningTrainOperator(
        task_id="tune",
        project_id="my-project",
        location="us-central1",
        source_model="gemini-2.5-flash",
        training_dataset={"gcs_uri": TRAIN},
        tuning_job_config={"tuned_model_display_name": "by Airflow", "epoch_count": 2},
    )
    instance = TaskInstance()
    result = tune.execute({"ti": instance})  # type: ignore[typeddict-item]
    assert "/models/" in result["tuned_model_name"]
    assert "/endpoints/" in result["tuned_model_endpoint_name"]
    assert instance.pushed == result
