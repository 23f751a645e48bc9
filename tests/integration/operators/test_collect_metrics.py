"""Collecting metrics from the live local Google Cloud."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from airflow.sdk.exceptions import TaskDeferred
from vertex_tuning import exceptions
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.experiments import ExperimentsHook, job_values
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.operators.metrics import PAUSE, CollectMetricsOperator
from vertex_tuning.operators.registry import PromoteModelOperator
from vertex_tuning.registry.aliases import TUNING_LABEL

from include.gcp_emulator.state import Store
from tests.integration.conftest import LOCATION, VALIDATION, connection, spec
from tests.support.emulator import running_emulator, upload
from tests.support.paths import PROJECT_DIR
from tests.support.tasks import TaskContext, create, execute

TRIAGE = PROJECT_DIR / "include" / "data" / "support_triage"
RUN_FOLDER = "gs://data/0123/runs/4567/"

Control = Callable[..., None]


def collect(job_name: str, context: TaskContext | None = None, **arguments: Any) -> dict[str, Any]:
    result: dict[str, Any] = execute(CollectMetricsOperator(task_id="metrics", job_name=job_name, **arguments), context)
    return result


def raw_series(emulator: str, experiment: str) -> dict[str, list[tuple[int, float]]]:
    """Series as the service gives them, read by other calls than the package's."""
    with httpx.Client(base_url=f"{emulator}/v1/") as client:
        board = client.get(experiment).json()["metadata"]["backing_tensorboard_resource"]
        run = client.get(f"{board}/experiments/{experiment.rpartition('/')[2]}/runs").json()["tensorboardRuns"][0]
        listed = client.get(f"{run['name']}/timeSeries").json()["tensorboardTimeSeries"]
        names = {one["name"].rpartition("/")[2]: one["displayName"] for one in listed}
        query = {"timeSeries": [one["name"] for one in listed]}
        data = client.get(f"{board}:batchRead", params=query).json()["timeSeriesData"]
    return {
        names[one["tensorboardTimeSeriesId"]]: [(int(v["step"]), v["scalar"]["value"]) for v in one["values"]]
        for one in data
    }


def test_metrics_are_summed_up_and_the_headline_pushed(done: dict[str, Any]) -> None:
    context = TaskContext()
    result = collect(done["name"], context)
    loss = result["metrics"]["/eval_total_loss"]
    assert loss["last"] < loss["first"]
    assert context.xcoms["headline"]["/eval_total_loss"] == loss["last"]
    assert (result["experiment"], result["series_uri"], result["warnings"]) == (done["experiment"], None, [])
    assert result["best_checkpoint"] in result["checkpoints"]


def test_the_numbers_are_those_of_the_raw_series(emulator: str, done: dict[str, Any]) -> None:
    result = collect(done["name"])
    raw = raw_series(emulator, done["experiment"])
    assert result["metrics"].keys() == raw.keys()
    for name, points in raw.items():
        values = [value for _, value in points]
        best = min(values) if name.endswith("loss") else max(values)
        found = result["metrics"][name]
        assert (found["first"], found["last"], found["best"]) == (values[0], values[-1], best)
        assert (found["best_step"], found["points"]) == (dict(reversed([(v, s) for s, v in points]))[best], len(points))
    losses, steps_per_epoch = [value for _, value in raw["/train_total_loss"]], len(raw["/train_total_loss"]) // 6
    for epoch in result["epochs"]:
        part = losses[(epoch["epoch"] - 1) * steps_per_epoch : epoch["epoch"] * steps_per_epoch]
        assert epoch["mean"]["/train_total_loss"] == pytest.approx(sum(part) / steps_per_epoch)
        assert epoch["last"]["/eval_total_loss"] == dict(raw["/eval_total_loss"])[epoch["step"]]
    for checkpoint in result["checkpoints"]:
        assert checkpoint["metrics"]["/eval_total_loss"] == dict(raw["/eval_total_loss"])[checkpoint["step"]]


def test_all_of_it_is_written_to_the_run_folder(emulator: str, storage: StorageHook, done: dict[str, Any]) -> None:
    result = collect(done["name"], run_folder=RUN_FOLDER)
    assert result["series_uri"] == f"{RUN_FOLDER}metrics.json"
    written = json.loads(storage.read_object(result["series_uri"], 10**6))
    series = written.pop("series")
    assert written == result
    raw = raw_series(emulator, done["experiment"])
    assert {name: list(zip(one["step"], one["value"], strict=True)) for name, one in series.items()} == raw
    assert all(len(one["time"]) == len(one["step"]) for one in series.values())


# Metrics that are late or never come


def test_late_metrics_are_waited_for_without_a_worker(done: dict[str, Any], control: Control) -> None:
    control("faults", method="timeSeries.list", staleList=3600, count=1)
    task = CollectMetricsOperator(task_id="metrics", job_name=done["name"], metrics_timeout=3600)
    with pytest.raises(TaskDeferred) as deferred:
        execute(task)
    _, arguments = deferred.value.trigger.serialize()
    assert 0 < arguments["moment"].timestamp() - time.time() <= PAUSE
    assert deferred.value.method_name == "look_again"
    result = task.look_again(TaskContext(), None)  # type: ignore[arg-type]
    assert result == collect(done["name"])


