"""What a card says of a tuning."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from vertex_tuning.costs.budget import CostTotals
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.registry.aliases import ModelVersion
from vertex_tuning.ui.airflow_runs import ActiveRun, ActiveTask, DagState
from vertex_tuning.ui.background_cache import CachedValue
from vertex_tuning.ui.cards import build_card, job_facts, own_object_url
from vertex_tuning.ui.google_reads import Addresses, HistorySummary, TuningJobs
from vertex_tuning.ui.tuning_files import TuningFile
from vertex_tuning.ui.tuning_state import TuningState, age_text

from tests.unit.ui.test_score_chart import record

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
PLACE = "projects/p/locations/us-central1"


def tuning_file(**fields: Any) -> TuningFile:
    given = {
        "name": "t", "description": "", "location": "us-central1", "bucket": "b", "problem": "",
        "champion_alias": "champion", "base_model": "gemini-2.5-flash", "budget": None, "retirement": "",
    }  # fmt: skip
    return TuningFile(**{**given, **fields})


def state(**fields: Any) -> TuningState:
    given: dict[str, Any] = {
        "file": tuning_file(),
        "dag": DagState(False, None, None, []),
        "rollback": DagState(False, None, None, []),
        "history": CachedValue(HistorySummary()),
        "jobs": CachedValue({}),
        "models": CachedValue({}),
        "addresses": Addresses(),
        "now": NOW,
    }
    return TuningState(**{**given, **fields})


def version(number: int, *aliases: str) -> ModelVersion:
    return ModelVersion(f"{PLACE}/models/{number}@1", NOW - timedelta(days=number), frozenset(aliases))


def job(**fields: Any) -> TuningJob:
    return TuningJob.parse(
        {
            "name": f"{PLACE}/tuningJobs/1",
            "state": "JOB_STATE_RUNNING",
            "start_time": "2026-03-20T11:00:00Z",
            "tuning_job_metadata": {"completed_step_count": 25, "completed_epoch_count": 1},
            "tuning_data_stats": {"supervised_tuning_data_stats": {"tuning_step_count": 100}},
            **fields,
        }
    )


def test_the_end_of_a_job_is_that_of_its_present_speed() -> None:
    facts = job_facts(job(), Addresses(), NOW)
    assert (facts.step, facts.steps) == (25, 100)
    assert facts.ends == "2026-03-20T15:00:00+00:00"


@pytest.mark.parametrize(
    "unknown",
    [
        {"start_time": None},
        {"tuning_job_metadata": None},
        {"tuning_job_metadata": {"completed_step_count": 0}},
        {"tuning_data_stats": None},
        {"tuning_job_metadata": {"completed_step_count": 100}},
        {"start_time": "2026-03-20T13:00:00Z"},
    ],
)
def test_no_end_is_guessed(unknown: dict[str, Any]) -> None:
    assert job_facts(job(**unknown), Addresses(), NOW).ends is None


def test_the_model_in_use_is_that_of_the_registry_with_the_time_of_its_promotion() -> None:
    promoted = record(1, model=f"{PLACE}/models/5@1")
    history = CachedValue(HistorySummary([promoted], promoted))
    card = build_card(state(models=CachedValue({"t": [version(5, "champion"), version(4)]}), history=history))
    assert card.model
    assert (card.model.version, card.model.since, card.model.note) == ("5@1", promoted.ended, "")
    assert card.model.age == "18 days"


def test_a_doubt_about_the_model_in_use_is_said() -> None:
    card = build_card(state(models=CachedValue({"t": [version(5, "champion"), version(4, "champion")]})))
    assert card.model
    assert "all have the alias 'champion'" in card.model.note


def test_without_the_registry_the_history_tells_the_model() -> None:
    promoted = record(1, model=f"{PLACE}/models/5@1")
    history = CachedValue(HistorySummary([promoted], promoted))
    for models in (None, CachedValue[Any](error="Google is away.")):
        card = build_card(state(models=models, history=history))
        assert card.model
        assert (card.model.version, card.model.note) == ("5@1", "By the history.")


def test_costs_are_shown_with_the_budget_and_with_what_they_leave_out() -> None:
    totals = CostTotals(jobs=3, training_tokens=1, amount=45.0, unknown=1, estimates=2, upper_bounds=0)
    jobs = CachedValue({"t": TuningJobs([], totals, "USD")})
    cost = build_card(state(jobs=jobs, file=tuning_file(budget=60.0))).cost
    assert cost
    assert (cost.amount, cost.limit, cost.share) == (45.0, 60.0, 0.75)
    assert cost.notes == ["2 jobs with an estimate.", "1 job not counted: tokens or price are not known."]


def test_a_decision_that_waits_for_a_person_has_its_link() -> None:
    run = ActiveRun("retrain_t", "a/b c", "running", None, [ActiveTask("approve_model", "awaiting_input")])
    [active] = build_card(state(dag=DagState(False, None, None, [run]))).active
    assert active.decision_url == "dags/retrain_t/runs/a%2Fb%20c/tasks/approve_model/required_actions"


def test_a_running_rollback_is_shown_and_its_end_has_the_history_read_again() -> None:
    run = ActiveRun("rollback_t", "now", "running", None, [])
    before = state(rollback=DagState(False, None, None, [run]))
    [active] = build_card(before).active
    assert active.url == "dags/rollback_t/runs/now"
    assert state(rollback=DagState(False, None, NOW, [])).stamp != before.stamp
    assert state(dag=DagState(False, None, NOW, [])).stamp != before.stamp


def test_warnings_name_what_needs_the_owner() -> None:
    card = build_card(state(file=tuning_file(retirement="It retires."), dag=DagState(True, None, None, [])))
    assert card.warnings == ["It retires.", "The DAG is paused: nothing runs on schedule."]
    assert build_card(state(dag=None)).warnings == ["Airflow does not have the DAG of this tuning."]


def test_only_objects_of_the_tunings_bucket_are_linked() -> None:
    for uri in ("gs://bb/x", "gs://b", "https://b/x", "gs://c/b/x", ""):
        assert own_object_url(uri, tuning_file(), Addresses()) == ""
    assert own_object_url("gs://b/x", tuning_file(bucket=""), Addresses()) == ""
    assert (
        own_object_url("gs://b/x y.html", tuning_file(), Addresses()) == "https://storage.cloud.google.com/b/x%20y.html"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 seconds"), (59, "59 seconds"), (3600, "1 hour"), (86_400 * 3 + 5, "3 days")]
)
def test_an_age_has_one_unit(seconds: float, text: str) -> None:
    assert age_text(seconds) == text
