"""What docker-compose.yaml says holds together: Compose reads it, and what it names exists."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.compose_file import (
    COMPOSE_FILE,
    ENV_EXAMPLE,
    assignments,
    compose_config,
    make_env_file,
    needs_compose,
    resolved_services,
    written,
)
from tests.support.paths import PROJECT_DIR

OFFICIAL_IMAGES = {"postgres", "redis"}
SERVICES: dict[str, dict[str, Any]] = written()["services"]
OURS = {name: service for name, service in SERVICES.items() if name not in OFFICIAL_IMAGES}


# As Compose reads it


@needs_compose
def test_compose_reads_the_file(tmp_path: Path) -> None:
    done = compose_config(make_env_file(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert set(resolved_services(tmp_path / ".env")) == set(SERVICES)


@needs_compose
def test_the_emulator_can_be_left_out(tmp_path: Path) -> None:
    env_file = make_env_file(tmp_path)
    env_file.write_text(env_file.read_text().replace("COMPOSE_PROFILES=emulator", "COMPOSE_PROFILES="))
    # Compose 1 lists what it leaves out, too.
    assert set(resolved_services(env_file)) | {"emulator"} == set(SERVICES)
    assert SERVICES["emulator"]["profiles"] == ["emulator"]
    assert not any("emulator" in service.get("depends_on", {}) for service in SERVICES.values())


@needs_compose
@pytest.mark.parametrize("name", sorted(assignments(ENV_EXAMPLE).keys() - {"COMPOSE_PROFILES"}))
def test_nothing_starts_without_a_value_for_every_name(tmp_path: Path, name: str) -> None:
    env_file = make_env_file(tmp_path)
    env_file.write_text(re.sub(rf"^{name}=.*$", f"{name}=", env_file.read_text(), flags=re.MULTILINE))
    done = compose_config(env_file)
    assert done.returncode != 0
    assert name in done.stderr
    assert ".env.example" in done.stderr


def test_env_file_has_fresh_secrets_and_is_private(tmp_path: Path) -> None:
    env_file = make_env_file(tmp_path)
    blank = {name for name, value in assignments(ENV_EXAMPLE).items() if not value}
    secrets = [value for name, value in assignments(env_file).items() if name in blank]
    assert len(set(secrets)) == len(blank) >= 6
    assert all(len(secret) == 44 for secret in secrets)
    assert env_file.stat().st_mode & 0o077 == 0


# As it is written


def test_every_variable_is_explained() -> None:
    used = set(re.findall(r"(?<!\$)\$\{?(\w+)", COMPOSE_FILE.read_text()))
    assert used | {"COMPOSE_PROFILES"} == assignments(ENV_EXAMPLE).keys()
    lines = ENV_EXAMPLE.read_text().splitlines()
    for number, line in enumerate(lines):
        if not line.startswith("#") and "=" in line:
            assert lines[number - 1].startswith("# "), f"{line}: the line above does not say why"


def test_no_secret_stands_in_the_file() -> None:
    settings = [item for service in SERVICES.values() for item in service.get("environment", {}).items()]
    reference = r"\$\{\w+:\?[^}]*\}"
    for name, value in settings:
        if re.search(r"PASSWORD$|SECRET|KEY$|AUTH$|CONN_", name):
            assert re.fullmatch(reference, value), name
        if "://" in value and "@" in value:
            assert re.search(rf":{reference}@", value), name
    examples = assignments(ENV_EXAMPLE)
    assert not any(value for name, value in examples.items() if re.search(r"PASSWORD|SECRET|KEY", name))


def test_only_localhost_is_listened_on() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 2
    assert all(re.fullmatch(r"127\.0\.0\.1:\$\{\w+:\?[^}]*\}:\d+", port) for port in published)
    assert not any("network_mode" in service for service in SERVICES.values())


def test_every_service_that_stays_says_how_it_is() -> None:
    assert {name for name, service in SERVICES.items() if "healthcheck" not in service} == {"init"}
    waited_for = {name for service in SERVICES.values() for name, how in service.get("depends_on", {}).items() if how}
    assert waited_for == {"postgres", "redis", "init"}


def test_airflow_shares_one_anchor() -> None:
    common = written()["x-airflow"]
    assert [name for name, service in SERVICES.items() if "build" in service] == ["init"]
    for name, service in OURS.items():
        assert (service["image"], service["pull_policy"]) == (common["image"], "never"), name
        if name != "emulator":
            assert service["environment"].items() >= common["environment"].items(), name
            assert service["volumes"] == common["volumes"], name


def test_every_mount_is_there() -> None:
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", [])]
    folders = {(source, *mode) for source, _, *mode in mounts if source.startswith(".")}
    # Not ./plugins: the image has the package, and Airflow must not find it twice.
    assert folders == {("./dags", "ro"), ("./include", "ro")}
    assert all((PROJECT_DIR / source).is_dir() for source, _ in folders)
    assert {source for source, *_ in mounts if not source.startswith(".")} == written()["volumes"].keys()


def test_image_is_built_on_the_airflow_that_is_pinned() -> None:
    dockerfile = (PROJECT_DIR / "Dockerfile").read_text()
    version = re.search(r"^apache-airflow\[.*\]==(.*)$", (PROJECT_DIR / "requirements.txt").read_text(), re.MULTILINE)
    assert version
    assert f"FROM apache/airflow:{version[1]}-python3.12\n" in dockerfile
    admitted = (PROJECT_DIR / ".dockerignore").read_text().splitlines()
    copied = [
        name for line in re.findall(r"^COPY (?:--\S+ )?(.*) \S+$", dockerfile, re.MULTILINE) for name in line.split()
    ]
    assert {"plugins/vertex_tuning", "include/gcp_emulator", "dags", "include"} <= set(copied)
    assert all((PROJECT_DIR / name).exists() and f"!{name.partition('/')[0]}" in admitted for name in copied)


def test_helm_values_run_the_same_image_on_the_same_airflow() -> None:
    values = yaml.safe_load((PROJECT_DIR / "deploy" / "helm-values.yaml").read_text())
    dockerfile = (PROJECT_DIR / "Dockerfile").read_text()
    assert f"FROM apache/airflow:{values['airflowVersion']}-" in dockerfile
    assert values["images"]["airflow"]["repository"].endswith(f"/{written()['x-airflow']['image']}")
    assert (values["executor"], values["triggerer"]["replicas"], values["workers"]["replicas"]) == (
        "CeleryExecutor",
        2,
        2,
    )
    named = {item["name"] for item in values["env"]} | {item["envName"] for item in values["secret"]}
    assert {name for name in named if "VERTEX_TUNING" in name or "CONN" in name} == {
        "AIRFLOW__VERTEX_TUNING__DEPLOYMENT",
        "AIRFLOW_VAR_VERTEX_TUNING_BUCKET",
        "AIRFLOW_VAR_VERTEX_TUNING_LOCATION",
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT",
    }
    assert not [key for key in ("fernetKey", "apiSecretKey", "jwtSecret") if key in values]


# What it runs


def _texts(service: dict[str, Any]) -> list[list[str]]:
    """A service's command and health check, each as a list of words."""
    check = service.get("healthcheck", {}).get("test", [])
    return [words for words in (service.get("command"), check[1:] if check[:1] == ["CMD"] else None) if words]


