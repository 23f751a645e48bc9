"""The budget of a tuning over 30 days, against the service's own list of jobs."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from airflow.sdk.exceptions import AirflowSkipException
from vertex_tuning import exceptions
from vertex_tuning.config.price_table import load_prices
from vertex_tuning.costs.pricing import price_run
from vertex_tuning.hooks.genai import VertexTuningHook
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.operators import spending
from vertex_tuning.operators.dataset import UploadDatasetOperator
from vertex_tuning.operators.tuning_job import CreateTuningJobOperator
from vertex_tuning.registry.aliases import TUNING_LABEL

from include.gcp_emulator.names import timestamp
from tests.support.dataset_files import lines
from tests.support.emulator import classification_rows
from tests.support.paths import PRICES
from tests.support.scripted_jobs import FAILS_IN_PASSING, RUNS, SUCCEEDS, ScriptedJobs, ended, fails
from tests.support.tasks import TaskContext, create, execute, origin, sensor

MODEL = "gemini-2.5-flash"
PRICE = 5.0
EPOCHS = 2
COUNTED = [{"state": "JOB_STATE_RUNNING", "seconds": 0}]
"""A job whose tokens the service counts."""

WAITS = {"script": [{"state": "JOB_STATE_PENDING", "seconds": 600}]}
"""A job whose tokens the service has not counted yet."""


@pytest.fixture
def tuned(control: Callable[..., None], hook: VertexTuningHook) -> ScriptedJobs:
    """The jobs of a tuning of this test's own."""
    return ScriptedJobs(control, hook, TUNING_LABEL, f"tuning_{uuid4().hex[:12]}")


@pytest.fixture(scope="module")
def tokens() -> list[int]:
    return []


@pytest.fixture
def counted(tokens: list[int], hook: VertexTuningHook, control: Callable[..., None]) -> int:
    """Training tokens of the jobs here, as the service counts them."""
    if not tokens:
        control("lifecycle", labels={"counts": "yes"}, script=COUNTED)
        name = execute(create(labels={"counts": "yes"}), TaskContext("counts"))["name"]
        stats = ended(hook, name).tuning_data_stats
        assert stats
        assert stats.supervised_tuning_data_stats
        tokens.append((stats.supervised_tuning_data_stats.total_billable_token_count or 0) * EPOCHS)
    return tokens[0]


