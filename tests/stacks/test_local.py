"""A real Airflow (all four processes) beside the local Google Cloud, as `make` starts it."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import ConsoleMessage, Page, Request

from include.local.airflow_api import ENDED, AirflowApi
from include.local.demo import DAG_ID
from include.local.stack import CLOUD_PROJECT, PROJECT_DIR, USER, Stack
from tests.stacks.local_stack import ended, local, signed_in
from tests.support.processes import eventually, free_port, left_running, open_to_others

NEW_DAGS = Path(tempfile.mkdtemp(prefix="new-dags-"))

BUNDLES = [
    {"name": name, "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {"path": str(path)}}
    for name, path in (
        ("project", PROJECT_DIR / "dags"),
        ("new", NEW_DAGS),
    )
]
"""The project's DAGs, and a folder for new ones."""

pytestmark = [pytest.mark.timeout(600)]


# What `make up` leaves running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = Stack(home=tmp_path_factory.mktemp("up"), airflow_port=free_port(), emulator_port=free_port())
    made.home.chmod(0o777)
    made.logs.mkdir(mode=0o777)
    (made.home / "airflow.cfg").write_text(f"[dag_processor]\ndag_bundle_config_list = {json.dumps(BUNDLES)}\n")
    ports = {"AIRFLOW_PORT": str(made.airflow_port), "EMULATOR_PORT": str(made.emulator_port)}
    up = local(made.home, "up", AIRFLOW__VERTEX_TUNING__DEPLOYMENT="laptop", **ports)
    try:
        assert up.returncode == 0, up.stdout
        for told in (made.airflow_url, made.emulator_url, USER, made.secrets["password"]):
            assert told in up.stdout
        again = local(made.home, "up", **ports)
        assert again.returncode == 0
        assert f"It is running already. Airflow: {made.airflow_url}" in again.stdout
        yield made
    finally:
        assert local(made.home, "down", **ports).stdout == "Stopped.\n"
        assert left_running(made.home) == []
        shutil.rmtree(NEW_DAGS)


@pytest.fixture(scope="module")
def api(stack: Stack) -> Iterator[AirflowApi]:
    signed_in = AirflowApi(stack.airflow_url, USER, stack.secrets["password"])
    eventually(lambda: signed_in.has_dag(DAG_ID))
    signed_in.unpause(DAG_ID)
    yield signed_in
    signed_in.close()


@pytest.fixture(scope="module")
def page(stack: Stack) -> Iterator[Page]:
    with signed_in(stack) as opened:
        yield opened


@pytest.fixture(scope="module")
def run_id(page: Page, stack: Stack, api: AirflowApi) -> str:
    """A run that was started with the form, with other epochs than the tuning's; its job takes about twenty seconds."""
    slow = {"timeScale": 3.0, "count": 1}
    httpx.post(f"{stack.emulator_url}/_internal/lifecycle", json=slow).raise_for_status()
    page.goto(f"{stack.airflow_url}/dags/{DAG_ID}")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog").filter(has_text="Trigger Dag")
    form.locator("[name=element_epoch_count]").wait_for()
    shown = form.inner_text()
    for title in (
        "Base model",
        "Training data",
        "Validation data",
        "Epochs",
        "Learning-rate multiplier",
        "Adapter size",
    ):
        assert title in shown
    assert "Tuned model's display name" in shown
    assert "Passes over the training data, 1 to 100." in shown
    assert form.get_by_role("checkbox").count() == 2, "the switches"
    form.locator("[name=element_epoch_count]").fill("2")
    form.get_by_role("button", name="Trigger").click()
    found: str = eventually(lambda: newest_run(stack, api))
    return found


def newest_run(stack: Stack, api: AirflowApi) -> str | None:
    runs = api._get(f"/dags/{DAG_ID}/dagRuns?order_by=-run_after")["dag_runs"]
    return runs[0]["dag_run_id"] if runs else None


