"""A retraining that would only make a model again that there is costs nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from airflow.sdk.exceptions import AirflowSkipException
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.model_registry import RegistryHook
from vertex_tuning.registry.aliases import TUNING_LABEL
from vertex_tuning.registry.promotion import ModelAliases

from tests.support.google_cloud import LOCATION
from tests.support.tasks import TaskContext, create, execute

TUNING = "repeats"


def retrain(run_id: str, **arguments: Any) -> dict[str, Any]:
    waiting = {"wait_for_completion": True, "deferrable": False, "poll_interval": 0.05}
    operator = create(labels={TUNING_LABEL: TUNING}, skip_if_unchanged="True", **waiting, **arguments)
    job: dict[str, Any] = execute(operator, TaskContext(run_id))
    return job


@pytest.fixture(scope="module")
def in_use() -> dict[str, Any]:
    return {}


@pytest.fixture
def champion(in_use: dict[str, Any]) -> dict[str, Any]:
    """The job whose model is in use."""
    if not in_use:
        in_use.update(retrain("the first run"))
        ModelAliases(RegistryHook(GoogleConnection(location=LOCATION)), TUNING).promote(in_use["tuned_model"]["model"])
    return in_use


def test_the_same_data_and_settings_are_not_paid_for_again(champion: dict[str, Any], hook: VertexTuningHook) -> None:
    before = [job.name for job in hook.list_tuning_jobs()]
    with pytest.raises(AirflowSkipException, match="Nothing has changed") as skipped:
        retrain("the second run")
    assert champion["name"] in str(skipped.value)
    assert champion["tuned_model"]["model"] in str(skipped.value)
    assert [job.name for job in hook.list_tuning_jobs()] == before


def test_a_repeated_task_of_the_run_that_made_it_adopts_its_job(champion: dict[str, Any]) -> None:
    assert retrain("the first run")["name"] == champion["name"]


def test_other_settings_are_trained(champion: dict[str, Any]) -> None:
    assert retrain("the third run", epoch_count="1")["name"] != champion["name"]


def test_it_can_be_forced(champion: dict[str, Any]) -> None:
    forced = create(labels={TUNING_LABEL: TUNING}, skip_if_unchanged="False")
    assert execute(forced, TaskContext("the fourth run"))["name"] != champion["name"]


def test_without_the_label_nobody_knows_the_model_in_use() -> None:
    with pytest.raises(ConfigurationError, match=TUNING_LABEL):
        execute(create(skip_if_unchanged=True), TaskContext("no label"))


def test_what_was_rolled_back_is_not_made_again(champion: dict[str, Any]) -> None:
    succession = ModelAliases(RegistryHook(GoogleConnection(location=LOCATION)), TUNING)
    worse = retrain("a run whose model is found wanting", epoch_count="4")
    succession.promote(worse["tuned_model"]["model"])
    succession.roll_back(champion["tuned_model"]["model"])
    with pytest.raises(AirflowSkipException, match="was rolled back"):
        retrain("the week after", epoch_count="4")


def test_what_was_refused_is_not_made_again_the_week_after(champion: dict[str, Any], hook: VertexTuningHook) -> None:
    refused = retrain("a run whose model is refused", epoch_count="5")
    before = [job.name for job in hook.list_tuning_jobs()]
    with pytest.raises(AirflowSkipException, match=r"is not in use\. To judge it again") as skipped:
        retrain("the next week", epoch_count="5")
    assert refused["tuned_model"]["model"] in str(skipped.value)
    assert [job.name for job in hook.list_tuning_jobs()] == before


def test_a_model_that_was_deleted_is_made_again(champion: dict[str, Any], emulator: str) -> None:
    gone = retrain("a run whose model is deleted", epoch_count="6")
    model = gone["tuned_model"]["model"].partition("@")[0]
    for place in httpx.get(f"{emulator}/v1/{model}").raise_for_status().json()["deployedModels"]:
        body = {"deployedModelId": place["deployedModelId"]}
        httpx.post(f"{emulator}/v1/{place['endpoint']}:undeployModel", json=body).raise_for_status()
    httpx.delete(f"{emulator}/v1/{model}").raise_for_status()
    assert retrain("a run that needs it", epoch_count="6")["name"] != gone["name"]


# Runs of one tuning at the same time


@pytest.fixture
def several(control: Callable[..., None]) -> str:
    """A tuning whose jobs run until they are cancelled."""
    tuning = f"several_{uuid4().hex[:8]}"
    control("lifecycle", labels={TUNING_LABEL: tuning}, script=[{"state": "JOB_STATE_RUNNING", "seconds": 600}])
    return tuning


def created(tuning: str, run_id: str, **arguments: Any) -> str:
    """What becomes of a run's creating task: the name of its job, or why it was skipped."""
    operator = create(**{"labels": {TUNING_LABEL: tuning}, "skip_if_unchanged": True, **arguments})
    try:
        return str(execute(operator, TaskContext(f"{run_id}-{tuning}"))["name"])
    except AirflowSkipException as skipped:
        return f"skipped: {skipped}"


def live(hook: VertexTuningHook, tuning: str) -> list[str]:
    jobs = hook.list_tuning_jobs(f"labels.{TUNING_LABEL}={tuning}")
    return [job.name for job in jobs if job.is_live and not job.is_cancelled]


def test_of_a_backfills_runs_with_the_same_data_one_creates_a_job(hook: VertexTuningHook, several: str) -> None:
    start = threading.Barrier(3)

    def run(day: int) -> str:
        start.wait()
        return created(several, f"backfill__2026-11-{day:02}")

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(run, (9, 16, 23)))
    [name] = live(hook, several)
    assert sorted(result == name for result in results) == [False, False, True]
    run_id = f"backfill__2026-11-{(9, 16, 23)[results.index(name)]:02}"
    for result in results:
        if result != name:
            assert name in result
            assert f"run {run_id}-{several} of dag" in result


def test_a_run_while_another_trains_the_same_is_skipped_unless_it_is_forced_or_its_data_differs(
    hook: VertexTuningHook, several: str
) -> None:
    first = created(several, "monday")
    assert created(several, "tuesday").startswith("skipped: ")
    assert created(several, "monday") == first  # a retry of its own task
    other_data = created(several, "other data", dataset_hash="ab" * 32)
    forced = created(several, "forced", skip_if_unchanged=False)
    assert sorted(live(hook, several)) == sorted([first, other_data, forced])


def test_when_that_job_fails_the_next_run_trains(
    hook: VertexTuningHook, control: Callable[..., None], several: str
) -> None:
    first = created(several, "monday")
    hook.cancel_tuning_job(first)
    second = created(several, "tuesday")
    assert live(hook, several) == [second]


def test_another_tunings_or_installations_job_is_no_reason_to_skip(
    several: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    created(several, "monday")
    assert not created(f"{several}_x", "monday").startswith("skipped")
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DEPLOYMENT", "staging")
    assert not created(several, "monday").startswith("skipped")
