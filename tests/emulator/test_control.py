"""`/_internal`: faults, request log, state, reset, and who may use it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from include.gcp_emulator.hosts import is_loopback
from tests.emulator.jobs import create, request, upload_datasets
from tests.emulator.vertex import LOCATION, Vertex
from tests.support.emulator import running_emulator
from tests.support.waiting import wait_until

JOBS = f"{LOCATION}/tuningJobs"


@pytest.fixture(scope="module")
def vertex() -> Iterator[Vertex]:
    """An emulator of this module's own."""
    with running_emulator(concurrent_tuning_jobs=4) as url, Vertex(url) as made:
        yield made


@pytest.fixture(autouse=True)
def clean(vertex: Vertex) -> None:
    vertex.client.post("/_internal/reset").raise_for_status()
    upload_datasets(vertex)


def fault(vertex: Vertex, **fields: Any) -> None:
    response = vertex.client.post("/_internal/faults", json=fields)
    assert response.status_code == 200, response.text


def statuses(vertex: Vertex, calls: int, path: str = f"{JOBS}/1") -> list[int]:
    return [vertex.call("GET", path).status_code for _ in range(calls)]


class TestFaults:
    def test_an_error_with_details_for_a_number_of_calls(self, vertex: Vertex) -> None:
        info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}
        error = {"code": 429, "message": "Slow down.", "details": [info], "headers": {"retry-after": "1"}}
        fault(vertex, method="tuningJobs.get", count=2, error=error)
        assert vertex.call("GET", JOBS).status_code == 200
        response = vertex.call("GET", f"{JOBS}/1")
        assert response.headers["retry-after"] == "1"
        body = {"code": 429, "message": "Slow down.", "status": "RESOURCE_EXHAUSTED", "details": [info]}
        assert response.json() == {"error": body}
        assert statuses(vertex, 2) == [429, 404]

    def test_by_resource_and_method_pattern(self, vertex: Vertex) -> None:
        fault(vertex, method="tuningJobs.*", resource=r"/tuningJobs/7\b", error={})
        assert [vertex.call("GET", f"{JOBS}/{job}").status_code for job in (7, 70, 7)] == [503, 404, 503]

    def test_by_probability_the_same_way_each_time(self, vertex: Vertex) -> None:
        courses = []
        for _ in range(2):
            vertex.client.delete("/_internal/faults")
            fault(vertex, method="tuningJobs.get", probability=0.5, error={"code": 500})
            courses.append(statuses(vertex, 20))
        assert courses[0] == courses[1]
        assert set(courses[0]) == {404, 500}

    def test_a_delay(self, vertex: Vertex) -> None:
        fault(vertex, method="tuningJobs.list", count=1, delay=0.3)
        started = time.monotonic()
        vertex.ok("GET", JOBS)
        assert time.monotonic() - started >= 0.3

    def test_a_connection_dropped_before_the_change(self, vertex: Vertex) -> None:
        fault(vertex, method="tuningJobs.create", count=1, drop="before")
        with pytest.raises(httpx.RemoteProtocolError):
            vertex.call("POST", JOBS, request())
        assert vertex.ok("GET", JOBS) == {}

    def test_a_connection_dropped_after_the_change(self, vertex: Vertex) -> None:
        """The lost response: the job is there, its creator does not know."""
        fault(vertex, method="tuningJobs.create", count=1, drop="after")
        with pytest.raises(httpx.RemoteProtocolError):
            vertex.call("POST", JOBS, request())
        assert len(vertex.ok("GET", JOBS)["tuningJobs"]) == 1

    def test_a_truncated_body(self, vertex: Vertex) -> None:
        create(vertex)
        fault(vertex, method="tuningJobs.list", count=1, truncate=20)
        with pytest.raises(httpx.RemoteProtocolError, match="received 20 bytes"):
            vertex.ok("GET", JOBS)

    def test_a_stale_list(self, vertex: Vertex) -> None:
        fault(vertex, method="tuningJobs.list", staleList=1)
        started = time.monotonic()
        job = create(vertex)
        assert vertex.ok("GET", JOBS) == {}
        vertex.ok("GET", job["name"])
        wait_until(lambda: vertex.ok("GET", JOBS))
        assert time.monotonic() - started >= 1

    def test_storage_has_its_own_envelope(self, vertex: Vertex) -> None:
        fault(vertex, method="storage.objects.get", count=1, error={"code": 503, "message": "Later."})
        response = vertex.client.get("/storage/v1/b/datasets/o/train.jsonl")
        assert response.status_code == 503
        assert response.json()["error"]["errors"][0]["reason"] == "backendError"
        assert vertex.client.get("/storage/v1/b/datasets/o/train.jsonl").status_code == 200

    def test_listing_and_clearing(self, vertex: Vertex) -> None:
        fault(vertex, method="tuningJobs.get", count=3, error={"code": 500})
        statuses(vertex, 1)
        (shown,) = vertex.client.get("/_internal/faults").json()["faults"]
        assert (shown["method"], shown["count"]) == ("tuningJobs.get", 2)
        vertex.client.delete("/_internal/faults").raise_for_status()
        assert statuses(vertex, 1) == [404]

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"method": "x"},
            {"error": {"code": 200}},
            {"error": {}, "shape": 1},
            {"error": {}, "resource": "("},
            {"error": {}, "resource": r"(a)\1"},
            {"error": {}, "resource": "(?=a)"},
            {"error": {}, "resource": "a{1000}{1000}"},
            {"error": {}, "resource": "a" * 1001},
            {"error": {}, "resource": "a)|(?:b"},
            {"error": {}, "method": "*" * 1001},
            {"delay": -1},
            {"delay": 10_000},
            {"drop": "now"},
            {"truncate": "x"},
            {"truncate": -1},
            {"error": {}, "count": -1},
            {"error": {}, "probability": -0.1},
            {"error": {}, "probability": 1.1},
            {"staleList": -1},
            *(
                {"error": {"headers": headers}}
                for headers in (
                    {"X-A": "a\r\nSet-Cookie: b"},
                    {"X-A": "a\nb"},
                    {"X-A": "\0"},
                    {"X-A": "ü"},
                    {"X-A": "日本"},
                    {"X-A": "\x7f"},
                    {"X-A": " a"},
                    {"X-A": "a\t"},
                    {"X A": "a"},
                    {"X\r\nA": "a"},
                    {"X:A": "a"},
                    {"": "a"},
                    {"Ü": "a"},
                    {"Content-Length": "5"},
                    {"transfer-encoding": "chunked"},
                    {"X-A": 1},
                )
            ),
            1,
            "x",
        ],
    )
    def test_faults_that_are_none(self, vertex: Vertex, body: Any) -> None:
        assert vertex.client.post("/_internal/faults", json=body).status_code == 400

    @pytest.mark.parametrize(
        "error",
        [
            {"headers": {"Retry-After": "1", "X-A": "", "X-B": "a b\tc", "x!#$%&'*+.^_`|~": "~!"}},
            {"code": 599, "message": "\r\n\0日本"},
        ],
    )
    def test_a_fault_that_is_taken_is_answered(self, vertex: Vertex, error: dict[str, Any]) -> None:
        fault(vertex, method="tuningJobs.get", error=error)
        answer = vertex.call("GET", f"{JOBS}/1")
        assert answer.status_code == error.get("code", 503)
        assert (
            answer.headers.items() >= {name.lower(): value for name, value in error.get("headers", {}).items()}.items()
        )


