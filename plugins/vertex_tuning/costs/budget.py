"""Costs of the jobs of a tuning over time, and the check that another job fits into the budget. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from vertex_tuning.exceptions import BudgetExceededError, CostLimitError
from vertex_tuning.text.plain_text import first_lines, moment

BUDGET_DAYS: Final = 30
"""Days over which `max_cost_per_30_days` counts."""
BUDGET_PERIOD: Final = timedelta(days=BUDGET_DAYS)
JOBS_SHOWN: Final = 20
UPPER_BOUND: Final = (
    "Google does not document what it bills for failed and cancelled jobs. Their cost is an upper bound."
)


class JobCost(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of a tuning job by the price table.

    :param name: name of the job; empty before the job is created
    :param model: the model that is tuned
    :param created: when the service created the job
    :param training_tokens: billable tokens times epochs; None if they are not known
    :param amount: in the currency of the price table; None without tokens or without a price
    :param is_estimate: the service has not counted the tokens yet
    :param is_upper_bound: the job ended without success, so it may cost less
    """

    name: str
    model: str
    created: datetime
    training_tokens: int | None
    amount: float | None
    is_estimate: bool = False
    is_upper_bound: bool = False

    def describe(self, currency: str) -> str:
        """The job and its cost in one line."""
        kinds = [*(["estimate"] * self.is_estimate), *(["upper bound"] * self.is_upper_bound)]
        note = f" ({', '.join(kinds)})" if kinds else ""
        created = moment(self.created.isoformat())
        return f"{self.name}, created {created}: {format_money(self.amount or 0.0, currency)}{note}"


class CostTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The costs of several jobs.

    :param jobs: number of jobs
    :param training_tokens: sum of the known tokens
    :param amount: sum of the known costs, in the currency of the price table
    :param unknown: number of jobs whose cost is not known
    :param estimates: number of jobs whose tokens the service has not counted yet
    :param upper_bounds: number of jobs that ended without success
    """

    jobs: int
    training_tokens: int
    amount: float
    unknown: int
    estimates: int
    upper_bounds: int

    @classmethod
    def of(cls, costs: Sequence[JobCost]) -> CostTotals:
        """Sum up the costs of jobs."""
        return cls(
            jobs=len(costs),
            training_tokens=sum(cost.training_tokens or 0 for cost in costs),
            amount=total_cost(costs),
            unknown=sum(cost.amount is None for cost in costs),
            estimates=sum(cost.is_estimate for cost in costs),
            upper_bounds=sum(cost.is_upper_bound for cost in costs),
        )


def format_money(amount: float, currency: str) -> str:
    """An amount with its currency. Small amounts have more digits, so that none of them is shown as 0."""
    digits = 2 if amount >= 1 or not amount else 4
    return f"{currency} {amount:,.{digits}f}"


def recent_costs(jobs: Iterable[JobCost], now: datetime, period: timedelta = BUDGET_PERIOD) -> list[JobCost]:
    """The jobs that were created within a period before `now`, oldest first."""
    return sorted((job for job in jobs if job.created > now - period), key=lambda job: (job.created, job.name))


def total_cost(jobs: Iterable[JobCost]) -> float:
    """Sum of the known costs."""
    return sum((job.amount or 0.0 for job in jobs), 0.0)


def room_from(job: JobCost, earlier: Sequence[JobCost], limit: float) -> datetime | None:
    """When enough of the earlier jobs are older than the period, so that a job fits into the budget.

    :param earlier: the jobs of the period, oldest first
    :returns: None if the job alone is over the limit
    """
    for index, old in enumerate(earlier):
        if _fits([job, *earlier[index + 1 :]], limit):
            return old.created + BUDGET_PERIOD
    return None


def check_budget(job: JobCost, earlier: Iterable[JobCost], limit: float, now: datetime, currency: str) -> None:
    """Check that another job fits into the budget.

    :param job: the estimate of the job to create
    :param earlier: jobs of the same tuning
    :param limit: `max_cost_per_30_days`
    :raises BudgetExceededError: the sum is over the limit; the message has the jobs and the day with room again
    :raises CostLimitError: a cost is not known, so it cannot be compared with the limit
    """
    recent = recent_costs(earlier, now)
    for counted in (job, *recent):
        _require_amount(counted, limit)
    if _fits([job, *recent], limit):
        return
    found = f"{format_money(job.amount or 0.0, currency)} for this run"
    if recent:
        jobs = f"{len(recent)} job{'' if len(recent) == 1 else 's'}"
        since = (now - BUDGET_PERIOD).astimezone(UTC).date()
        found = f"{format_money(total_cost(recent), currency)} for {jobs} since {since}, and {found}"
    lines = [
        f"max_cost_per_30_days: found {found}, expected at most {format_money(limit, currency)} together. "
        f"This run trains nothing. {_next_step(room_from(job, recent, limit))}",
        *first_lines([old.describe(currency) for old in reversed(recent)], JOBS_SHOWN),
        *([UPPER_BOUND] if any(old.is_upper_bound for old in recent) else []),
    ]
    raise BudgetExceededError("\n".join(lines))


def _fits(jobs: Iterable[JobCost], limit: float) -> bool:
    """Whether jobs fit into a limit. Sums are rounded: 0.1 and 0.2 fit into 0.3."""
    return round(total_cost(jobs), 6) <= limit


def _require_amount(job: JobCost, limit: float) -> None:
    if job.amount is not None:
        return
    where = job.name or "this run"
    if job.training_tokens is None:
        raise CostLimitError(
            f"max_cost_per_30_days: found no estimate for {where}, expected one to compare with {limit:,.2f}. "
            "Set `cost` to the `cost` of an UploadDatasetOperator."
        )
    raise CostLimitError(
        f"max_cost_per_30_days: found no price of {job.model} for {where}, expected one to compare with {limit:,.2f}. "
        "Add the model to the price table."
    )


def _next_step(room: datetime | None) -> str:
    if room is None:
        return "This run alone is over the limit: take fewer epochs, less data or a cheaper model, or raise the limit."
    after = room + timedelta(seconds=1)  # the text has no fractions of a second
    return f"There is room again on {moment(after.isoformat())}. To train earlier, raise the limit."
