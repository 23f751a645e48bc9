"""A create that took effect and was answered by something else; looks that are answered by something else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from vertex_tuning import exceptions
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.jobs import submission
from vertex_tuning.jobs.job import IDENTITY_LABEL, TuningJob
from vertex_tuning.jobs.spec import identity_labels
from vertex_tuning.jobs.submission import Creations

from tests.support.google_cloud import LOCATION, connection, spec
from tests.support.proxy import JSON, NOT_GOOGLES, Answer, Proxy, pass_on, proxy_before
from tests.support.scripted_jobs import RUNS, ScriptedJobs
from tests.support.tasks import QUICK_SEARCH

pytestmark = [
    # of the proxy's own connections, which it leaves to the client
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

NAME = b"projects/1/locations/us-central1/tuningJobs/1"
ANSWERS: dict[str, Answer] = {
    **NOT_GOOGLES,
    "a job without a name": (200, JSON, b'{"state": "JOB_STATE_PENDING"}'),
    "a job whose name is null": (200, JSON, b'{"name": null, "state": "JOB_STATE_PENDING"}'),
    "a job with another resource's name": (200, JSON, b'{"name": "%s"}' % NAME.replace(b"tuningJobs", b"endpoints")),
    "a job whose labels are a list": (200, JSON, b'{"name": "%s", "labels": [1]}' % NAME),
}
EMPTY: Answer = (200, JSON, b"{}")


Control = Callable[..., None]


def submit(hook: VertexTuningHook, identity: str, **options: Any) -> TuningJob:
    """Create a small job, or find the one there is, at a service that shows a job within 3 s."""
    return submission.submit(hook, spec(), identity, creations=Creations(QUICK_SEARCH), **options)


@pytest.fixture
def proxy(emulator: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with proxy_before(emulator) as made:
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(made.url))
        yield made


@pytest.fixture
def identity(control: Control, hook: VertexTuningHook) -> str:
    """Of a task whose jobs run until they are cancelled."""
    jobs = ScriptedJobs(control, hook, IDENTITY_LABEL)
    jobs.follow(RUNS)
    return jobs.value


@pytest.fixture
def hook(proxy: Proxy) -> VertexTuningHook:
    return VertexTuningHook(GoogleConnection(location=LOCATION))


def once(method: str, path: str, answer: Answer, times: int = 1) -> Callable[[str, str], Answer | None]:
    """Replace the first answer, or so many, to such a request."""
    answers = [answer] * times

    def replace(asked: str, where: str) -> Answer | None:
        matches = asked == method and where.partition("?")[0].endswith(path)
        return answers.pop() if matches and answers else None

    return replace


@pytest.mark.parametrize("answer", [*ANSWERS, "{}"])
def test_the_job_is_found_whatever_the_create_was_answered(
    proxy: Proxy, hook: VertexTuningHook, identity: str, answer: str
) -> None:
    proxy.replace = once("POST", "/tuningJobs", ANSWERS.get(answer, EMPTY))
    job = submit(hook, identity)
    assert [one.name for one in hook.jobs_of(identity)] == [job.name]


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_look_that_is_answered_so_creates_nothing(
    proxy: Proxy, hook: VertexTuningHook, identity: str, answer: str
) -> None:
    proxy.replace = lambda method, path: ANSWERS[answer] if method == "GET" and "/tuningJobs" in path else None
    with pytest.raises(exceptions.TransientError):
        submit(hook, identity)
    proxy.replace = pass_on
    assert hook.jobs_of(identity) == []


def test_an_empty_list_that_is_none_leads_to_one_job_all_the_same(
    proxy: Proxy, hook: VertexTuningHook, identity: str
) -> None:
    first = submit(hook, identity)
    proxy.replace = once("GET", "/tuningJobs", EMPTY)
    second = submit(hook, identity)
    assert [job.name for job in hook.jobs_of(identity) if not job.is_cancelled] == [first.name] == [second.name]


@pytest.mark.parametrize("job", ['{"state": "JOB_STATE_RUNNING"}', '{"name": "odd"}', '{"name": 7}', "1", "null"])
def test_an_odd_job_in_the_list_is_left_out_and_hides_no_other(
    proxy: Proxy, hook: VertexTuningHook, identity: str, job: str
) -> None:
    first = submit(hook, identity)
    listed = httpx.get(f"{proxy.url}/v1beta1/projects/test-project/locations/{LOCATION}/tuningJobs").json()[
        "tuningJobs"
    ]
    page = {"tuningJobs": [json.loads(job), {**listed[0], "labels": [1]}, *listed]}
    proxy.replace = lambda method, path: (
        (200, JSON, json.dumps(page).encode()) if method == "GET" and "/tuningJobs?" in path else None
    )
    assert submit(hook, identity).name == first.name


def test_a_list_that_never_ends_ends(proxy: Proxy, hook: VertexTuningHook, identity: str) -> None:
    proxy.replace = once("GET", "/tuningJobs", (200, JSON, b'{"tuningJobs": [], "nextPageToken": "again"}'), times=9)
    with pytest.raises(exceptions.VertexUnavailableError, match="does not end"):
        submit(hook, identity)


@pytest.mark.parametrize("code", [400, 403, 404])
def test_after_a_create_a_refused_look_is_repeated(
    control: Control, hook: VertexTuningHook, identity: str, code: int
) -> None:
    def refuse() -> None:
        control("faults", method="tuningJobs.list", count=2, error={"code": code, "message": "Not now."})

    job = submit(hook, identity, before_creating=refuse)
    assert [one.name for one in hook.jobs_of(identity)] == [job.name]


def test_a_twin_that_is_being_cancelled_does_not_cost_the_healthy_job(
    control: Control, hook: VertexTuningHook, identity: str
) -> None:
    killed = hook.create_tuning_job(spec(), identity_labels(identity, spec(), 1))
    control("faults", method="tuningJobs.list", staleList=5.0, count=1)  # the next process sees none
    hook.cancel_tuning_job(killed.name)
    job = submit(hook, identity)
    assert job.name != killed.name
    assert not hook.get_tuning_job(job.name).is_cancelled