EXPLOSIVE = ["(a+)+$", "(a|aa)+$", "([a-z]+)*=", "(?:a?){50}a{50}b", "(.*a){20}$"]
"""Expressions that an engine which goes back and tries again takes years for."""


@pytest.mark.parametrize("expression", EXPLOSIVE)
def test_a_faults_expression_takes_no_time(vertex: Vertex, expression: str) -> None:
    fault(vertex, resource=expression, error={})
    started = time.monotonic()
    assert vertex.call("GET", f"{JOBS}/{'a' * 5000}!").status_code == 404
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("expression", EXPLOSIVE)
def test_a_policys_expression_takes_no_time(vertex: Vertex, expression: str) -> None:
    policy = {"displayName": expression, "failure": {"code": 13}}
    vertex.client.post("/_internal/lifecycle", json=policy).raise_for_status()
    started = time.monotonic()
    create(vertex, tunedModelDisplayName="a" * 127 + "!")
    assert time.monotonic() - started < 2


@pytest.mark.parametrize(("path", "field"), [("faults", "resource"), ("lifecycle", "displayName")])
def test_a_refused_expression_is_named(vertex: Vertex, path: str, field: str) -> None:
    refused = vertex.client.post(f"/_internal/{path}", json={field: "(?!a)"}).json()["error"]
    assert f"{field}: found '(?!a)', expected a regular expression without look-around" in refused["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"script": 1},
        {"script": [{"state": "X"}]},
        {"displayName": "("},
        {"displayName": "(?<!a)b"},
        {"displayName": "(?x) a # b"},
        {"count": "x"},
        {"count": -1},
        {"timeScale": -1},
        {"script": [{"state": "JOB_STATE_RUNNING", "seconds": -1}]},
        {"script": [{"state": "JOB_STATE_RUNNING", "seconds": 1e300}]},
        {"failure": {"step": -1}},
        1,
    ],
)
def test_policies_that_are_none(vertex: Vertex, body: Any) -> None:
    assert vertex.client.post("/_internal/lifecycle", json=body).status_code == 400


