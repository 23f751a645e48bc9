"""Metadata and TensorBoard over plain HTTP: names, filters, caps, paging."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.emulator.jobs import VALIDATION, create, finished, get, series, upload_datasets, wait
from tests.emulator.vertex import LOCATION, Vertex
from tests.support.emulator import running_emulator

POINTS = 1200
STORE = f"{LOCATION}/metadataStores/default"


@pytest.fixture(scope="module")
def vertex() -> Iterator[Vertex]:
    """An emulator of this module's own."""
    with running_emulator(concurrent_tuning_jobs=2) as url, Vertex(url) as made:
        upload_datasets(made)
        yield made


@pytest.fixture(scope="module")
def job(vertex: Vertex) -> dict[str, Any]:
    return finished(vertex, validationDatasetUri=VALIDATION)


@pytest.fixture(scope="module")
def long_job(vertex: Vertex) -> dict[str, Any]:
    """A scripted job with 21 series, the first of 1,200 points."""
    metrics = {f"/metric_{number:02}": [0.5] for number in range(20)} | {"/long": list(range(POINTS))}
    body = {"displayName": "long", "script": [{"state": "JOB_STATE_RUNNING"}], "metrics": metrics}
    vertex.client.post("/_internal/lifecycle", json=body).raise_for_status()
    return wait(vertex, create(vertex, tunedModelDisplayName="long")["name"])


def board_of(vertex: Vertex, job: dict[str, Any]) -> str:
    return str(get(vertex, job["experiment"])["metadata"]["backing_tensorboard_resource"])


class TestMetadata:
    def test_the_experiment(self, vertex: Vertex, job: dict[str, Any]) -> None:
        context = get(vertex, job["experiment"])
        assert re.fullmatch(r".*/contexts/tuning-experiment-\d{20}", context["name"])
        assert context["schemaTitle"] == "system.Experiment"
        assert "tensorboard_link" not in context["metadata"]

    def test_its_run_and_artifact(self, vertex: Vertex, job: dict[str, Any]) -> None:
        query = f'schema_title="system.ExperimentRun" AND parent_contexts:"{job["experiment"]}"'
        (run,) = vertex.ok("GET", f"{STORE}/contexts", filter=query)["contexts"]
        assert run["parentContexts"] == [job["experiment"]]
        assert run["name"].startswith(f"{job['experiment']}-")
        assert run["metadata"]["_state"] == "COMPLETE"
        artifact = get(vertex, run["name"].replace("/contexts/", "/artifacts/") + "-tb-run")
        assert artifact["schemaTitle"] == "google.VertexTensorboardRun"
        assert get(vertex, artifact["metadata"]["resourceName"])["displayName"] == run["displayName"]

    def test_names_in_filters_may_have_the_project_id(self, vertex: Vertex, job: dict[str, Any]) -> None:
        by_id = job["experiment"].replace(job["experiment"].split("/")[1], "my-project")
        assert vertex.ok("GET", f"{STORE}/contexts", filter=f'parent_contexts:"{by_id}"')["contexts"]

    @pytest.mark.parametrize("query", ['in_context("x")', 'schema_title="system.Run" AND in_context("x")'])
    def test_there_are_no_executions(self, vertex: Vertex, query: str) -> None:
        assert vertex.ok("GET", f"{STORE}/executions", filter=query) == {}

    def test_a_failed_job_says_so(self, vertex: Vertex) -> None:
        body = {"displayName": "failing", "failure": {"step": 3}, "count": 1}
        vertex.client.post("/_internal/lifecycle", json=body).raise_for_status()
        failed = wait(vertex, create(vertex, tunedModelDisplayName="failing")["name"])
        query = f'parent_contexts:"{failed["experiment"]}"'
        (run,) = vertex.ok("GET", f"{STORE}/contexts", filter=query)["contexts"]
        assert run["metadata"]["_state"] == "FAILED"

    def test_unknown_contexts(self, vertex: Vertex) -> None:
        assert vertex.refused("GET", f"{STORE}/contexts/x")["code"] == 404
        assert vertex.refused("GET", f"{STORE}/contexts", filter="shoe=1")["code"] == 400


class TestTensorboard:
    def test_one_default_board_per_location(
        self, vertex: Vertex, job: dict[str, Any], long_job: dict[str, Any]
    ) -> None:
        (board,) = vertex.ok("GET", f"{LOCATION}/tensorboards")["tensorboards"]
        assert board["isDefault"] is True
        assert board_of(vertex, job) == board_of(vertex, long_job) == board["name"]

    def test_series_are_paged(self, vertex: Vertex, long_job: dict[str, Any]) -> None:
        run = next(iter(series(vertex, long_job).values())).split("/timeSeries/")[0]
        first = vertex.ok("GET", f"{run}/timeSeries", pageSize=20)
        second = vertex.ok("GET", f"{run}/timeSeries", pageSize=20, pageToken=first["nextPageToken"])
        assert len(first["tensorboardTimeSeries"]) == 20
        assert len(second["tensorboardTimeSeries"]) == 1
        (found,) = vertex.ok("GET", f"{run}/timeSeries", filter='display_name="/long"')["tensorboardTimeSeries"]
        assert found["name"] == series(vertex, long_job)["/long"]

    def test_every_point_has_a_wall_time(self, vertex: Vertex, job: dict[str, Any]) -> None:
        for name in series(vertex, job).values():
            values = vertex.ok("GET", f"{name}:read")["timeSeriesData"]["values"]
            assert values
            assert all(re.fullmatch(r"\d{4}-.*\.\d{6}Z", value["wallTime"]) for value in values)


