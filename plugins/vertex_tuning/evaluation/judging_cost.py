"""What a judge will cost, before any answer is known. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from vertex_tuning.costs.pricing import PriceTable
from vertex_tuning.scores import MetricKind, SampleMetric

TEMPLATE_TOKENS: Final = 1100
"""Tokens of a judge's instructions: the longest of Google's prompts for pairs has 4,200 characters."""
OUTPUT_TOKENS: Final = 1000
"""Tokens that a judge thinks and writes per request. This project's own figure, meant as an upper limit."""

_REQUESTS: Final[dict[MetricKind, int]] = {"pairwise": 2, "predefined": 2, "rubric": 1}
"""Requests to the judge: a pair in both orders; for a predefined metric the rubrics, then the verdicts."""


class JudgingCost(msgspec.Struct, frozen=True, kw_only=True):
    """The estimated cost of the judge and how it comes about.

    :param requests: requests to the judge
    :param input_tokens: tokens that it reads
    :param output_tokens: tokens that it writes
    :param amount: in `currency`; None if the price of a judge is not known
    :param price_date: of the price table, ISO 8601
    """

    requests: int
    input_tokens: int
    output_tokens: int
    amount: float | None = None
    currency: str = ""
    price_date: str = ""

    def __str__(self) -> str:
        tokens = f"{self.input_tokens:,} tokens to read and up to {self.output_tokens:,} to write"
        text = f"judge: {self.requests:,} requests, {tokens}"
        if self.amount is None:
            return f"{text}; no price is known for a judge"
        return f"{text} = {self.currency} {self.amount:,.2f} (prices as of {self.price_date})"


def estimate_judging(
    metrics: Iterable[SampleMetric],
    *,
    rows: int,
    models: int,
    prompt_tokens: int,
    answer_tokens: int,
    table: PriceTable | None,
) -> JudgingCost:
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
    cost = JudgingCost(requests=requests, input_tokens=input_tokens, output_tokens=requests * OUTPUT_TOKENS)
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
