"""The triggerer's connection gives what `GoogleBaseHook` gives, in less memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import google.auth.credentials
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from vertex_tuning.exceptions import ConnectionNotFoundError, TuningError
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.credentials import Connection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.job_reader import JobReader
from vertex_tuning.hooks.light_connection import LightConnection

from include.local.stack import PROJECT_DIR
from tests.integration.conftest import LOCATION, PROJECT, spec

CONN_ID = "compared"

PEM = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)
KEY = {
    "type": "service_account",
    "project_id": "key-project",
    "private_key_id": "1",
    "private_key": PEM,
    "client_email": "airflow@key-project.iam.gserviceaccount.com",
    "token_uri": "https://oauth2.googleapis.com/token",
}
USER = {"type": "authorized_user", "client_id": "id", "client_secret": "secret", "refresh_token": "token"}
FEDERATED = {
    "type": "external_account",
    "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/provider",
    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    "token_url": "https://sts.googleapis.com/v1/token",
    "credential_source": {"file": "/var/run/token"},
}
ACCOUNT = "tuner@other-project.iam.gserviceaccount.com"
DELEGATE = "delegate@other-project.iam.gserviceaccount.com"

USUAL: dict[str, dict[str, Any]] = {
    "key as JSON": {"keyfile_dict": json.dumps(KEY)},
    "key as an object": {"keyfile_dict": KEY},
    "key with escaped line breaks": {"keyfile_dict": json.dumps({**KEY, "private_key": PEM.replace("\n", "\\n")})},
    "key of another universe": {"keyfile_dict": json.dumps({**KEY, "universe_domain": "example.com"})},
    "key file": {"key_path": "key.json"},
    "form saved as it was": {"keyfile_dict": json.dumps(KEY), "key_path": "", "is_anonymous": False, "project": None},
    "own scopes": {"keyfile_dict": json.dumps(KEY), "scope": "https://example.com/a, https://example.com/b"},
    "anonymous": {"is_anonymous": True, "project": "project"},
    "anonymous, and an account to act as": {"is_anonymous": True, "impersonation_chain": ACCOUNT},
    "account to act as": {"keyfile_dict": json.dumps(KEY), "impersonation_chain": ACCOUNT},
    "chain in one text": {"keyfile_dict": json.dumps(KEY), "impersonation_chain": f"{DELEGATE}, {ACCOUNT}"},
    "chain as a list": {"keyfile_dict": json.dumps(KEY), "impersonation_chain": [DELEGATE, ACCOUNT]},
    "chain of one": {"keyfile_dict": json.dumps(KEY), "impersonation_chain": [ACCOUNT]},
    "chain of none": {"keyfile_dict": json.dumps(KEY), "impersonation_chain": []},
    "the machine's own": {},
    "the machine's own, and an account to act as": {"impersonation_chain": ACCOUNT, "num_retries": 3},
}
UNUSUAL: dict[str, dict[str, Any]] = {
    "quota project": {"keyfile_dict": json.dumps(KEY), "quota_project_id": "quota-project"},
    "faulty quota project": {"keyfile_dict": json.dumps(KEY), "quota_project_id": "Quota!"},
    "quota project, and an account to act as": {
        "keyfile_dict": json.dumps(KEY),
        "quota_project_id": "quota-project",
        "impersonation_chain": ACCOUNT,
    },
    "names of older Airflows": {"extra__google_cloud_platform__keyfile_dict": json.dumps(KEY)},
    "workload identity federation": {"credential_config_file": json.dumps(FEDERATED)},
    "workload identity federation as an object": {"credential_config_file": FEDERATED},
    "own identity provider": {
        "credential_config_file": FEDERATED,
        "idp_issuer_url": "https://issuer.example.com",
        "client_id": "id",
        "client_secret": "secret",
    },
    "two keys": {"keyfile_dict": json.dumps(KEY), "key_path": "key.json"},
    "key and anonymous": {"keyfile_dict": json.dumps(KEY), "is_anonymous": True},
    "key that is no JSON": {"keyfile_dict": "no JSON"},
    "key that is a list": {"keyfile_dict": "[1]"},
    "key that is empty": {"keyfile_dict": "{}"},
    "key without a private key": {"keyfile_dict": json.dumps({**KEY, "private_key": None})},
    "private key that is none": {"keyfile_dict": json.dumps({**KEY, "private_key": "none"})},
    "key without an account": {"keyfile_dict": json.dumps({"private_key": PEM})},
    "key file of the old kind": {"key_path": "key.p12"},
    "key file with another ending": {"key_path": "key.txt"},
    "key file that is missing": {"key_path": "missing.json"},
    "account that is none": {"keyfile_dict": json.dumps(KEY), "impersonation_chain": "tuner"},
}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A machine with Application Default Credentials and a key file; gives the folder."""
    (tmp_path / "key.json").write_text(json.dumps(KEY))
    (tmp_path / "user.json").write_text(json.dumps(USER))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "user.json"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "machine-project")
    return str(tmp_path)


def define(monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]) -> None:
    value = json.dumps({"conn_type": "google_cloud_platform", "extra": extra})
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", value)


