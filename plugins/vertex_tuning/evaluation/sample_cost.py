"""Estimate the cost of an evaluation, before any answer is known. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from vertex_tuning.costs.pricing import PriceTable, RequestCost
from vertex_tuning.scores import MetricKind, SampleMetric

TEMPLATE_TOKENS: Final = 1100
"""Tokens of a judge's instructions: the longest of Google's prompts for pairs has 4,200 characters."""
OUTPUT_TOKENS: Final = 1000
"""Tokens that a judge thinks and writes per request. This project's own figure, meant as an upper limit."""

TUNED_MODELS: Final = 2
"""New model and model in use."""

_REQUESTS: Final[dict[MetricKind, int]] = {"pairwise": 2, "predefined": 2, "rubric": 1}
"""Requests to the judge: a pair in both orders; for a predefined metric the rubrics, then the verdicts."""


def estimate_predictions(
    base_model: str,
    *,
    rows: int,
    baseline: bool,
    prompt_tokens: int,
    answer_tokens: int,
    table: PriceTable | None,
) -> RequestCost:
    """Estimate the cost of the predictions: of the new model, the model in use and, with `baseline`, the base model.

    :param rows: rows of the sample
    :param prompt_tokens: tokens of all prompts of the sample together
    :param answer_tokens: tokens of all references together; answers are taken to be as long
    :param table: None without a price table
    """
    models = TUNED_MODELS + baseline
    cost = RequestCost(
        what="predictions of the sample",
        requests=rows * models,
        input_tokens=prompt_tokens * models,
        output_tokens=answer_tokens * models,
    )
    price = table.prediction_price(base_model) if table else None
    if table is None or price is None:
        return cost
    each = prompt_tokens * price.per_million_input_tokens + answer_tokens * price.per_million_output_tokens
    amount = each * (TUNED_MODELS * price.tuned_factor + baseline) / 1e6
    return msgspec.structs.replace(cost, amount=amount, currency=table.currency, price_date=table.date.isoformat())


def estimate_judging(
    metrics: Iterable[SampleMetric],
    *,
    rows: int,
    models: int,
    prompt_tokens: int,
    answer_tokens: int,
    table: PriceTable | None,
) -> RequestCost:
    """Estimate the cost of judging a sample.

    :param metrics: metrics of the tuning; those without a judge cost nothing here
    :param rows: rows of the sample
    :param models: models whose answers are rated: new model, model in use, baseline
    :param prompt_tokens: tokens of all prompts of the sample together
    :param answer_tokens: tokens of all references together; answers are taken to be as long
    :param table: None without a price table
    """
    requests = input_tokens = 0
    for kind in (metric.kind for metric in metrics if metric.is_judged):
        # A request of a pair has two answers; all others have one, for each model.
        answers, times = (2, _REQUESTS[kind]) if kind == "pairwise" else (1, _REQUESTS[kind] * models)
        requests += times * rows
        input_tokens += times * (rows * TEMPLATE_TOKENS + prompt_tokens + answers * answer_tokens)
    cost = RequestCost(
        what="judge", requests=requests, input_tokens=input_tokens, output_tokens=requests * OUTPUT_TOKENS
    )
    judge = table.judge if table else None
    if table is None or judge is None:
        return cost
    read, written = (
        cost.input_tokens * judge.per_million_input_tokens,
        cost.output_tokens * judge.per_million_output_tokens,
    )
    return msgspec.structs.replace(
        cost, amount=(read + written) / 1e6, currency=table.currency, price_date=table.date.isoformat()
    )