def estimate(training_tokens: int) -> dict[str, Any]:
    """`cost` of an upload."""
    cost: dict[str, Any] = msgspec.to_builtins(price_run(MODEL, training_tokens // EPOCHS, EPOCHS, load_prices(PRICES)))
    return cost


def dollars(training_tokens: float) -> float:
    return training_tokens / 1e6 * PRICE


def requests_to_create(url: str) -> int:
    return len(httpx.get(f"{url}/_internal/requests", params={"method": "tuningJobs.create"}).json()["requests"])


# A month


class Calendar:
    """The time of the service and of the tasks."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 5, 6, tzinfo=UTC)

    def timestamp(self) -> str:
        return timestamp(self.now)


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> Calendar:
    clock = Calendar()
    monkeypatch.setattr("include.gcp_emulator.tuning.service.timestamp", clock.timestamp)
    monkeypatch.setattr(spending, "utc_now", lambda: clock.now)
    return clock


@pytest.mark.parametrize("seed", [1, 2])
def test_a_month_of_40_events_keeps_the_budget(
    emulator: str, hook: VertexTuningHook, control: Callable[..., None], calendar: Calendar, counted: int, seed: int
) -> None:
    """Some jobs fail, some are cancelled, some still run. Estimates are up to 30 % off."""
    draw, tuning = random.Random(seed), f"month_{uuid4().hex[:12]}"
    limit = dollars(counted) * 9.5
    courses = [{"script": COUNTED}, fails(3), RUNS, RUNS]
    created, refused = list[TuningJob](), 0
    for event in range(40):
        calendar.now += timedelta(hours=draw.uniform(1, 48))
        kind = draw.randrange(len(courses))
        labels = {TUNING_LABEL: tuning, "event": str(event)}
        control("lifecycle", labels=labels, **courses[kind])
        before = requests_to_create(emulator)
        task = create(
            labels=labels,
            max_cost_per_30_days=str(limit),
            cost=estimate(round(counted * draw.uniform(0.7, 1.3))),
            on_budget=draw.choice(["fail", "skip"]),
        )
        try:
            name, refusal = execute(task, TaskContext(f"{tuning}-{event}"))["name"], ""
        except (exceptions.BudgetExceededError, AirflowSkipException) as error:
            name, refusal = "", str(error)
        if name:
            if kind == len(courses) - 1:
                hook.cancel_tuning_job(name)
            created.append(hook.get_tuning_job(name) if kind > 1 else ended(hook, name))
        else:
            refused += 1
            assert f"expected at most USD {limit:.4f} together" in refusal
            assert all(job.name in refusal for job in in_window(created, calendar.now))
            assert requests_to_create(emulator) == before
        assert len(in_window(created, calendar.now)) * dollars(counted) <= limit
    assert refused > 5
    assert len(created) > 10
    for job in created:
        hook.cancel_tuning_job(job.name)


def in_window(jobs: list[TuningJob], now: datetime) -> list[TuningJob]:
    return [job for job in jobs if (job.created_at or 0) > (now - timedelta(days=30)).timestamp()]


def test_there_is_room_again_on_the_day_that_was_named(calendar: Calendar, tuned: ScriptedJobs, counted: int) -> None:
    tuned.follow({"script": COUNTED})
    arguments = {"max_cost_per_30_days": dollars(counted) * 2, "cost": estimate(counted)}
    for run in range(2):
        tuned.create(TaskContext(f"{tuned.value}-{run}"), **arguments)
        calendar.now += timedelta(days=3)
    late = TaskContext(f"{tuned.value}-late")
    with pytest.raises(exceptions.BudgetExceededError, match="room again on 2026-02-04 06:00:01 UTC"):
        tuned.create(late, **arguments)
    calendar.now = datetime(2026, 2, 4, 5, 59, tzinfo=UTC)
    with pytest.raises(exceptions.BudgetExceededError):
        tuned.create(late, **arguments)
    calendar.now = datetime(2026, 2, 4, 6, 0, 1, tzinfo=UTC)
    assert tuned.create(late, **arguments)["name"] == tuned.all()[-1].name


# Whose money counts


def test_the_jobs_that_run_count_with_their_estimates(tuned: ScriptedJobs, emulator: str) -> None:
    tuned.follow(WAITS)
    arguments = {"max_cost_per_30_days": 25, "cost": estimate(2_000_000)}
    first, second = (tuned.create(TaskContext(f"{tuned.value}-{run}"), **arguments)["name"] for run in (1, 2))
    before = requests_to_create(emulator)
    with pytest.raises(exceptions.BudgetExceededError) as refused:
        tuned.create(TaskContext(f"{tuned.value}-3"), **arguments)
    assert requests_to_create(emulator) == before
    assert "found USD 20.00 for 2 jobs since" in str(refused.value)
    for name in (first, second):
        assert f"{name}, created" in str(refused.value)
    assert str(refused.value).count("USD 10.00 (estimate)") == 2
    assert {job.labels["airflow-training-tokens"] for job in tuned.all()} == {"2000000"}


def test_other_tunings_and_other_installations_count_for_themselves(
    tuned: ScriptedJobs, hook: VertexTuningHook, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned.follow({"script": COUNTED})
    arguments = {"max_cost_per_30_days": dollars(counted) * 1.5, "cost": estimate(counted)}
    context = TaskContext(f"{tuned.value}-1")
    tuned.create(context, **arguments)
    other = create(labels={TUNING_LABEL: f"{tuned.value}_b"}, **arguments)
    assert execute(other, TaskContext(f"{tuned.value}-2"))
    with pytest.raises(exceptions.BudgetExceededError):
        tuned.create(TaskContext(f"{tuned.value}-3"), **arguments)
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DEPLOYMENT", "another")
    assert tuned.create(TaskContext(f"{tuned.value}-3"), **arguments)


def test_runs_at_the_same_moment_keep_the_budget_together(tuned: ScriptedJobs) -> None:
    """None sees the others' jobs before it creates its own."""
    tuned.follow(WAITS)
    start = threading.Barrier(4)

    def run(number: int) -> str:
        start.wait()
        try:
            context = TaskContext(f"{tuned.value}-{number}")
            return str(tuned.create(context, max_cost_per_30_days=25, cost=estimate(2_000_000))["name"])
        except exceptions.BudgetExceededError as error:
            return str(error)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, range(4)))
    alive = tuned.live()
    assert 1 <= len(alive) <= 2
    assert sorted(result for result in results if result.startswith("projects/")) == sorted(alive)


# Retries of a run


def test_a_retry_adopts_its_own_job_although_the_budget_is_used_up(tuned: ScriptedJobs) -> None:
    tuned.follow(RUNS)
    context = TaskContext(f"{tuned.value}-1")
    arguments = {"max_cost_per_30_days": 11, "cost": estimate(2_000_000)}
    job = tuned.create(context, **arguments)
    assert tuned.create(context, **arguments)["name"] == job["name"]
    assert tuned.create(context, **arguments | {"max_cost_per_30_days": 0.5})["name"] == job["name"]


def test_after_a_failed_job_the_same_run_pays_again(tuned: ScriptedJobs, hook: VertexTuningHook, counted: int) -> None:
    tuned.follow(fails(3))
    context = TaskContext(f"{tuned.value}-1")
    job = tuned.create(context, max_cost_per_30_days=dollars(counted) * 1.5, cost=estimate(counted))
    ended(hook, job["name"])
    with pytest.raises(exceptions.BudgetExceededError, match=r"\(upper bound\)\nGoogle does not document"):
        tuned.create(context, max_cost_per_30_days=dollars(counted) * 1.5, cost=estimate(counted))
    assert tuned.create(context, max_cost_per_30_days=dollars(counted) * 2, cost=estimate(counted))