def _scripts() -> list[tuple[str, str]]:
    """Every piece of shell with the shell that runs it."""
    found = [
        (words[0], words[-1]) for service in SERVICES.values() for words in _texts(service) if words[0][-2:] == "sh"
    ]
    checks = [service["healthcheck"]["test"] for service in SERVICES.values() if "healthcheck" in service]
    found += [("sh", check[1]) for check in checks if check[0] == "CMD-SHELL"]
    return [(shell, script.replace("$$", "$")) for shell, script in found]


def _airflow_calls() -> list[list[str]]:
    """Arguments of every call of `airflow`, those in scripts included."""
    calls = [words[1:] for service in OURS.values() for words in _texts(service) if words[0] == "airflow"]
    inside = re.findall(r"^\s*(?:exec )?airflow (.+)$", "\n".join(script for _, script in _scripts()), re.MULTILINE)
    return calls + [shlex.split(call) for call in inside]


def test_airflow_knows_every_command() -> None:
    from airflow.cli.cli_parser import get_parser

    calls = _airflow_calls()
    assert len(calls) == 9
    for call in calls:
        get_parser().parse_args(call)


def test_airflow_knows_every_setting() -> None:
    from airflow.configuration import conf

    names = {name for service in OURS.values() for name in service["environment"] if name.startswith("AIRFLOW__")}
    for name in names:
        section, option = name.lower().removeprefix("airflow__").split("__")
        if section == "vertex_tuning":
            sources = [path.read_text() for path in (PROJECT_DIR / "plugins").rglob("*.py")]
            assert any(f'"{section}", "{option}"' in source for source in sources), name
        else:
            assert option in conf.configuration_description[section]["options"], name


def test_tunings_know_every_variable() -> None:
    names = {name for service in OURS.values() for name in service["environment"] if name.startswith("AIRFLOW_VAR_")}
    tunings = "".join(path.read_text() for path in (PROJECT_DIR / "include" / "tunings").glob("*.yaml"))
    assert names
    assert all(name.removeprefix("AIRFLOW_VAR_").lower() in tunings for name in names)


def test_celery_finds_the_application_the_worker_is_asked_through(tmp_path: Path) -> None:
    command = shlex.split(SERVICES["worker"]["healthcheck"]["test"][1])
    program = Path(sys.executable).parent / command[0]
    environment = {"PATH": "/usr/bin:/bin", "AIRFLOW_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([program, *command[1:], "--help"], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_emulator_knows_every_option() -> None:
    name, *options = SERVICES["emulator"]["command"]
    emulator = tomllib.loads((PROJECT_DIR / "include" / "gcp_emulator" / "pyproject.toml").read_text())
    assert emulator["project"]["scripts"] == {name: "gcp_emulator.__main__:main"}
    command = [sys.executable, "-m", "include.gcp_emulator", "--help"]
    help_ = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True)
    for option in options:
        assert f"{option.partition('=')[0]} " in help_.stdout, option


@pytest.mark.parametrize(("shell", "script"), _scripts())
def test_shell_reads_every_script(shell: str, script: str) -> None:
    interpreter = shutil.which(shell)
    assert interpreter
    subprocess.run([interpreter, "-n", "-c", script], check=True)
