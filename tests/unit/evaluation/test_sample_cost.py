from __future__ import annotations

import datetime

import pytest
from vertex_tuning.config.data_tables import table_path
from vertex_tuning.config.price_table import load_prices
from vertex_tuning.costs.pricing import JudgePrice, PriceTable, RequestCost, RequestPrice
from vertex_tuning.evaluation.sample_cost import (
    OUTPUT_TOKENS,
    TEMPLATE_TOKENS,
    estimate_judging,
    estimate_predictions,
)
from vertex_tuning.evaluation.sample_metrics import parse_metrics

JUDGE = JudgePrice(model="gemini-x", per_million_input_tokens=2.0, per_million_output_tokens=10.0)
TABLE = PriceTable(datetime.date(2026, 8, 1), "https://example.com", "USD", {}, JUDGE)


def estimate(*metrics: object, rows: int = 100, models: int = 2, table: PriceTable | None = TABLE) -> RequestCost:
    return estimate_judging(
        parse_metrics(list(metrics)), rows=rows, models=models, prompt_tokens=50_000, answer_tokens=5_000, table=table
    )


def test_a_pair_is_judged_in_both_orders_and_each_request_has_two_answers() -> None:
    cost = estimate({"pairwise": "text_quality"})
    assert cost.requests == 200
    assert cost.input_tokens == 2 * (100 * TEMPLATE_TOKENS + 50_000 + 2 * 5_000)
    assert cost.output_tokens == 200 * OUTPUT_TOKENS
    assert cost.amount == pytest.approx((cost.input_tokens * 2 + cost.output_tokens * 10) / 1e6)
    assert (cost.currency, cost.price_date) == ("USD", "2026-08-01")


def test_a_rating_is_paid_for_each_model() -> None:
    one, three = (estimate({"rubric": "Is short."}, models=models) for models in (1, 3))
    assert (one.requests, three.requests) == (100, 300)
    assert three.input_tokens == 3 * one.input_tokens == 3 * (100 * TEMPLATE_TOKENS + 55_000)
    assert estimate("general_quality", models=1).requests == 200


def test_metrics_without_a_judge_cost_nothing() -> None:
    cost = estimate("exact_match", "rouge_l_sum")
    assert (cost.requests, cost.amount) == (0, 0)


@pytest.mark.parametrize("table", [None, PriceTable(TABLE.date, TABLE.source, "USD", {})])
def test_without_a_price_the_amount_is_unknown(table: PriceTable | None) -> None:
    cost = estimate({"pairwise": "text_quality"}, table=table)
    assert cost.amount is None
    assert str(cost).endswith("; no price is known")


def test_the_text_has_the_arithmetic() -> None:
    assert str(estimate({"pairwise": "text_quality"})) == (
        "judge: 200 requests, 340,000 tokens to read and up to 200,000 to write = USD 2.68 (prices as of 2026-08-01)"
    )


def test_the_package_knows_a_price() -> None:
    table = load_prices(table_path("prices"))
    assert estimate({"pairwise": "text_quality"}, rows=500, table=table).amount


def test_tuned_models_may_cost_more_than_their_base() -> None:
    price = RequestPrice(per_million_input_tokens=1.0, per_million_output_tokens=4.0, tuned_factor=1.5)
    table = PriceTable(TABLE.date, TABLE.source, "USD", {}, predictions={"gemini-x": price})
    sample: dict[str, int] = {"rows": 100, "prompt_tokens": 1_000_000, "answer_tokens": 500_000}
    both = estimate_predictions("gemini-x-001", baseline=True, table=table, **sample)
    assert both.requests == 300
    assert both.amount == pytest.approx(3.0 * (2 * 1.5 + 1))
    alone = estimate_predictions("gemini-x", baseline=False, table=table, **sample)
    assert alone.requests == 200
    assert alone.amount == pytest.approx(9.0)
    assert estimate_predictions("gemini-y", baseline=True, table=table, **sample).amount is None