def promoted_run(api: AirflowApi) -> str:
    """The newest run that promoted its model; a later run may have been undecided."""
    runs = api._get(f"/dags/{DAG_ID}/dagRuns?order_by=-run_after")["dag_runs"]
    ids = (str(run["dag_run_id"]) for run in runs)
    return next(found for found in ids if api.tasks(DAG_ID, found)["promote_model"]["state"] == "success")


def test_the_form_starts_a_run_whose_job_has_the_forms_values_and_which_holds_no_worker(
    run_id: str, api: AirflowApi, stack: Stack
) -> None:
    eventually(lambda: api.tasks(DAG_ID, run_id)["wait_for_tuning_job"]["state"] == "deferred")
    assert [task for task in api.tasks(DAG_ID, run_id).values() if task["state"] in ("running", "queued")] == []
    assert api._get("/pools/default_pool")["occupied_slots"] == 0
    job = api.result(DAG_ID, run_id, "create_tuning_job")
    assert job["supervised_tuning_spec"]["hyper_parameters"]["epoch_count"] == 2
    assert ended(api, DAG_ID, run_id) == "success"


def test_tasks_link_to_job_and_experiment_in_the_local_google_cloud(run_id: str, page: Page, stack: Stack) -> None:
    page.goto(f"{stack.airflow_url}/dags/{DAG_ID}/runs/{run_id}/tasks/collect_metrics/details")
    job, experiment = page.get_by_role("link", name="Tuning job"), page.get_by_role("link", name="Experiment")
    job.wait_for()
    for link, field in ((job, "state"), (experiment, "schemaTitle")):
        address = link.get_attribute("href") or ""
        assert address.startswith(f"{stack.emulator_url}/v1/projects/")
        with page.expect_popup() as opened:
            link.click()
        opened.value.wait_for_load_state()
        assert f'"{field}"' in opened.value.inner_text("body")
        opened.value.close()


def test_jobs_are_those_of_the_deployment_that_the_caller_has_named(run_id: str, api: AirflowApi) -> None:
    assert api.result(DAG_ID, run_id, "create_tuning_job")["labels"]["airflow-deployment"] == "laptop"


def test_a_new_tuning_and_a_new_dag_file_show_within_seconds(stack: Stack, api: AirflowApi) -> None:
    sample = (PROJECT_DIR / "include" / "tunings" / "support_triage.yaml").read_text()
    tuning = stack.tunings.path("brand_new")
    tuning.touch(mode=0o600)
    tuning.write_text(sample)
    (NEW_DAGS / "brand_new.py").write_text("from airflow.sdk import DAG\n\nwith DAG('a_new_file'):\n    pass\n")
    started = time.monotonic()
    eventually(lambda: api.has_dag("retrain_brand_new") and api.has_dag("a_new_file"), seconds=30)
    print(f"both shown after {time.monotonic() - started:.1f} s")


def test_the_models_asset_tells_job_model_endpoint_and_metrics(run_id: str, api: AirflowApi) -> None:
    events = api._get("/assets/events?source_dag_id=" + DAG_ID)["asset_events"]
    [event] = [event for event in events if event["source_run_id"] == run_id]
    assert event["name"] == "support_triage_model"
    job = api.result(DAG_ID, run_id, "wait_for_tuning_job")
    assert event["extra"]["job"] == job["name"]
    assert event["extra"]["model"] == job["tuned_model"]["model"]
    assert event["extra"]["endpoint"] == job["tuned_model"]["endpoint"]
    assert 0.5 < event["extra"]["metrics"]["/eval_fraction_of_correct_next_step_preds"] <= 1


def test_an_update_of_the_datasets_asset_starts_a_run(run_id: str, api: AirflowApi, stack: Stack) -> None:
    [asset] = api._get("/assets?name_pattern=support_triage_dataset")["assets"]
    api._client.post("/assets/events", json={"asset_id": asset["id"], "extra": {}}).raise_for_status()
    newest: str = eventually(lambda: (newest := newest_run(stack, api)) != run_id and newest)
    assert newest.startswith("asset_triggered")
    assert ended(api, DAG_ID, newest) == "success"