def in_folder(folder: str, extra: dict[str, Any]) -> dict[str, Any]:
    return {name: f"{folder}/{value}" if name == "key_path" and value else value for name, value in extra.items()}


def state(value: object) -> object:
    """What credentials hold, as far as it can be compared."""
    if isinstance(value, google.auth.credentials.Credentials):
        return type(value), {name: state(item) for name, item in vars(value).items()}
    if isinstance(value, tuple | list):
        return [state(item) for item in value]
    return value if isinstance(value, str | int | dict | None) else type(value)


def outcome(connection: type[GoogleConnection | LightConnection], chain: str | list[str] | None = None) -> object:
    """The credentials, or the error and its message."""
    place: dict[str, Any] = {"location": LOCATION, "project_id": PROJECT, "gcp_conn_id": CONN_ID}
    try:
        return state(connection(**place, impersonation_chain=chain).get_credentials())
    except Exception as error:  # noqa: BLE001 - any of them is to be the same
        return type(error), str(error)


@pytest.mark.parametrize("extra", (USUAL | UNUSUAL).values(), ids=(USUAL | UNUSUAL).keys())
def test_credentials_and_errors_are_the_hooks(
    machine: str, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]
) -> None:
    define(monkeypatch, in_folder(machine, extra))
    assert outcome(LightConnection) == outcome(GoogleConnection)


@pytest.mark.parametrize("chain", [ACCOUNT, [DELEGATE, ACCOUNT], f"{DELEGATE},{ACCOUNT}", "tuner", []], ids=str)
@pytest.mark.parametrize("extra", ["anonymous", "the machine's own", "chain in one text", "quota project"])
def test_the_tasks_own_chain_is_used_as_by_the_hook(
    machine: str, monkeypatch: pytest.MonkeyPatch, extra: str, chain: str | list[str]
) -> None:
    define(monkeypatch, in_folder(machine, (USUAL | UNUSUAL)[extra]))
    assert outcome(LightConnection, chain) == outcome(GoogleConnection, chain)


@pytest.mark.parametrize("extra", USUAL.values(), ids=USUAL.keys())
def test_the_usual_connections_do_without_the_hook(
    machine: str, monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]
) -> None:
    define(monkeypatch, in_folder(machine, extra))
    monkeypatch.setattr(GoogleConnection, "__init__", None)
    assert LightConnection(location=LOCATION, project_id=PROJECT, gcp_conn_id=CONN_ID).get_credentials()


def test_a_machine_without_credentials_is_told_apart_from_wrong_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    define(monkeypatch, {})
    light = outcome(LightConnection)
    assert light == outcome(GoogleConnection)
    assert isinstance(light, tuple)
    assert issubclass(light[0], TuningError)


def test_a_missing_connection_is_named() -> None:
    with pytest.raises(ConnectionNotFoundError, match="'no_such_connection', which is not defined"):
        LightConnection(location=LOCATION, project_id=PROJECT, gcp_conn_id="no_such_connection")


@pytest.mark.parametrize("location", ["us-central1", "europe-west4", "us", "eu"])
@pytest.mark.parametrize("extra", [{}, {"vertex_api_endpoint": ""}, {"vertex_api_endpoint": "http://127.0.0.1:1"}])
def test_addresses_are_the_hooks(monkeypatch: pytest.MonkeyPatch, location: str, extra: dict[str, Any]) -> None:
    define(monkeypatch, extra)
    light: Connection = LightConnection(location=LOCATION, project_id=PROJECT, gcp_conn_id=CONN_ID)
    hook: Connection = GoogleConnection(location=LOCATION, project_id=PROJECT, gcp_conn_id=CONN_ID)
    assert light.endpoint(location) == hook.endpoint(location)
    assert light.project == hook.project == PROJECT


def test_a_job_is_read_with_a_service_accounts_token(
    hook: VertexTuningHook, emulator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = hook.create_tuning_job(spec(epoch_count=1), {})
    key = json.dumps({**KEY, "token_uri": f"{emulator}/token"})
    define(monkeypatch, {"keyfile_dict": key, "vertex_api_endpoint": emulator})
    reader = JobReader(LightConnection(location=LOCATION, project_id=PROJECT, gcp_conn_id=CONN_ID))
    assert json.loads(reader.get(job.name))["name"] == job.name


def test_the_trigger_loads_no_large_library() -> None:
    """Each of them takes 8 to 30 MB of every triggerer."""
    modules = "vertex_tuning.triggers, vertex_tuning.hooks.light_connection, vertex_tuning.hooks.job_reader"
    hook = "airflow.providers.google.common.hooks.base_google"
    large = {hook, "google.genai", "google.api_core", "googleapiclient", "grpc", "pandas"}
    program = f"import sys, {modules}; print(*({large!r} & sys.modules.keys()))"
    command = [sys.executable, "-c", program]
    loaded = subprocess.run(command, cwd=PROJECT_DIR / "plugins", check=True, capture_output=True, text=True)
    assert loaded.stdout.split() == []
