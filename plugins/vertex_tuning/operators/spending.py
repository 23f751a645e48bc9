"""The budget of a tuning, checked against the service's own list of jobs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from vertex_tuning.config.data_tables import table_path
from vertex_tuning.config.price_table import load_prices
from vertex_tuning.costs.budget import check_budget
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.jobs.job import DEPLOYMENT_LABEL, TuningJob
from vertex_tuning.jobs.job_cost import job_cost
from vertex_tuning.registry.aliases import TUNING_LABEL

if TYPE_CHECKING:
    from vertex_tuning.hooks.genai import VertexTuningHook

OnBudget = Literal["fail", "skip"]


def utc_now() -> datetime:
    """The current time, by which jobs are recent."""
    return datetime.now(UTC)


def older_jobs(hook: VertexTuningHook, job: TuningJob) -> list[TuningJob]:
    """All older jobs of the same tuning and installation, in the location of the hook.

    :param job: a job, or its labels before it is created
    :raises ConfigurationError: the labels do not name the tuning
    """
    tuning, deployment = job.labels.get(TUNING_LABEL), job.labels.get(DEPLOYMENT_LABEL)
    if not tuning:
        raise ConfigurationError(f"labels: found no {TUNING_LABEL!r}, which max_cost_per_30_days needs.")
    own = (old for old in hook.jobs_labelled(TUNING_LABEL, tuning) if old.labels.get(DEPLOYMENT_LABEL) == deployment)
    return [old for old in own if not job.name or old.age_rank < job.age_rank]


def require_room(job: TuningJob, older: Iterable[TuningJob], limit: float) -> None:
    """Check that a job fits into the budget together with older jobs.

    :param job: a job, or its labels, model and token count before it is created
    :param older: older jobs of the tuning
    :param limit: `max_cost_per_30_days`
    :raises BudgetExceededError: the jobs together are over the limit
    :raises CostLimitError: a cost is not known
    """
    prices = load_prices(table_path("prices"))
    estimate = job_cost(job, prices)
    costs = [job_cost(old, prices, estimate.training_tokens) for old in older]
    check_budget(estimate, costs, limit, utc_now(), prices.currency)