# What a user's hand does to a job that is waited for


def jobs(stack: Stack, identity: str) -> list[dict[str, Any]]:
    url = f"{stack.emulator_url}/v1/projects/{CLOUD_PROJECT}/locations/us-central1/tuningJobs"
    listed = httpx.get(url, params={"filter": f"labels.airflow-task-identity={identity}"}).raise_for_status().json()
    found: list[dict[str, Any]] = listed.get("tuningJobs", [])
    return found


def waited_for(stack: Stack, api: AirflowApi) -> tuple[str, str]:
    """Start a run whose job lasts, and wait until it is waited for.

    :returns: the run's id, and the identity its jobs have
    """
    slow = {"timeScale": 3.0, "count": 1}
    httpx.post(f"{stack.emulator_url}/_internal/lifecycle", json=slow).raise_for_status()
    started = api.trigger(DAG_ID, {"force": True})
    eventually(lambda: api.tasks(DAG_ID, started)["wait_for_tuning_job"]["state"] == "deferred")
    return started, api.result(DAG_ID, started, "create_tuning_job")["labels"]["airflow-task-identity"]


def test_marking_the_run_failed_cancels_the_job(run_id: str, api: AirflowApi, stack: Stack) -> None:
    started, identity = waited_for(stack, api)
    api._client.patch(f"/dags/{DAG_ID}/dagRuns/{started}", json={"state": "failed"}).raise_for_status()
    eventually(lambda: [job["state"] for job in jobs(stack, identity)] == ["JOB_STATE_CANCELLED"])


def test_clearing_the_waiting_task_ends_with_one_job_and_a_model(run_id: str, api: AirflowApi, stack: Stack) -> None:
    started, identity = waited_for(stack, api)
    body = {"dry_run": False, "dag_run_id": started, "task_ids": ["wait_for_tuning_job"], "only_failed": False}
    api._client.post(f"/dags/{DAG_ID}/clearTaskInstances", json=body).raise_for_status()
    assert ended(api, DAG_ID, started) == "success"
    states = sorted(job["state"] for job in jobs(stack, identity))
    assert states in (["JOB_STATE_CANCELLED", "JOB_STATE_SUCCEEDED"], ["JOB_STATE_SUCCEEDED"])


def test_clearing_a_finished_run_costs_nothing(run_id: str, api: AirflowApi, stack: Stack) -> None:
    newest = promoted_run(api)  # its model is the one in use
    identity = api.result(DAG_ID, newest, "create_tuning_job")["labels"]["airflow-task-identity"]
    before = jobs(stack, identity)
    body = {"dry_run": False, "dag_run_id": newest, "only_failed": False}
    api._client.post(f"/dags/{DAG_ID}/clearTaskInstances", json=body).raise_for_status()
    eventually(lambda: api.state(DAG_ID, newest) not in ENDED)
    assert ended(api, DAG_ID, newest) == "success"
    assert jobs(stack, identity) == before
    assert api.result(DAG_ID, newest, "evaluate_model")["verdict"] == "unchanged"


# The page Tunings


@pytest.fixture
def seen(page: Page) -> Iterator[dict[str, list[str]]]:
    """What the browser complains about and asks for while a test runs."""
    found: dict[str, list[str]] = {"errors": [], "urls": []}

    def complain(message: ConsoleMessage) -> None:
        if message.type == "error":
            found["errors"].append(message.text)

    def note(request: Request) -> None:
        found["urls"].append(request.url)

    page.on("console", complain)
    page.on("request", note)
    yield found
    page.remove_listener("console", complain)
    page.remove_listener("request", note)