@pytest.mark.parametrize("on_budget", ["fail", "skip"])
def test_the_job_that_replaces_a_failed_one_needs_room_too(
    tuned: ScriptedJobs, hook: VertexTuningHook, counted: int, on_budget: Any
) -> None:
    tuned.follow(FAILS_IN_PASSING, SUCCEEDS)
    context = TaskContext(f"{tuned.value}-1")
    job = tuned.create(context, cost=estimate(counted))
    ended(hook, job["name"])
    limited = {"deferrable": False, "poke_interval": 0.05, "on_budget": on_budget}
    waiting = sensor(job["name"], max_cost_per_30_days=dollars(counted) * 1.5, **limited)
    expected = exceptions.BudgetExceededError if on_budget == "fail" else AirflowSkipException
    with pytest.raises(expected, match=job["name"]):
        execute(waiting, context)
    assert len(tuned.all()) == 1
    roomy = sensor(job["name"], max_cost_per_30_days=dollars(counted) * 2, **limited)
    assert execute(roomy, context)["state"] == "JOB_STATE_SUCCEEDED"
    assert len(tuned.all()) == 2


# Arguments


def test_skip_ends_the_task_as_skipped_and_fail_without_a_retry(tuned: ScriptedJobs) -> None:
    arguments = {"max_cost_per_30_days": 5, "cost": estimate(2_000_000)}
    with pytest.raises(AirflowSkipException, match="This run alone is over the limit"):
        tuned.create(TaskContext(f"{tuned.value}-1"), on_budget="skip", **arguments)
    with pytest.raises(exceptions.BudgetExceededError, match="This run alone is over the limit") as refused:
        tuned.create(TaskContext(f"{tuned.value}-1"), **arguments)
    assert isinstance(refused.value, exceptions.PermanentError)
    assert tuned.all() == []


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"cost": None}, exceptions.CostLimitError, r"no estimate for this run.* Set `cost`"),
        ({"cost": "{}"}, exceptions.ConfigurationError, "cost: found '{}'"),
        ({"max_cost_per_30_days": "cheap"}, exceptions.ConfigurationError, "max_cost_per_30_days: found 'cheap'"),
        ({"max_cost_per_30_days": 0}, exceptions.ConfigurationError, "max_cost_per_30_days: found 0"),
        ({"labels": {}}, exceptions.ConfigurationError, "labels: found no 'airflow-tuning'"),
        ({"base_model": "gemini-2.0-flash-lite"}, exceptions.CostLimitError, "no price of gemini-2.0-flash-lite"),
    ],
)
@pytest.mark.parametrize("on_budget", ["fail", "skip"])
def test_what_cannot_be_compared_creates_nothing(
    tuned: ScriptedJobs, emulator: str, arguments: dict[str, Any], kind: type[Exception], words: str, on_budget: Any
) -> None:
    given = {"labels": tuned.labels, "cost": estimate(1000), "max_cost_per_30_days": "5", "on_budget": on_budget}
    with pytest.raises(kind, match=words):
        execute(create(**given | arguments), TaskContext(f"{tuned.value}-1"))
    assert requests_to_create(emulator) == 0


@pytest.mark.parametrize("limit", [None, "", "None"])
def test_without_a_limit_nothing_is_checked(tuned: ScriptedJobs, limit: str | None) -> None:
    tuned.follow(RUNS)
    assert tuned.create(TaskContext(f"{tuned.value}-1"), max_cost_per_30_days=limit)
    assert "airflow-training-tokens" not in tuned.all()[0].labels
    assert origin(TaskContext(f"{tuned.value}-1")).labels.items() <= tuned.all()[0].labels.items()


def test_while_the_jobs_cannot_be_listed_nothing_is_created(
    tuned: ScriptedJobs, emulator: str, control: Callable[..., None]
) -> None:
    control("faults", method="tuningJobs.list", resource="airflow-tuning", error={"code": 503})
    control("faults", method="tuningJobs.list", error={"code": 503})
    with pytest.raises(exceptions.TransientError):
        tuned.create(TaskContext(f"{tuned.value}-1"), max_cost_per_30_days=5, cost=estimate(1000))
    assert requests_to_create(emulator) == 0


def test_the_estimate_of_an_upload_goes_onto_the_job(tmp_path: Path, tuned: ScriptedJobs) -> None:
    tuned.follow({"script": COUNTED})
    (tmp_path / "train.jsonl").write_bytes(lines(classification_rows(40)))
    upload = UploadDatasetOperator(
        task_id="upload", training_data="train.jsonl", bucket="bucket", base_dir=str(tmp_path), base_model=MODEL
    )
    result = execute(upload)
    task = CreateTuningJobOperator(
        task_id="create",
        base_model=MODEL,
        training_uri=result["training_uri"],
        epoch_count=result["epoch_count"],
        labels=tuned.labels,
        cost=result["cost"],
        max_cost_per_30_days=5,
    )
    job = execute(task, TaskContext(f"{tuned.value}-1"))
    assert job["labels"]["airflow-training-tokens"] == str(result["cost"]["training_tokens"])
