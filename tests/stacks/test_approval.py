"""A person decides in the UI of a real Airflow whether a model is put into use."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page

from include.local.airflow_api import ENDED, AirflowApi
from include.local.stack import CLOUD_PROJECT, PROJECT_DIR, USER, Stack
from tests.stacks.local_stack import ended, local, signed_in
from tests.support.emulator import classification_rows, upload
from tests.support.processes import eventually, free_port

pytestmark = [pytest.mark.timeout(600)]

BUNDLES = [
    {
        "name": "approvals",
        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
        "kwargs": {"path": str(PROJECT_DIR / "tests" / "stacks" / "approval_dags")},
    }
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(home=tmp_path_factory.mktemp("approval"), airflow_port=free_port(), emulator_port=free_port())
    (made.home / "airflow.cfg").write_text(f"[dag_processor]\ndag_bundle_config_list = {json.dumps(BUNDLES)}\n")
    ports = {"AIRFLOW_PORT": str(made.airflow_port), "EMULATOR_PORT": str(made.emulator_port)}
    try:
        up = local(made.home, "up", **ports)
        assert up.returncode == 0, up.stdout
        yield made
    finally:
        local(made.home, "down", **ports)


@pytest.fixture(scope="module")
def api(stack: Stack) -> Iterator[AirflowApi]:
    signed_in_api = AirflowApi(stack.airflow_url, USER, stack.secrets["password"])
    yield signed_in_api
    signed_in_api.close()


@pytest.fixture(scope="module")
def page(stack: Stack) -> Iterator[Page]:
    with signed_in(stack) as opened:
        yield opened


@pytest.fixture(scope="module")
def model(stack: Stack) -> dict[str, str]:
    """A tuned model that is in no use: form values of the DAGs that ask before they promote it."""
    upload(stack.emulator_url, "gs://approved/train.jsonl", classification_rows(24))
    body = {
        "baseModel": "gemini-2.5-flash",
        "supervisedTuningSpec": {
            "trainingDatasetUri": "gs://approved/train.jsonl",
            "hyperParameters": {"epochCount": 1},
        },
        "labels": {"airflow-tuning": "approved"},
    }
    place = f"{stack.emulator_url}/v1/projects/{CLOUD_PROJECT}/locations/us-central1"
    created = httpx.post(f"{place}/tuningJobs", json=body).raise_for_status().json()["name"]
    job = eventually(lambda: (job := read(stack, created))["state"] == "JOB_STATE_SUCCEEDED" and job)
    return {"job": created, "model": job["tunedModel"]["model"]}


def read(stack: Stack, name: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{stack.emulator_url}/v1/{name}").raise_for_status().json()
    return found


@pytest.fixture(scope="module")
def decided(stack: Stack, api: AirflowApi, page: Page, model: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Runs by what a person decided on them in the UI, or did not in time."""
    runs = {}
    for alias, dag_id in (("approved", "approval"), ("rejected", "approval"), ("too-late", "approval_in_seconds")):
        eventually(partial(api.has_dag, dag_id))
        api.unpause(dag_id)
        runs[alias] = (dag_id, api.trigger(dag_id, {**model, "alias": alias}))
    answer(stack, page, runs["approved"], "Approve")
    answer(stack, page, runs["rejected"], "Reject", "It swears.")
    for run in runs.values():
        assert ended(api, *run) == "success"
    return runs


def answer(stack: Stack, page: Page, run: tuple[str, str], button: str, reason: str = "") -> None:
    """Read what there is to know on the task's page and in the report, and press a button."""
    dag_id, run_id = run
    # Not before the scheduler has noted the pause: Airflow 3.3.2 may take a task for dead that goes on earlier.
    noted = f"Finished: dag_id={dag_id}, task_id=approve_model, run_id={run_id},"
    eventually(lambda: noted in (stack.logs / "scheduler.log").read_text())
    page.goto(f"{stack.airflow_url}/dags/{dag_id}/runs/{run_id}/tasks/approve_model/required_actions")
    page.get_by_role("button", name=button).wait_for()
    shown = page.inner_text("body")
    for told in ("Put the new model into use?", "First model: nothing to compare with", "sample.exact_share", "95 %"):
        assert told in shown
    report = page.get_by_role("link", name="The report of this run").get_attribute("href") or ""
    assert "Waiting for approval" in httpx.get(report).raise_for_status().text
    if reason:
        page.locator("[name=element_reason]").fill(reason)
    page.get_by_role("button", name=button).click()


@pytest.mark.parametrize(
    ("alias", "shown", "told"),
    [
        ("approved", "promoted", rf"Approved by {USER} on "),
        ("rejected", "refused", rf"Rejected by {USER} on .*Reason given: It swears\."),
        ("too-late", "undecided", r"No answer within 15 seconds\."),
    ],
)
def test_a_person_approves_or_rejects_in_the_ui_or_lets_the_deadline_pass(
    decided: dict[str, tuple[str, str]], api: AirflowApi, alias: str, shown: str, told: str
) -> None:
    run = decided[alias]
    outcomes = ("promoted", "refused", "undecided")
    states = {task_id: api.tasks(*run)[task_id]["state"] for task_id in outcomes}
    assert states == {task_id: "success" if task_id == shown else "skipped" for task_id in outcomes}
    report = httpx.get(api.result(*run, "write_report")["report_url"]).raise_for_status().text
    assert re.search(told, report, re.DOTALL)


def test_only_the_approved_model_has_its_alias(
    decided: dict[str, tuple[str, str]], stack: Stack, model: dict[str, str]
) -> None:
    assert set(decided) & set(read(stack, model["model"])["versionAliases"]) == {"approved"}


def test_of_a_cleared_evaluation_nobody_is_shown_the_first_ones_question(
    decided: dict[str, tuple[str, str]], api: AirflowApi, stack: Stack
) -> None:
    """The model is in use by now, so the question would be another one."""
    dag_id, run_id = decided["approved"]
    body = {"dry_run": False, "dag_run_id": run_id, "task_ids": ["evaluate_model"], "include_downstream": True}
    api._client.post(f"/dags/{dag_id}/clearTaskInstances", json={**body, "only_failed": False}).raise_for_status()
    eventually(lambda: api.state(dag_id, run_id) not in ENDED)
    assert ended(api, dag_id, run_id) == "failed"
    assert api.tasks(dag_id, run_id)["approve_model"]["state"] == "failed"
    logs = "".join(path.read_text() for path in stack.logs.rglob("*approve_model/attempt=2.log"))
    assert "no approval was requested. Start a new run" in logs
