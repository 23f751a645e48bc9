"""What the page Tunings shows."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.ui import state_reader
from vertex_tuning.ui.background_cache import THREADS, ValueSource
from vertex_tuning.ui.state_reader import StateReader

from tests.integration.ui.conftest import BUCKET, Ask, made, write_history
from tests.support.emulator import classification_rows, running_emulator, upload
from tests.support.google_cloud import LOCATION, PROJECT, TRAINING, connection
from tests.support.report_samples import HOSTILE
from tests.support.waiting import wait_until

Keep = Callable[..., Any]


class Elements(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def links(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == "a"]


def flat(page: str) -> str:
    return re.sub(r"\s+", " ", Elements(page).text)


def test_a_card_shows_the_model_the_last_run_its_score_and_the_next_run(ask: Ask, keep: Keep) -> None:
    keep(1, score={"value": 0.8, "lower": 0.75, "upper": 0.85})
    last = keep(2, outcome="refused", title="Refused", reasons=["Token accuracy is too low."], score=None)
    shown = flat(ask("/", "alpha").text)
    assert "1001@1" in shown
    assert "By the history." in shown
    assert "Refused" in shown
    assert "Token accuracy is too low." in shown
    assert last.ended[:10] in shown
    [card] = ask("/api/tunings", "alpha").json()["tunings"]
    assert card["tuning"] == "alpha"
    assert card["last_run"]["outcome"] == "refused"
    assert card["model"]["version"] == "1001@1"


async def test_a_google_that_does_not_answer_holds_up_no_tuning_file(tunings: Path) -> None:
    reader, answer = StateReader(), threading.Event()
    waits = {number: ValueSource(answer.wait) for number in range(THREADS)}
    await reader._overview.read(waits, first=0.1, again=0.1)
    assert (await reader.files(["retrain_alpha"])).keys() == {"retrain_alpha"}
    answer.set()


def test_a_changed_tuning_file_is_read_at_once(ask: Ask, tunings: Path) -> None:
    assert "Sorts letters." not in ask("/", "alpha").text
    path = tunings / "alpha.yaml"
    path.write_text(path.read_text().replace("description: Retrains", "description: Sorts letters. Retrains"))
    for _ in range(10):  # the page waits only a moment for what is old
        if "Sorts letters." in ask("/", "alpha").text:
            return
    raise AssertionError("the page shows the old description")


def test_a_tuning_without_runs_says_so(ask: Ask) -> None:
    assert "No run yet." in ask("/", "alpha").text
    assert "No run yet." in ask("/retrain_alpha", "alpha").text


def test_the_page_of_a_tuning_lists_its_runs_with_links(ask: Ask, keep: Keep, google_cloud: str) -> None:
    keep(1)
    keep(2, outcome="rolled_back", title="Rolled back", kind="rollback", dag_id="rollback_alpha")
    page = ask("/retrain_alpha", "alpha").text
    shown = flat(page)
    for told in ("81 % (75 % to 92 %)", "+2 (+0.1 to +4) points", "0.42", "USD 1.25", "40 min", "rollback"):
        assert told in shown
    hrefs = {link["href"] for link in Elements(page).links()}
    assert "../dags/retrain_alpha/runs/manual__1" in hrefs
    assert "../dags/rollback_alpha/runs/manual__2" in hrefs
    assert "../dags/rollback_alpha" in hrefs
    place = f"{google_cloud}/v1/projects/1/locations/{LOCATION}"
    assert {f"{place}/tuningJobs/1001", f"{place}/models/1001@1"} <= hrefs
    assert any(href and href.startswith(f"{google_cloud}/storage/v1/b/{BUCKET}/o/") for href in hrefs)
    assert re.search(r'class="score promoted"><title>[^<]*, promoted</title>', page)


def test_every_link_leaves_the_frame_or_stays_in_it_on_purpose(ask: Ask, keep: Keep) -> None:
    keep(1)
    for path in ("/", "/retrain_alpha"):
        for link in Elements(ask(path, "alpha").text).links():
            href = link["href"] or ""
            if href.startswith("http"):
                assert (link.get("target"), link.get("rel")) == ("_blank", "noopener noreferrer")
            elif href.startswith("../"):
                assert link.get("target") == "_top"
            else:
                assert re.fullmatch(r"\./|retrain_alpha(\?every_run=true)?", href)
                assert "target" not in link


def test_pages_have_no_script_no_inline_style_and_nothing_from_outside(ask: Ask, keep: Keep) -> None:
    keep(1)
    for path in ("/", "/retrain_alpha"):
        answer = ask(path, "alpha")
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; ")
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        for tag, attributes in Elements(answer.text).found:
            assert tag not in ("script", "style", "iframe", "object", "base")
            assert not [name for name in attributes if name == "style" or name.startswith("on")]
            assert not (attributes.get("src") or "").startswith("http")


def test_hostile_texts_stay_texts(ask: Ask, keep: Keep, tunings: Any) -> None:
    path = tunings / "alpha.yaml"
    path.write_text(path.read_text().replace("description: Retrains", f"description: {json.dumps(HOSTILE)}\n#"))
    texts = dict.fromkeys(("title", "run_id", "value", "experiment"), HOSTILE)
    names = {"model": f"projects/p/locations/l/models/{HOSTILE}", "job": f"projects/{HOSTILE}/tuningJobs/1"}
    keep(1, reasons=[HOSTILE], warnings=[HOSTILE], **texts, **names)
    for url in ("/", "/retrain_alpha"):
        answer = ask(url, "alpha")
        assert answer.status_code == 200
        elements = Elements(answer.text)
        assert not [tag for tag, _ in elements.found if tag in ("script", "img")]
        assert "<script>alert(1)</script>" in elements.text
        for link in elements.links():
            assert re.match(r"https?://|\.\.?/|retrain_", link["href"] or "")


def test_a_record_cannot_lead_elsewhere_or_have_other_files_read(
    ask: Ask, keep: Keep, storage: StorageHook, google_cloud: str
) -> None:
    """A record may come from whoever can write to the bucket."""
    secret = b'{"series": {}}'
    storage.storage.create_bucket("another-bucket")
    storage.write_object("gs://another-bucket/metrics.json", secret, "application/json")
    keep(1, report_uri="gs://another-bucket/x.html", metrics_uri="gs://another-bucket/metrics.json",
         dag_id="retrain_beta", report_url="https://evil.example/", run_url="https://evil.example/")  # fmt: skip
    page = ask("/retrain_alpha?run=0000000000000001", "alpha").text
    assert "evil.example" not in page
    assert "another-bucket" not in page
    assert "retrain_beta" not in page
    assert 'type="checkbox"' not in page
    counts = httpx.get(f"{google_cloud}/_internal/requests").json()
    assert "another-bucket" not in str([entry for entry in counts.get("requests", []) if "GET" in str(entry)])


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b'{"tuning": "beta"}'])
def test_an_object_that_is_no_record_is_named_and_left_out(
    content: bytes, ask: Ask, keep: Keep, storage: StorageHook, folder_of: Callable[[str], str]
) -> None:
    keep(1)
    storage.write_object(f"{folder_of('alpha')}/{'f' * 16}.json", content, "application/json")
    shown = flat(ask("/", "alpha").text)
    assert f"{'f' * 16}.json: is no record of a run" in shown
    assert "Promoted" in shown


def test_loss_curves_of_chosen_runs_are_in_one_chart(ask: Ask, keep: Keep, storage: StorageHook) -> None:
    for number in range(1, 5):
        record = keep(number)
        series = {
            name: {"step": [1, 2, 3], "value": [2.0 / number, None, 1.0 / number], "time": []}
            for name in ("/train_total_loss", "/eval_total_loss", "/train_fraction_of_correct_next_step_preds")
        }
        storage.write_object(record.metrics_uri, msgspec.json.encode({"series": series}), "application/json")
    first = ask("/retrain_alpha", "alpha").text
    assert first.count('class="line run-') == 2 * 2 * 3  # two charts of the three newest runs, line and key
    chosen = ask("/retrain_alpha?run=0000000000000001&run=0000000000000002&run=xyz", "alpha").text
    assert chosen.count('class="line run-') == 2 * 2 * 2
    assert chosen.count(" checked>") == 2
    assert "Training loss" in chosen
    assert "Validation loss" in chosen


def test_curves_that_cannot_be_read_are_named(ask: Ask, keep: Keep, storage: StorageHook) -> None:
    keep(77)
    storage.write_object(keep(78).metrics_uri, b"not JSON", "application/json")
    shown = flat(ask("/retrain_alpha", "alpha").text)
    assert "is not a file of metrics" in shown
    assert "run-77/metrics.json" in shown


# Airflow


@pytest.fixture
def active_run() -> Any:
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    started = datetime.now(UTC) - timedelta(minutes=5)
    with create_session() as session:
        run = DagRun(
            dag_id="retrain_alpha", run_id="manual__now", run_type=DagRunType.MANUAL, state=DagRunState.RUNNING,
            start_date=started, logical_date=started, run_after=started, triggered_by=DagRunTriggeredByType.TEST,
        )  # fmt: skip
        session.add(run)
    yield
    with create_session() as session:
        session.query(DagRun).delete()


def test_a_run_that_goes_on_is_shown(ask: Ask, active_run: None) -> None:
    page = ask("/", "alpha").text
    assert 'href="../dags/retrain_alpha/runs/manual__now" target="_top">running</a>' in page


def test_the_next_run_is_that_of_airflow(ask: Ask) -> None:
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        dag = session.get(DagModel, "retrain_alpha")
        assert dag
        dag.next_dagrun_create_after = datetime(2031, 5, 6, 7, 8, tzinfo=UTC)
    assert "2031-05-06 07:08 UTC" in ask("/", "alpha").text
    with create_session() as session:
        dag = session.get(DagModel, "retrain_alpha")
        assert dag
        dag.is_paused = True
    try:
        shown = flat(ask("/", "alpha").text)
        assert "Not scheduled." in shown
        assert "The DAG is paused" in shown
    finally:
        with create_session() as session:
            dag = session.get(DagModel, "retrain_alpha")
            assert dag
            dag.is_paused, dag.next_dagrun_create_after = False, None


# Google


def start_job(url: str, tuning: str = "alpha", **fields: Any) -> dict[str, Any]:
    body: dict[str, Any] = {
        "baseModel": "gemini-2.5-flash",
        "supervisedTuningSpec": {"trainingDatasetUri": "gs://data/train.jsonl", "hyperParameters": {"epochCount": 2}},
        "labels": {"airflow-tuning": tuning, "airflow-deployment": "tests"},
        **fields,
    }
    body = {name: value for name, value in body.items() if value is not None}
    place = f"{url}/v1beta1/projects/{PROJECT}/locations/{LOCATION}"
    created: dict[str, Any] = httpx.post(f"{place}/tuningJobs", json=body).raise_for_status().json()
    return created


def ended(url: str, job: dict[str, Any]) -> dict[str, Any]:
    for _ in range(200):
        found: dict[str, Any] = httpx.get(f"{url}/v1beta1/{job['name']}").raise_for_status().json()
        if "endTime" in found:
            return found
        time.sleep(0.05)
    raise AssertionError("the job did not end")


def test_model_versions_and_costs_are_those_of_vertex_ai(ask: Ask, google_cloud: str) -> None:
    job = ended(google_cloud, start_job(google_cloud))
    model = job["tunedModel"]["model"]
    aliases = {"versionAliases": ["champion"]}
    httpx.post(f"{google_cloud}/v1beta1/{model}:mergeVersionAliases", json=aliases).raise_for_status()
    version = model.rpartition("/")[2]
    [card] = ask("/api/tunings", "alpha").json()["tunings"]
    assert (card["model"]["version"], card["model"]["note"]) == (version, "")
    assert card["cost"]["amount"] > 0
    assert card["cost"]["currency"] == "USD"
    page = ask("/api/tunings/retrain_alpha", "alpha").json()
    assert "champion" in next(found for found in page["versions"] if found["version"] == version)["aliases"]
    assert "champion" in ask("/retrain_alpha", "alpha").text
    assert version not in ask("/api/tunings", "beta").text


def test_of_a_model_with_several_versions_each_is_known(ask: Ask, google_cloud: str) -> None:
    """A job that tunes a model further makes a version of the same Model; the list of models has only the last."""
    first = ended(google_cloud, start_job(google_cloud, "beta"))["tunedModel"]["model"]
    further = {"preTunedModel": {"tunedModelName": first}, "baseModel": None}
    second = ended(google_cloud, start_job(google_cloud, "beta", **further))["tunedModel"]["model"]
    assert second == first.replace("@1", "@2")
    aliases = {"versionAliases": ["champion"]}
    httpx.post(f"{google_cloud}/v1beta1/{first}:mergeVersionAliases", json=aliases).raise_for_status()
    [card] = ask("/api/tunings", "beta").json()["tunings"]
    assert (card["model"]["name"], card["model"]["note"]) == (first, "")
    versions = ask("/api/tunings/retrain_beta", "beta").json()["versions"]
    assert {first, second} <= {version["name"] for version in versions}


def test_a_running_job_shows_its_progress_and_its_curve(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_reader, "JOBS_KEEP", 0.2)
    with running_emulator(step_seconds=3.0) as url:
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(url))
        upload(url, TRAINING, classification_rows(120))
        job = start_job(url)
        progress = re.compile(r"step \d+ of \d+, epoch [01] of 2 completed, until about \d{4}-")

        def complete_page() -> str:
            text = ask("/retrain_alpha", "alpha").text
            return text if progress.search(flat(text)) and 'class="line run-1"' in text else ""

        page = wait_until(complete_page, 60)
        [card] = ask("/api/tunings", "alpha").json()["tunings"]
        assert [found["name"] for found in card["jobs"]] == [job["name"]]
        assert f"{url}/v1/{job['name']}" in page
        httpx.post(f"{url}/v1beta1/{job['name']}:cancel").raise_for_status()


def test_without_live_jobs_nothing_is_read_from_vertex_ai(
    ask: Ask, keep: Keep, google_cloud: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__LIVE_JOBS", "False")
    keep(1, ended=datetime.now(UTC).isoformat(), cost=2.5)
    httpx.delete(f"{google_cloud}/_internal/requests").raise_for_status()
    [card] = ask("/api/tunings", "alpha").json()["tunings"]
    assert card["model"]["version"] == "1001@1"
    assert card["cost"]["amount"] == 2.5
    assert "versions" in ask("/api/tunings/retrain_alpha", "alpha").json()
    counts = httpx.get(f"{google_cloud}/_internal/requests").json()["counts"]
    assert [method for method in counts if not method.startswith("storage.")] == []


def test_a_dead_google_shows_the_last_state_with_its_age(ask: Ask, keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(1)
    for keeping in ("JOBS_KEEP", "MODELS_KEEP", "HISTORY_KEEP"):
        monkeypatch.setattr(state_reader, keeping, 0.0)
    monkeypatch.setattr(state_reader, "FIRST", 1.0)
    assert "Promoted" in ask("/", "alpha").text
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection("http://127.0.0.1:9"))
    started = time.monotonic()
    for path in ("/", "/retrain_alpha"):
        answer = ask(path, "alpha")
        assert answer.status_code == 200
        assert "Promoted" in answer.text
    assert time.monotonic() - started < 5
    time.sleep(0.5)
    assert re.search(r"Jobs and costs: state of \d+ seconds? ago\. While reading", flat(ask("/", "alpha").text))


def test_a_google_that_was_never_there_gives_a_page(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_reader, "FIRST", 1.0)
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection("http://127.0.0.1:9"))
    answer = ask("/", "alpha")
    assert answer.status_code == 200
    shown = flat(answer.text)
    assert "Jobs and costs: could not be read." in shown
    assert "The history: being read. Reload the page in a moment." in shown


def test_files_that_cannot_be_read_are_not_shown_as_no_tunings(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError("a secret")

    monkeypatch.setattr(state_reader, "read_tuning_files", fail)
    answer = ask("/", "alpha")
    assert answer.status_code == 503
    assert "The tuning files are not read yet. OSError" in answer.text
    assert ask("/api/tunings", "alpha").json() == {"detail": "The tuning files are not read yet. OSError"}


def test_a_location_that_cannot_be_rendered_is_said(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_VAR_VERTEX_TUNING_LOCATION")
    answer = ask("/", "alpha")
    assert answer.status_code == 200
    assert "alpha: location: {{ var.value.vertex_tuning_location }} cannot be rendered here" in flat(answer.text)


# Many runs


def test_a_history_of_500_runs(ask: Ask, storage: StorageHook, folder_of: Callable[[str], str], keep: Keep) -> None:
    keep(0)
    write_history(storage, folder_of("alpha"), [made(number) for number in range(500)])
    started = time.monotonic()
    page = ask("/retrain_alpha", "alpha").text
    print(f"cold: {time.monotonic() - started:.2f} s, {len(page)} characters")
    assert page.count("<tr id=") == 50
    assert "Show all 500 runs" in page
    started = time.monotonic()
    everything = ask("/retrain_alpha?every_run=true", "alpha").text
    print(f"warm, all runs: {time.monotonic() - started:.2f} s, {len(everything)} characters")
    assert everything.count("<tr id=") == 500
    assert everything.count('class="score') >= 500
    assert len(ask("/api/tunings/retrain_alpha", "alpha").json()["runs"]) == 500


# Where it is served


def test_the_module_that_airflow_loads_and_the_styles_are_served(server: TestClient) -> None:
    for name, kind in (("tunings.js", "javascript"), ("tunings.css", "text/css")):
        answer = server.get(f"/vertex-tuning/static/{name}")
        assert answer.status_code == 200
        assert kind in answer.headers["content-type"]
    assert server.get("/vertex-tuning/static/%2e%2e/app.py").status_code == 404


def test_airflows_ui_learns_of_the_page(ask: Ask, server: TestClient) -> None:
    from airflow.plugins_manager import get_plugin_info

    [plugin] = [found for found in get_plugin_info() if found["name"] == "vertex_tuning"]
    [app] = plugin["react_apps"]
    assert (app["name"], app["destination"], app["url_route"]) == ("Tunings", "nav", "tunings")
    assert server.get(f"/{app['bundle_url']}").status_code == 200
    assert plugin["external_views"] == []


def test_behind_a_base_path_every_link_keeps_it(airflow_app: FastAPI, ask: Ask, keep: Keep) -> None:
    keep(1)
    page = ask("/retrain_alpha", "alpha").text
    with TestClient(airflow_app, root_path="/team", follow_redirects=False) as client:
        anonymous = client.get("/team/vertex-tuning/retrain_alpha")
        assert anonymous.status_code == 401
        assert "next=%2Fteam%2Fplugin%2Ftunings" in anonymous.text
        assert client.get("/team/vertex-tuning/static/tunings.css").headers["cache-control"] == "no-cache"
        assert client.get("/team/vertex-tuning/api/tunings").headers["content-type"] == "application/json"
    assert not [link for link in Elements(page).links() if (link["href"] or "").startswith("/")]
