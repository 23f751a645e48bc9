"""Cost of a tuning job, by its token count and the price table. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from vertex_tuning.costs.budget import JobCost
from vertex_tuning.costs.pricing import PriceTable
from vertex_tuning.jobs.job import TRAINING_TOKENS_LABEL, TuningJob, billed_tokens


def job_cost(job: TuningJob, prices: PriceTable, default_tokens: int | None = None) -> JobCost:
    """The cost of a job.

    A job counts with the tokens that the service counted, or else with the estimate in its label. A job that failed or
    was cancelled counts in full, because Google does not document its bill. A job that ended before it ran and before
    its tokens were counted costs nothing.

    :param default_tokens: training tokens of a job that has neither a count nor an estimate
    """
    counted = billed_tokens(job)
    tokens = counted if counted is not None else _estimated_tokens(job, default_tokens)
    model = tuned_base(job)
    price = prices.price(model)
    return JobCost(
        name=job.name,
        model=model,
        created=datetime.fromisoformat(job.create_time) if job.create_time else datetime.now(UTC),
        training_tokens=tokens,
        amount=_amount(tokens, price),
        is_estimate=counted is None and bool(tokens),
        is_upper_bound=not job.is_live and not job.succeeded,
    )


def before_creation(job: TuningJob) -> TuningJob:
    """The next job with the same request, before it is created."""
    return msgspec.structs.replace(job, name="", state=TuningJob(name="").state, create_time=None)


def tuned_base(job: TuningJob) -> str:
    """The model that a job tunes: a base model, or the tuned model that it tunes further."""
    before = job.pre_tuned_model
    return (before.tuned_model_name if before else job.base_model) or ""


def _estimated_tokens(job: TuningJob, default_tokens: int | None) -> int | None:
    if not job.is_live and not job.succeeded and job.start_time is None:
        return 0
    label = job.labels.get(TRAINING_TOKENS_LABEL, "")
    return int(label) if label.isascii() and label.isdecimal() else default_tokens


def _amount(tokens: int | None, price: float | None) -> float | None:
    """No tokens cost nothing, whatever the price."""
    if tokens == 0:
        return 0.0
    return None if tokens is None or price is None else tokens / 1e6 * price
