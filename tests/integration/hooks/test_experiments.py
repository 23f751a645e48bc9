"""Reading metrics from the live local Google Cloud."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from vertex_tuning.exceptions import MetricsError, NotFoundError, VertexUnavailableError
from vertex_tuning.hooks.experiments import ExperimentsHook, job_values, parse_points
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.metrics.series import Point

from tests.integration.conftest import LOCATION, spec

Control = Callable[..., None]


@pytest.fixture
def experiments() -> ExperimentsHook:
    return ExperimentsHook(location=LOCATION)


def scripted(hook: VertexTuningHook, control: Control, **policy: Any) -> TuningJob:
    """A job that trains nothing and has ended."""
    control("lifecycle", labels={"scripted": "yes"}, script=[{"state": "JOB_STATE_RUNNING"}], count=1, **policy)
    job = hook.create_tuning_job(spec(), {"scripted": "yes"})
    deadline = time.monotonic() + 60
    while job.is_live:
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
        job = hook.get_tuning_job(job.name)
    return job


def test_all_points_are_read_also_beyond_the_cap(
    experiments: ExperimentsHook, hook: VertexTuningHook, control: Control
) -> None:
    losses = [1 / step for step in range(1, 2501)]
    job = scripted(hook, control, metrics={"/train_total_loss": losses, "/eval_total_loss": [0.0]})
    found = {one.name: one.points for one in experiments.series_of(job)}
    assert [(point.step, point.value) for point in found["/train_total_loss"]] == list(enumerate(losses, 1))
    assert [point.value for point in found["/eval_total_loss"]] == [0.0]


def test_nothing_is_written_and_little_asked(emulator: str, experiments: ExperimentsHook, done: dict[str, Any]) -> None:
    kinds = ("contexts", "artifacts", "executions", "tensorboards", "tensorboardRuns", "timeSeries", "points")
    before = httpx.get(f"{emulator}/_internal/state").json()
    httpx.delete(f"{emulator}/_internal/requests").raise_for_status()
    series = experiments.read_metrics(done["experiment"])
    asked = httpx.get(f"{emulator}/_internal/requests").json()["requests"]
    assert [one["method"] for one in asked] == [
        "contexts.get",
        "contexts.list",
        "timeSeries.list",
        *["timeSeries.read"] * len(series),
    ]
    assert {one["httpMethod"] for one in asked} == {"GET"}
    after = httpx.get(f"{emulator}/_internal/state").json()
    assert {kind: after.get(kind) for kind in kinds} == {kind: before.get(kind) for kind in kinds}


def test_many_series_are_listed_page_by_page(
    experiments: ExperimentsHook, hook: VertexTuningHook, control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vertex_tuning.hooks.experiments.SERIES_PER_PAGE", 10)
    names = [f"/metric_{number:02}" for number in range(25)]
    job = scripted(hook, control, metrics={name: [0.5] for name in names})
    assert [one.name for one in experiments.series_of(job)] == names


def test_an_experiment_that_is_gone_has_no_series(experiments: ExperimentsHook, done: dict[str, Any]) -> None:
    gone = TuningJob.parse({**done, "experiment": f"{done['experiment']}0"})
    assert experiments.series_of(gone) == []
    assert experiments.series_of(TuningJob.parse({**done, "experiment": None})) == []
    with pytest.raises(NotFoundError):
        experiments.read_metrics(f"{done['experiment']}0")


def test_an_experiment_without_tensorboard_has_no_series(
    experiments: ExperimentsHook, done: dict[str, Any], emulator: str
) -> None:
    store = done["experiment"].partition("/contexts/")[0]
    contexts = httpx.get(f"{emulator}/v1/{store}/contexts").json()["contexts"]
    run = next(one["name"] for one in contexts if "backing_tensorboard_resource" not in one.get("metadata", {}))
    assert experiments.series_of(TuningJob.parse({**done, "experiment": run})) == []
    with pytest.raises(MetricsError, match="names no TensorBoard"):
        experiments.read_metrics(run)


def test_trouble_that_passes_is_waited_out(
    experiments: ExperimentsHook, done: dict[str, Any], control: Control
) -> None:
    whole = experiments.read_metrics(done["experiment"])
    control("faults", method="timeSeries.read", error={"code": 429}, count=1)
    control("faults", method="contexts.list", drop="after", count=1)
    assert experiments.read_metrics(done["experiment"]) == whole


def test_values_of_any_job_are_those_of_its_series(experiments: ExperimentsHook, done: dict[str, Any]) -> None:
    values = job_values(experiments, TuningJob.parse(done))
    series = {one.name: one.points for one in experiments.read_metrics(done["experiment"])}
    assert values["eval_total_loss.last"] == series["/eval_total_loss"][-1].value
    assert values["train_total_loss.best"] == min(point.value for point in series["/train_total_loss"])
    assert values["overfitting"] == 0.0
    assert values["billed_tokens"] > 0
    alone = job_values(experiments, TuningJob.parse({**done, "experiment": None}))
    assert alone == {name: values[name] for name in ("billed_tokens", "duration_seconds", "queue_seconds")}


def test_points_are_proto3_json() -> None:
    points = parse_points(
        b'{"timeSeriesData": {"tensorboardTimeSeriesId": "1", "valueType": "SCALAR", "values": ['
        b'{"wallTime": "2026-01-01T00:00:00Z", "scalar": {}}, {"step": "12", "scalar": {"value": "-Infinity"}},'
        b'{"step": "9223372036854775807", "wallTime": "t", "scalar": {"value": "NaN"}}]}}'
    )
    assert points[:2] == [Point(0, 0.0, "2026-01-01T00:00:00Z"), Point(12, -math.inf, "")]
    assert (points[2].step, math.isnan(points[2].value)) == (2**63 - 1, True)
    assert parse_points(b"{}") == []


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]", b'{"timeSeriesData": {"values": [{"step": "x"}]}}'])
def test_an_answer_that_is_none_may_be_asked_for_again(answer: bytes) -> None:
    with pytest.raises(VertexUnavailableError, match="Google answered"):
        parse_points(answer)
