"""docker-compose.yaml proven: its services run, are healthy, and retrain a model; see compose_stack.py."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import httpx
import pytest

from tests.stacks.compose_services import ComposeStack, missing_packages, running
from tests.support.compose_file import assignments, make_env_file, needs_compose, resolved_services, written
from tests.support.waiting import wait_until
from tests.support.wheels import install_wheels

DAG = "/dags/retrain_support_triage"
STEPS = [
    "upload_dataset",
    "create_tuning_job",
    "wait_for_tuning_job",
    "collect_metrics",
    "smoke_test",
    "evaluate_model",
    "promote_model",
]
RUN_SECONDS = 180

pytestmark = [
    needs_compose,
    pytest.mark.skipif(
        bool(missing_packages()),
        reason=f"the services are run from Debian's packages: apt-get install {' '.join(missing_packages())}",
    ),
    # Starting Airflow's six programs takes a minute of two cores.
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The names and values of a .env made as .env.example says."""
    return assignments(make_env_file(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, secrets: dict[str, str]) -> Iterator[ComposeStack]:
    """All services, healthy, with two triggerers as `--scale triggerer=2` starts them."""
    services = resolved_services(tmp_path_factory.getbasetemp() / ".env")
    services["triggerer-2"] = services["triggerer"]
    site = install_wheels(tmp_path_factory.mktemp("image"))
    mounts = {mount for service in written()["services"].values() for mount in service.get("volumes", [])}
    with running(services, mounts, site) as stack:
        yield stack


@pytest.fixture(scope="module")
def airflow(stack: ComposeStack, secrets: dict[str, str]) -> Iterator[httpx.Client]:
    """The REST API, signed in as .env says."""
    login = {"username": "admin", "password": secrets["ADMIN_PASSWORD"]}
    token = httpx.post(f"{stack.url(8080)}/auth/token", json=login, timeout=30).raise_for_status().json()
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    with httpx.Client(base_url=f"{stack.url(8080)}/api/v2", headers=headers, timeout=30) as client:
        yield client


def test_the_services_retrain_a_model(stack: ComposeStack, airflow: httpx.Client) -> None:
    run = _retrain(stack, airflow)
    tasks = airflow.get(f"{run}/taskInstances").json()["task_instances"]
    tasks.sort(key=lambda task: task["start_date"] or "~")
    ended = [(task["task_id"], task["state"]) for task in tasks if task["task_id"] in STEPS]
    assert ended == [(step, "success") for step in STEPS]
    assert "retrain_support_triage" in stack.tail("worker")
    _assert_two_triggerers_are_alive(stack)
    _assert_logs_are_shown(airflow, run)
    _assert_health_checks_notice(stack)


def _retrain(stack: ComposeStack, airflow: httpx.Client) -> str:
    """Run the DAG to its end; gives the run's path in the API."""
    missing = httpx.codes.NOT_FOUND
    wait_until(
        lambda: airflow.get(DAG).status_code != missing, RUN_SECONDS, pause=0.5, why=lambda: stack.tail("dag-processor")
    )
    airflow.patch(DAG, json={"is_paused": False}).raise_for_status()
    started = airflow.post(f"{DAG}/dagRuns", json={"logical_date": None}).raise_for_status().json()
    run = f"{DAG}/dagRuns/{started['dag_run_id']}"
    wait_until(
        lambda: airflow.get(run).json()["state"] in ("success", "failed"),
        RUN_SECONDS,
        pause=0.5,
        why=lambda: stack.tail("scheduler") + stack.tail("worker"),
    )
    return run


def _assert_two_triggerers_are_alive(stack: ComposeStack) -> None:
    check = ["airflow", "jobs", "check", "--job-type", "TriggererJob", "--allow-multiple", "--limit", "9"]
    done = subprocess.run(check, env=stack.environment("triggerer"), capture_output=True, text=True)
    assert "Found 2 alive jobs." in done.stdout, done.stderr


def _assert_logs_are_shown(airflow: httpx.Client, run: str) -> None:
    """The API server has the log of what the worker did and of what the triggerer did."""
    lines = airflow.get(f"{run}/taskInstances/wait_for_tuning_job/logs/1").json()["content"]
    assert any(line["event"].startswith("Pausing task as DEFERRED") for line in lines)
    assert any(line.get("logger") == "vertex_tuning.triggers.TuningJobTrigger" for line in lines)


def _assert_health_checks_notice(stack: ComposeStack) -> None:
    """Each service is unhealthy as soon as it has stopped; till then the others are healthy."""
    checked = {name for name, service in stack.services.items() if "healthcheck" in service}
    databases = {"postgres", "redis"}
    stack.stop(*(checked - databases))
    assert {name for name in checked if stack.is_healthy(name)} == databases
    stack.stop(*databases)
    assert not any(stack.is_healthy(name) for name in databases)