def test_the_page_tunings_is_in_the_navigation_and_its_links_lead_out_of_it(
    run_id: str, page: Page, stack: Stack, seen: dict[str, list[str]]
) -> None:
    page.goto(stack.airflow_url)
    page.get_by_role("link", name="Tunings").first.click()
    frame = page.frame_locator("iframe[title=Tunings]")
    card = frame.locator(f"#{DAG_ID}")
    card.wait_for()
    for told in ("Model in use", "Last run", "Exact answers on the sample", "Cost, 30 days", "USD"):
        assert told in card.inner_text()
    card.get_by_role("link", name="support_triage").click()
    frame.get_by_role("heading", name="Scores over time").wait_for()
    assert page.url == f"{stack.airflow_url}/plugin/tunings/{DAG_ID}"
    page.reload()
    frame.get_by_role("heading", name="Validation loss").wait_for()
    frame.get_by_role("link", name="All tunings").click()
    card.wait_for()
    page.go_back()
    row = frame.locator("tbody tr", has_text="First model")
    job = row.get_by_role("link", name="Job")
    with page.expect_popup() as opened:
        job.click()
    assert opened.value.url.startswith(f"{stack.emulator_url}/v1/projects/")
    opened.value.close()
    row.locator("th a").click()
    page.wait_for_url(f"{stack.airflow_url}/dags/{DAG_ID}/runs/{quote(run_id, safe='')}**")
    assert seen["errors"] == []
    assert [url for url in seen["urls"] if not url.startswith((stack.airflow_url, "blob:", "data:"))] == []


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", ["", DAG_ID])
def test_the_page_tunings_can_be_read_by_everyone(
    run_id: str, page: Page, stack: Stack, path: str, width: int, colours: Literal["light", "dark"]
) -> None:
    """axe finds no serious fault, nothing is wider than the window, and the keyboard reaches the links."""
    from axe_playwright_python.sync_playwright import Axe

    before = page.viewport_size
    try:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=colours)
        page.goto(f"{stack.airflow_url}/vertex-tuning/{path}")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == "A"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        found = Axe().run(page).response["violations"]
        assert [fault["id"] for fault in found if fault["impact"] in ("serious", "critical")] == []
    finally:
        page.emulate_media(color_scheme="light")
        page.set_viewport_size(before or {"width": 1300, "height": 1500})


def test_the_page_tunings_has_airflows_colours(run_id: str, page: Page, stack: Stack) -> None:
    for colours in ("dark", "light"):
        page.evaluate("colours => localStorage.setItem('theme', colours)", colours)
        page.goto(f"{stack.airflow_url}/plugin/tunings")
        page.frame_locator("iframe[title=Tunings]").locator(f"html[data-theme={colours}] h1").wait_for()


# What others can see


def test_no_secret_is_in_the_database_or_the_logs(run_id: str, stack: Stack) -> None:
    """Triggers, XComs, rendered templates and connections lie in the one, everything that was said in the others."""
    secret = [value.encode() for value in stack.secrets.values()]
    searched = [path for path in stack.home.rglob("*") if path.is_file() and path.suffix != ".json"]
    assert {path.name for path in searched} >= {"airflow.db", "triggerer.log", "scheduler.log", "attempt=1.log"}
    assert [path for path in searched if any(value in path.read_bytes() for value in secret)] == []


def test_other_users_of_the_machine_get_at_nothing(run_id: str, stack: Stack) -> None:
    """Neither at what is made, although new files are open to all by default, nor at what was there already."""
    kept = {path.relative_to(stack.home).parts[0] for path in stack.home.rglob("*") if path.is_file()}
    assert kept >= {"airflow.cfg", "airflow.db", "google-cloud", "logs", "secrets.json"}
    assert open_to_others(stack.home) == {}


def test_nobody_gets_in_without_signing_in(stack: Stack) -> None:
    assert httpx.get(f"{stack.airflow_url}/api/v2/dags").status_code == httpx.codes.UNAUTHORIZED
    with pytest.raises(httpx.HTTPStatusError):
        AirflowApi(stack.airflow_url, USER, "guessed")
