"""Reading metrics from the live local Google Cloud."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from vertex_tuning.exceptions import MetricsError, NotFoundError, VertexUnavailableError
from vertex_tuning.hooks import vertex_clients
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.experiments import ExperimentsHook, job_values
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.metrics.series import Point

from tests.integration.conftest import LOCATION, spec
from tests.support.proxy import JSON, NOT_GOOGLES, Proxy

Control = Callable[..., None]


@pytest.fixture
def experiments() -> ExperimentsHook:
    return ExperimentsHook(GoogleConnection(location=LOCATION))


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


def test_points_are_proto3_json(proxied: Proxy, experiments: ExperimentsHook, done: dict[str, Any]) -> None:
    points = (
        b'{"timeSeriesData": {"tensorboardTimeSeriesId": "1", "valueType": "SCALAR", "values": ['
        b'{"wallTime": "2026-01-01T00:00:00Z", "scalar": {}}, {"step": "12", "scalar": {"value": "-Infinity"}},'
        b'{"step": "9223372036854775807", "wallTime": "9999-12-31T23:59:59Z", "scalar": {"value": "NaN"}}]}}'
    )
    proxied.replace = lambda _, path: (200, JSON, points) if ":read?" in path else None
    found = experiments.read_metrics(done["experiment"])[0].points
    assert found[:2] == [Point(0, 0.0, "2026-01-01T00:00:00Z"), Point(12, -math.inf, "")]
    assert (found[2].step, math.isnan(found[2].value)) == (2**63 - 1, True)
    proxied.replace = lambda _, path: (200, JSON, b"{}") if ":read?" in path else None
    assert {len(series.points) for series in experiments.read_metrics(done["experiment"])} == {0}


ODD_POINTS = {
    "step": b'{"timeSeriesData": {"values": [{"step": "x"}]}}',
    "step of 5,000 digits": b'{"timeSeriesData": {"values": [{"step": "%s"}]}}' % (b"9" * 5000),
    "value": b'{"timeSeriesData": {"values": [{"scalar": {"value": "much"}}]}}',
    "time": b'{"timeSeriesData": {"values": [{"wallTime": "yesterday"}]}}',
    "time out of range": b'{"timeSeriesData": {"values": [{"wallTime": "9999-12-31T23:59:59-05:00"}]}}',
    "time before all": b'{"timeSeriesData": {"values": [{"wallTime": "0001-01-01T00:00:00+05:00"}]}}',
    "points": b'{"timeSeriesData": {"values": 7}}',
    "deep": b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


@pytest.mark.parametrize("answer", ODD_POINTS)
def test_odd_points_may_be_others_next_time(
    proxied: Proxy, experiments: ExperimentsHook, done: dict[str, Any], answer: str
) -> None:
    proxied.replace = lambda _, path: (200, JSON, ODD_POINTS[answer]) if ":read?" in path else None
    with pytest.raises(VertexUnavailableError, match="While reading projects/"):
        experiments.read_metrics(done["experiment"])


REQUESTS = {"experiment": "/contexts/", "runs": "/contexts?", "series": "/timeSeries?", "points": ":read?"}


@pytest.mark.parametrize("answer", NOT_GOOGLES)
@pytest.mark.parametrize("request_", REQUESTS)
def test_what_something_else_answers_may_be_other_next_time(
    proxied: Proxy,
    experiments: ExperimentsHook,
    done: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    request_: str,
    answer: str,
) -> None:
    monkeypatch.setattr(vertex_clients, "RETRY_SECONDS", 0.1)
    proxied.replace = lambda _, path: NOT_GOOGLES[answer] if REQUESTS[request_] in path else None
    with pytest.raises(VertexUnavailableError) as error:
        experiments.read_metrics(done["experiment"])
    assert len(str(error.value)) <= 2000


@pytest.mark.parametrize("list_", ["runs", "series"])
def test_lists_that_never_end_end(
    proxied: Proxy, experiments: ExperimentsHook, done: dict[str, Any], list_: str
) -> None:
    proxied.replace = lambda _, path: (200, JSON, b'{"nextPageToken": "again"}') if REQUESTS[list_] in path else None
    with pytest.raises(VertexUnavailableError, match="does not end"):
        experiments.read_metrics(done["experiment"])


@pytest.mark.parametrize("name", ["", "7", "projects/p/locations/us-central1/models/1", "../x", "a?key=b"])
@pytest.mark.parametrize(
    ("request_", "body"),
    [
        ("experiment", {"metadata": {"backing_tensorboard_resource": "NAME"}}),
        ("runs", {"contexts": [{"name": "NAME"}]}),
        ("series", {"tensorboardTimeSeries": [{"name": "NAME", "displayName": "/loss", "valueType": "SCALAR"}]}),
    ],
)
def test_names_that_are_none(
    proxied: Proxy, experiments: ExperimentsHook, done: dict[str, Any], request_: str, body: Any, name: str
) -> None:
    content = json.dumps(body).replace("NAME", name).encode()
    proxied.replace = lambda _, path: (200, JSON, content) if REQUESTS[request_] in path else None
    with pytest.raises((VertexUnavailableError, MetricsError)):
        experiments.read_metrics(done["experiment"])
