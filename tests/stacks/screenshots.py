"""Take the pictures of the documentation: `python -m tests.stacks.screenshots` starts a stack and photographs it.

A first model, a refused and a promoted one, then a job that runs. The pictures replace those in `docs/images`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx
from playwright.sync_api import Page

from include.local.airflow_api import ENDED, AirflowApi
from include.local.demo import DAG_ID
from include.local.stack import PROJECT_DIR, USER, Stack, running
from tests.stacks.local_stack import signed_in
from tests.support.processes import eventually, free_port

IMAGES: Final = PROJECT_DIR / "docs" / "images"
RUNS: Final = (
    {"epoch_count": 2, "force": True},
    {"epoch_count": 2, "learning_rate_multiplier": 0.5, "force": True},
    {"epoch_count": 4, "force": True},
)
"""Forms of the runs: a first model, one that has learnt too little, and a better one."""


def main() -> None:
    """Start Airflow and the local Google Cloud, run the tuning, and take all pictures."""
    with tempfile.TemporaryDirectory(prefix="screenshots-") as home:
        stack = Stack(home=Path(home), airflow_port=free_port(), emulator_port=free_port())
        with running(stack):
            api = AirflowApi(stack.airflow_url, USER, stack.secrets["password"])
            eventually(lambda: api.has_dag(DAG_ID))
            api.unpause(DAG_ID)
            done = [_finished(api, form) for form in RUNS]
            _photograph(stack, api, done[-1])
            api.close()


def _finished(api: AirflowApi, form: Mapping[str, object]) -> str:
    run_id = api.trigger(DAG_ID, dict(form))
    eventually(lambda: api.state(DAG_ID, run_id) in ENDED)
    return run_id


def _photograph(stack: Stack, api: AirflowApi, run_id: str) -> None:
    with signed_in(stack) as page:
        page.set_default_timeout(60_000)
        _take(page, "run", f"{stack.airflow_url}/dags/{DAG_ID}/runs/{run_id}")
        _take(page, "report", str(api.result(DAG_ID, run_id, "write_report")["report_url"]), width=1100, height=1250)
        _trigger_form(page, stack)
        httpx.post(f"{stack.emulator_url}/_internal/lifecycle", json={"timeScale": 4.0}).raise_for_status()
        running_id = api.trigger(DAG_ID, dict(RUNS[-1]))
        eventually(lambda: api.tasks(DAG_ID, running_id)["wait_for_tuning_job"]["state"] == "deferred")
        page.wait_for_timeout(20_000)
        _take(page, "tunings", f"{stack.airflow_url}/plugin/tunings", width=1280)
        _take(page, "tuning", f"{stack.airflow_url}/plugin/tunings/{DAG_ID}", width=1280)


def _take(page: Page, name: str, url: str, width: int = 1500, height: int = 1000) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.goto(url)
    page.wait_for_timeout(5000)  # the page has loaded what it shows
    page.screenshot(path=IMAGES / f"{name}.png")


def _trigger_form(page: Page, stack: Stack) -> None:
    page.set_viewport_size({"width": 1500, "height": 2100})
    page.goto(f"{stack.airflow_url}/dags/{DAG_ID}")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog").filter(has_text="Trigger Dag")
    form.locator("[name=element_epoch_count]").wait_for()
    form.screenshot(path=IMAGES / "trigger-form.png")


if __name__ == "__main__":
    main()