@pytest.mark.parametrize("body", [{}, {"seconds": -1}, {"seconds": "x"}, {"seconds": True}, []])
def test_quotas_that_are_none(vertex: Vertex, body: Any) -> None:
    assert vertex.client.post("/_internal/quota:exhaust", json=body).status_code == 400


def test_the_request_log(vertex: Vertex) -> None:
    vertex.client.delete("/_internal/requests").raise_for_status()
    vertex.ok("GET", JOBS, pageSize=3)
    vertex.refused("GET", f"{JOBS}/1")
    vertex.call("GET", "nowhere")
    fault(vertex, method="tuningJobs.list", count=1, drop="after")
    with pytest.raises(httpx.RemoteProtocolError):
        vertex.call("GET", JOBS)
    log = vertex.client.get("/_internal/requests").json()
    assert log["counts"] == {
        "tuningJobs.list": {"200": 1, "0": 1},
        "tuningJobs.get": {"404": 1},
        "unknown": {"404": 1},
    }
    first = log["requests"][0]
    assert (first["httpMethod"], first["path"], first["query"]) == ("GET", f"/v1beta1/{JOBS}", "pageSize=3")
    assert [entry["fault"] for entry in log["requests"]] == [False, False, False, True]
    only = vertex.client.get("/_internal/requests", params={"method": "tuningJobs.get"}).json()["requests"]
    assert [entry["status"] for entry in only] == [404]


def test_state_and_reset(vertex: Vertex) -> None:
    job = create(vertex)
    vertex.client.post("/_internal/lifecycle", json={"manual": True})
    state = vertex.client.get("/_internal/state").json()
    assert state["tuningJobs"][job["name"]]["state"]
    vertex.client.post("/_internal/reset").raise_for_status()
    assert vertex.client.get("/_internal/state").json() == {"points": {}}
    assert vertex.client.get("/_internal/lifecycle").json() == {"policies": []}
    assert vertex.client.get("/storage/v1/b", params={"project": "p"}).json().get("items", []) == []
    assert vertex.client.get("/_internal/health").json() == {"status": "ok", "activeTuningJobs": 0}


def test_after_a_reset_jobs_run_as_before(vertex: Vertex) -> None:
    create(vertex)
    vertex.client.post("/_internal/reset").raise_for_status()
    upload_datasets(vertex)
    jobs = [create(vertex) for _ in range(4)]
    wait_until(lambda: {vertex.ok("GET", job["name"])["state"] for job in jobs} == {"JOB_STATE_SUCCEEDED"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "reset"),
        ("GET", "state"),
        ("GET", "requests"),
        ("POST", "faults"),
        ("POST", "lifecycle"),
        ("POST", "quota:exhaust"),
        ("POST", "tuningJobs/1:advance"),
    ],
)
def test_closed_unless_switched_on(closed: str, method: str, path: str) -> None:
    response = httpx.request(method, f"{closed}/_internal/{path}")
    assert (response.status_code, response.json()["error"]["status"]) == (403, "PERMISSION_DENIED")
    assert httpx.get(f"{closed}/_internal/health").status_code == 200


@pytest.fixture(scope="module")
def closed() -> Iterator[str]:
    with running_emulator(control=False) as url:
        yield url


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("emulator", False)],  # noqa: S104
)
def test_which_hosts_are_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