def test_what_is_there_counts_when_the_time_is_over(done: dict[str, Any], control: Control) -> None:
    control("faults", method="timeSeries.list", staleList=3600)
    context = TaskContext()
    result = collect(done["name"], context, metrics_timeout=0)
    assert "no training metrics; no validation metrics" in result["warnings"][0]
    assert (result["metrics"], result["overfitting"], context.xcoms["headline"]) == ({}, None, {})
    assert sorted(result["values"]) == ["billed_tokens", "duration_seconds", "queue_seconds"]
    with pytest.raises(exceptions.MetricsError, match="no training metrics"):
        collect(done["name"], metrics_timeout=0, on_missing_metrics="fail")


def ended_without_experiment(hook: VertexTuningHook, control: Control) -> str:
    control("lifecycle", labels={"bare": "yes"}, script=[{"state": "JOB_STATE_PENDING"}], count=1)
    job = hook.create_tuning_job(spec(), {"bare": "yes"})
    while job.is_live:
        time.sleep(0.05)
        job = hook.get_tuning_job(job.name)
    return job.name


def test_a_job_without_experiment_says_so_and_is_not_waited_for(hook: VertexTuningHook, control: Control) -> None:
    name = ended_without_experiment(hook, control)
    result = collect(name)
    assert (result["experiment"], result["metrics"]) == (None, {})
    assert "has no experiment" in result["warnings"][0]
    with pytest.raises(exceptions.MetricsError, match="has no experiment"):
        collect(name, on_missing_metrics="fail")


def test_a_job_that_has_not_ended_has_no_metrics_yet(hook: VertexTuningHook, control: Control) -> None:
    control("lifecycle", labels={"queued": "yes"}, script=[{"state": "JOB_STATE_PENDING", "seconds": 600}])
    job = hook.create_tuning_job(spec(), {"queued": "yes"})
    with pytest.raises(exceptions.JobNotEndedError, match="is JOB_STATE_PENDING, expected a job that has ended"):
        collect(job.name)


def test_a_setting_that_is_none_is_refused() -> None:
    with pytest.raises(exceptions.ConfigurationError, match="on_missing_metrics: found 'maybe', expected one of fail"):
        collect("projects/1/locations/us-central1/tuningJobs/1", on_missing_metrics="maybe")
    with pytest.raises(exceptions.ConfigurationError, match="checkpoint: found 'first', expected one of last, best"):
        collect("projects/1/locations/us-central1/tuningJobs/1", checkpoint="first")


# Over-fitting, for real


def train_triage(emulator: str, rows: int | None, **settings: Any) -> dict[str, Any]:
    """A job on the sample dataset, or on its first rows."""
    lines = (TRIAGE / "training.jsonl").read_bytes().splitlines(keepends=True)[:rows]
    upload(emulator, "gs://data/triage.jsonl", b"".join(lines))
    upload(emulator, "gs://data/triage-validation.jsonl", (TRIAGE / "validation.jsonl").read_bytes())
    uris = {"training_uri": "gs://data/triage.jsonl", "validation_uri": "gs://data/triage-validation.jsonl"}
    asked = {"wait_for_completion": True, "deferrable": False, "poll_interval": 0.2, **uris, **settings}
    job: dict[str, Any] = execute(create(base_model="gemini-3.1-flash-lite", **asked), TaskContext(f"triage {rows}"))
    return job


