"""The cost of a job, from what the service says about it."""

from __future__ import annotations

from typing import Any

import pytest
from vertex_tuning.config.price_table import load_prices
from vertex_tuning.costs.budget import JobCost
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.jobs.job_cost import before_creation, job_cost

from tests.support.paths import PRICES

COUNTED: dict[str, Any] = {
    "tuning_data_stats": {"supervised_tuning_data_stats": {"total_billable_token_count": "100000"}},
    "supervised_tuning_spec": {"hyper_parameters": {"epoch_count": "4"}},
}
LABEL: dict[str, Any] = {"labels": {"airflow-training-tokens": "600000"}}
STARTED: dict[str, Any] = {"start_time": "2026-11-01T06:01:00Z"}


def cost(state: str = "SUCCEEDED", /, **fields: Any) -> JobCost:
    given = {
        "name": "projects/1/locations/us-central1/tuningJobs/1",
        "state": f"JOB_STATE_{state}",
        "base_model": "gemini-2.5-flash",
        "create_time": "2026-11-01T06:00:00Z",
    }
    return job_cost(TuningJob.parse({**given, **fields}), load_prices(PRICES))


@pytest.mark.parametrize("state", ["SUCCEEDED", "RUNNING", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"])
def test_the_services_count_comes_first_in_every_state(state: str) -> None:
    found = cost(state, **COUNTED, **LABEL, **STARTED)
    assert (found.training_tokens, found.amount, found.is_estimate) == (400_000, 2.0, False)
    assert found.is_upper_bound is (state not in ("SUCCEEDED", "RUNNING"))


@pytest.mark.parametrize("state", ["QUEUED", "PENDING", "RUNNING", "CANCELLING", "SUCCEEDED"])
def test_a_job_without_a_count_has_its_estimate(state: str) -> None:
    found = cost(state, **LABEL)
    assert (found.training_tokens, found.amount, found.is_estimate) == (600_000, 3.0, True)


def test_without_either_it_counts_as_the_run_that_looks() -> None:
    waiting = TuningJob.parse({"name": "n", "state": "JOB_STATE_PENDING", "base_model": "gemini-2.5-flash"})
    assert job_cost(waiting, load_prices(PRICES), default_tokens=200_000).amount == 1.0
    assert cost("PENDING").amount is None
    for label in ("", "many", "-1", "²"):
        assert cost("PENDING", labels={"airflow-training-tokens": label}).training_tokens is None


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED", "EXPIRED"])
def test_what_ended_before_it_ran_costs_nothing(state: str) -> None:
    assert cost(state, **LABEL).amount == 0
    assert cost(state, **LABEL, **STARTED).amount == 3.0
    assert cost(state, base_model="gemini-9", **LABEL).amount == 0


def test_what_repeats_a_job_costs_as_much_again() -> None:
    failed = TuningJob.parse({"name": "n", "state": "JOB_STATE_FAILED", "base_model": "gemini-2.5-flash", **LABEL})
    assert job_cost(failed, load_prices(PRICES)).amount == 0
    again = job_cost(before_creation(failed), load_prices(PRICES))
    assert (again.name, again.amount, again.is_upper_bound) == ("", 3.0, False)


def test_a_model_without_a_price_has_tokens_but_no_cost() -> None:
    further = {
        "pre_tuned_model": {"tuned_model_name": "projects/1/locations/l/models/2@1", "base_model": "gemini-2.5-pro"}
    }
    given: list[dict[str, Any]] = [{"base_model": "gemini-9"}, {"base_model": None}, further]
    for fields in given:
        found = cost(**{**COUNTED, **fields})
        assert (found.training_tokens, found.amount) == (400_000, None)
