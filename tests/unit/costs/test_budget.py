"""Money over time: what jobs cost, and whether another fits into the budget."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from vertex_tuning.costs.budget import (
    BUDGET_PERIOD,
    JOBS_SHOWN,
    CostTotals,
    JobCost,
    check_budget,
    format_money,
    recent_costs,
    total_cost,
)
from vertex_tuning.exceptions import BudgetExceededError, CostLimitError

NOW = datetime(2026, 11, 28, 6, tzinfo=UTC)


def job(amount: float | None, days_ago: float = 0, **fields: Any) -> JobCost:
    given = {
        "name": f"projects/1/locations/us-central1/tuningJobs/{days_ago:g}",
        "model": "gemini-2.5-flash",
        "created": NOW - timedelta(days=days_ago),
        "training_tokens": 1_000_000,
        "amount": amount,
    }
    return JobCost(**{**given, **fields})


def planned(amount: float | None, **fields: Any) -> JobCost:
    return job(amount, **{"name": "", **fields})


def check(amount: float, earlier: list[JobCost], limit: float, now: datetime = NOW) -> None:
    check_budget(planned(amount), earlier, limit, now, "USD")


def test_the_limit_is_inclusive_and_cents_add_up() -> None:
    check(10, [job(20, 3), job(20, 9)], 50)
    check(0.1, [job(0.2, 3)], 0.3)
    check(50, [], 50)


def test_a_job_counts_for_30_days() -> None:
    with pytest.raises(BudgetExceededError):
        check(10, [job(45, 29.999)], 50)
    check(10, [job(45, 30)], 50)
    assert recent_costs([job(1, 40), job(1, 2), job(1, 10)], NOW) == [job(1, 10), job(1, 2)]


def test_a_refusal_names_the_sum_the_jobs_and_when_there_is_room_again() -> None:
    earlier = [job(20, 3, is_estimate=True), job(12, 28), job(15, 10, is_upper_bound=True), job(99, 31)]
    with pytest.raises(BudgetExceededError) as refused:
        check(10, earlier, 50)
    first, *lines = str(refused.value).splitlines()
    assert first == (
        "max_cost_per_30_days: found USD 47.00 for 3 jobs since 2026-10-29, and USD 10.00 for this run, expected at "
        "most USD 50.00 together. This run trains nothing. There is room again on 2026-11-30 06:00:01 UTC. To train "
        "earlier, raise the limit."
    )
    assert lines == [
        "projects/1/locations/us-central1/tuningJobs/3, created 2026-11-25 06:00:00 UTC: USD 20.00 (estimate)",
        "projects/1/locations/us-central1/tuningJobs/10, created 2026-11-18 06:00:00 UTC: USD 15.00 (upper bound)",
        "projects/1/locations/us-central1/tuningJobs/28, created 2026-10-31 06:00:00 UTC: USD 12.00",
        "Google does not document what it bills for failed and cancelled jobs. Their cost is an upper bound.",
    ]


@pytest.mark.parametrize("earlier", [[], [job(5, 2)]])
def test_a_run_that_alone_is_over_the_limit_never_has_room(earlier: list[JobCost]) -> None:
    with pytest.raises(BudgetExceededError, match="This run alone is over the limit: take fewer epochs") as refused:
        check(51, earlier, 50)
    assert "room again" not in str(refused.value)


def test_many_jobs_make_a_message_that_can_be_read() -> None:
    with pytest.raises(BudgetExceededError, match="… and 180 more") as refused:
        check(1, [job(1, day / 10) for day in range(200)], 100)
    assert len(str(refused.value).splitlines()) == JOBS_SHOWN + 2


@pytest.mark.parametrize("seed", range(50))
def test_there_is_room_at_the_time_that_a_refusal_names_and_none_before(seed: int) -> None:
    draw = random.Random(seed)
    earlier = [job(draw.uniform(1, 20), draw.uniform(0, 35)) for _ in range(draw.randint(1, 12))]
    amount = draw.uniform(1, 30)
    try:
        check(amount, earlier, 40)
    except BudgetExceededError as refused:
        text = str(refused).partition("room again on ")[2][:19]
        moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        check(amount, earlier, 40, moment)
        with pytest.raises(BudgetExceededError):
            check(amount, earlier, 40, moment - timedelta(seconds=2))
    else:
        assert total_cost(recent_costs(earlier, NOW)) + amount <= 40


def test_what_has_no_price_or_no_estimate_is_refused_with_the_next_step() -> None:
    with pytest.raises(CostLimitError, match=r"no price of gemini-9 for this run.* Add the model to the price table"):
        check_budget(planned(None, model="gemini-9"), [], 50, NOW, "USD")
    with pytest.raises(CostLimitError, match=r"no estimate for this run.* Set `cost`"):
        check_budget(planned(None, training_tokens=None), [], 50, NOW, "USD")
    with pytest.raises(CostLimitError, match=r"no price of gemini-9 for projects/.*/tuningJobs/4"):
        check_budget(planned(1), [job(None, 4, model="gemini-9")], 50, NOW, "USD")
    check_budget(planned(1), [job(None, 31, model="gemini-9")], 50, NOW, "USD")


def test_a_summary_counts_what_is_not_certain() -> None:
    costs = [job(2), job(None), job(3, is_estimate=True), job(4, is_upper_bound=True)]
    summary = CostTotals.of(costs)
    assert summary == CostTotals(jobs=4, training_tokens=4_000_000, amount=9.0, unknown=1, estimates=1, upper_bounds=1)
    assert CostTotals.of([]).amount == 0


def test_small_amounts_are_not_shown_as_nothing() -> None:
    assert [format_money(amount, "USD") for amount in (0, 0.0012, 1234.5)] == ["USD 0.00", "USD 0.0012", "USD 1,234.50"]
    assert timedelta(days=30) == BUDGET_PERIOD