def test_many_epochs_on_few_rows_over_fit(emulator: str) -> None:
    job = train_triage(emulator, 40, epoch_count="40", adapter_size="16")
    result = collect(job["name"])
    raw = raw_series(emulator, result["experiment"])
    validation = raw["/eval_total_loss"]
    best_step, best = min(validation, key=lambda point: point[1])
    overfitting, checkpoint = result["overfitting"], result["best_checkpoint"]
    assert overfitting["found"]
    assert (overfitting["best"], overfitting["best_step"]) == (best, best_step)
    assert overfitting["last"] == validation[-1][1] > 1.2 * best
    assert all(value > best + overfitting["tolerance"] for step, value in validation if step >= overfitting["step"])
    assert overfitting["epoch"] == -(-overfitting["step"] // (len(raw["/train_total_loss"]) // 40))
    assert result["values"]["overfitting"] == 1.0
    assert result["values"]["overfitting_epoch"] == overfitting["epoch"] < 15
    at_checkpoints = [dict(validation)[one["step"]] for one in result["checkpoints"]]
    assert checkpoint["metrics"]["/eval_total_loss"] == min(at_checkpoints)
    assert checkpoint["epoch"] < 40
    assert "over-fitted from epoch" in result["warnings"][0]
    last = result["checkpoints"][-1]
    assert (result["checkpoint_id"], result["endpoint"]) == (last["checkpoint_id"], job["endpoint"])


def test_the_best_checkpoint_is_judged_and_promoted_through_its_own_endpoint(emulator: str) -> None:
    """The job of the test above: its task finds it again."""
    labels = {"labels": {TUNING_LABEL: "best"}}
    job = train_triage(emulator, 40, epoch_count="40", adapter_size="16", **labels)
    result = collect(job["name"], checkpoint="best")
    best = result["best_checkpoint"]
    assert (result["checkpoint_id"], result["endpoint"]) == (best["checkpoint_id"], best["endpoint"])
    assert result["endpoint"] != job["endpoint"]
    assert result["values"]["overfitting"] == 0.0
    assert result["values"]["eval_total_loss.last"] == best["metrics"]["/eval_total_loss"]
    assert f"The model of checkpoint {best['checkpoint_id']} is judged instead." in result["warnings"][0]
    promote = PromoteModelOperator(
        task_id="p", model=job["model"], checkpoint_id=best["checkpoint_id"], tuning="best", champion_alias="best-model"
    )
    assert execute(promote)["endpoint"] == best["endpoint"]
    # The next comparison uses the values of this checkpoint.
    assert collect(job["name"])["values"]["overfitting"] == 1.0
    connection = GoogleConnection(location=LOCATION)
    served = VertexTuningHook(connection).get_tuning_job(job["name"])
    assert job_values(ExperimentsHook(connection), served) == result["values"]


def test_the_sample_tuning_does_not(emulator: str) -> None:
    job = train_triage(emulator, None, epoch_count="4", learning_rate_multiplier="1.0", adapter_size="4")
    result = collect(job["name"])
    assert not result["overfitting"]["found"]
    assert result["values"]["overfitting"] == 0.0
    assert "overfitting_epoch" not in result["values"]
    assert result["best_checkpoint"]["epoch"] == 4
    assert result["warnings"] == []


# Size

POINTS = 100_000
NAMES = [
    f"/{kind}_{what}"
    for kind in ("train", "eval")
    for what in ("total_loss", "fraction_of_correct_next_step_preds", "num_predictions")
]
MEASURED = """
import json, sys, time
from pathlib import Path
from tests.support.tasks import TaskContext
from vertex_tuning.operators.metrics import CollectMetricsOperator
import google.cloud.aiplatform_v1  # whose seconds each task pays once, whatever it reads
task = CollectMetricsOperator(task_id="metrics", job_name=sys.argv[1], run_folder="gs://data/runs/1")
started = time.process_time()
result = task.execute(TaskContext())
seconds = time.process_time() - started
# Not ru_maxrss, which starts with what the process it was forked from had.
peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
points = sum(one["points"] for one in result["metrics"].values())
print(json.dumps({"seconds": seconds, "peak": peak, "points": points, "size": len(json.dumps(result))}))
"""


def job_of_many_points(tmp_path: Path) -> str:
    """A job whose series were written straight into the emulator's store: training that long takes an hour."""
    with running_emulator(tmp_path) as url:
        upload(
            url,
            VALIDATION,
            b'{"contents": [{"role": "user", "parts": {"text": "a"}}, {"role": "model", "parts": {"text": "b"}}]}\n'
            * 20,
        )
        policy = {"script": [{"state": "JOB_STATE_RUNNING"}], "metrics": {name: [1.0] for name in NAMES}}
        httpx.post(f"{url}/_internal/lifecycle", json=policy).raise_for_status()
        body = {
            "baseModel": "gemini-2.5-flash",
            "supervisedTuningSpec": {"trainingDatasetUri": VALIDATION, "validationDatasetUri": VALIDATION},
        }
        jobs = f"{url}/v1/projects/p/locations/{LOCATION}/tuningJobs"
        name = httpx.post(jobs, json=body).raise_for_status().json()["name"]
        while httpx.get(f"{url}/v1/{name}").json()["state"] != "JOB_STATE_SUCCEEDED":
            time.sleep(0.05)
    store = Store(tmp_path)
    for series in store.list("timeSeries"):
        points = (
            (series["name"], n, f"2026-01-01T00:00:00.{n:06}Z", 1 / n) for n in range(1, POINTS // len(NAMES) + 2)
        )
        with store.transaction():
            store.add_points(points)
    store.close()
    return str(name)


def test_a_hundred_thousand_points_in_five_seconds_and_400_mb(tmp_path: Path) -> None:
    name = job_of_many_points(tmp_path)
    with running_emulator(tmp_path) as url:
        environment = {
            **os.environ,
            "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": connection(url),
            "PYTHONPATH": f"{PROJECT_DIR}{os.pathsep}{PROJECT_DIR / 'plugins'}",
        }
        output = subprocess.run(
            [sys.executable, "-c", MEASURED, name], env=environment, cwd=PROJECT_DIR, check=True, capture_output=True
        ).stdout
    measured = msgspec.json.decode(output.splitlines()[-1], type=dict[str, float])
    assert measured["points"] >= POINTS
    assert measured["seconds"] <= 5, measured
    assert measured["peak"] <= 400, measured
    assert measured["size"] <= 50_000, measured