class TestReading:
    def test_batch_read_takes_twenty_series(self, vertex: Vertex, long_job: dict[str, Any]) -> None:
        names = list(series(vertex, long_job).values())
        path = f"{board_of(vertex, long_job)}:batchRead"
        assert len(vertex.ok("GET", path, timeSeries=names[:20])["timeSeriesData"]) == 20
        assert vertex.refused("GET", path, timeSeries=names)["status"] == "INVALID_ARGUMENT"
        assert vertex.refused("GET", path)["status"] == "INVALID_ARGUMENT"

    def test_it_refuses_foreign_and_unknown_series(self, vertex: Vertex, long_job: dict[str, Any]) -> None:
        board = board_of(vertex, long_job)
        unknown = f"{board}/experiments/e/runs/r/timeSeries/1"
        assert vertex.refused("GET", f"{board}:batchRead", timeSeries=[unknown])["code"] == 404
        foreign = unknown.replace(board, f"{LOCATION}/tensorboards/1")
        assert vertex.refused("GET", f"{board}:batchRead", timeSeries=[foreign])["code"] == 400
        assert vertex.refused("GET", f"{LOCATION}/tensorboards/1:batchRead", timeSeries=[foreign])["code"] == 404

    @pytest.mark.parametrize(
        ("size", "wanted"), [(None, 1000), (0, 1000), (10, 10), (-1, POINTS), (5000, POINTS), (2**31 - 1, POINTS)]
    )
    def test_points_beyond_the_cap_are_a_sample(
        self, vertex: Vertex, long_job: dict[str, Any], size: int | None, wanted: int
    ) -> None:
        params = {} if size is None else {"maxDataPoints": size}
        name = series(vertex, long_job)["/long"]
        values = vertex.ok("GET", f"{name}:read", **params)["timeSeriesData"]["values"]
        steps = [int(value["step"]) for value in values]
        assert len(steps) == wanted
        assert steps == sorted(set(steps))

    def test_batch_read_is_capped_too(self, vertex: Vertex, long_job: dict[str, Any]) -> None:
        name = series(vertex, long_job)["/long"]
        (data,) = vertex.ok("GET", f"{board_of(vertex, long_job)}:batchRead", timeSeries=[name])["timeSeriesData"]
        assert len(data["values"]) == 1000
        assert data["tensorboardTimeSeriesId"] == name.rsplit("/", 1)[-1]

    def test_export_pages_through_all_points(self, vertex: Vertex, long_job: dict[str, Any]) -> None:
        path = f"{series(vertex, long_job)['/long']}:exportTensorboardTimeSeries"
        steps: list[int] = []
        body: dict[str, Any] = {"pageSize": 500, "orderBy": "step"}
        while body:
            page = vertex.ok("POST", path, body)
            steps += [int(point["step"]) for point in page["timeSeriesDataPoints"]]
            body = body | {"pageToken": page["nextPageToken"]} if "nextPageToken" in page else {}
        assert steps == list(range(1, POINTS + 1))

    def test_an_export_without_order_has_none(self, vertex: Vertex, long_job: dict[str, Any]) -> None:
        path = f"{series(vertex, long_job)['/long']}:exportTensorboardTimeSeries"
        first = vertex.ok("POST", path, {})
        rest = vertex.ok("POST", path, {"pageToken": first["nextPageToken"]})
        steps = [int(point["step"]) for page in (first, rest) for point in page["timeSeriesDataPoints"]]
        assert steps != sorted(steps)
        assert sorted(steps) == list(range(1, POINTS + 1))

    def test_export_defaults_to_a_thousand_points(self, vertex: Vertex, long_job: dict[str, Any]) -> None:
        page = vertex.ok("POST", f"{series(vertex, long_job)['/long']}:exportTensorboardTimeSeries", {})
        assert len(page["timeSeriesDataPoints"]) == 1000
        last = vertex.ok(
            "POST",
            f"{series(vertex, long_job)['/long']}:exportTensorboardTimeSeries",
            {"orderBy": "step desc", "pageSize": 1, "filter": "step!=1200"},
        )
        assert last["timeSeriesDataPoints"][0]["step"] == "1199"

    @pytest.mark.parametrize(
        "body", [{"orderBy": "size"}, {"pageSize": -1}, {"pageToken": "x"}, {"filter": "a=b"}, {"pageSize": "x"}]
    )
    def test_exports_that_are_refused(self, vertex: Vertex, long_job: dict[str, Any], body: Any) -> None:
        path = f"{series(vertex, long_job)['/long']}:exportTensorboardTimeSeries"
        assert vertex.refused("POST", path, body)["status"] == "INVALID_ARGUMENT"
