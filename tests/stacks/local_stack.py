"""A running stack as its user meets it: by the command line, in a browser, and by Airflow's REST API."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from include.local.airflow_api import ENDED, AirflowApi
from include.local.stack import USER, Stack
from tests.support.processes import eventually

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)


def local(home: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `make up` or `make down` without make."""
    return subprocess.run(
        [sys.executable, "-m", "include.local", command],
        env={**os.environ, "AIRFLOW_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        timeout=200,
        umask=0,
        check=False,
    )


@contextmanager
def signed_in(stack: Stack) -> Iterator[Page]:
    """Airflow's UI in Chromium, signed in."""
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        opened = browser.new_page(viewport={"width": 1300, "height": 1500})
        opened.set_default_timeout(30_000)
        opened.goto(stack.airflow_url)
        opened.fill("input[name=username]", USER)
        opened.fill("input[name=password]", stack.secrets["password"])
        opened.keyboard.press("Enter")
        opened.get_by_text("Dags", exact=True).first.wait_for()
        yield opened
        browser.close()


def ended(api: AirflowApi, dag_id: str, run_id: str) -> str:
    """A run's state as soon as it has ended."""
    state: str = eventually(lambda: (state := api.state(dag_id, run_id)) in ENDED and state)
    return state
