"""What a run costs, and what it may cost."""

from __future__ import annotations

from typing import Any

import pytest
from vertex_tuning.config.base_models import tunable_models
from vertex_tuning.config.price_table import load_prices
from vertex_tuning.costs.pricing import PriceTable, check_limits, parse_count, parse_limit, price_run
from vertex_tuning.exceptions import ConfigurationError, CostLimitError

from tests.support.paths import PRICES


@pytest.fixture(scope="module")
def table() -> PriceTable:
    return load_prices(PRICES)


def test_every_tunable_model_has_a_price_but_the_one_whose_price_is_not_known(table: PriceTable) -> None:
    assert [model for model in tunable_models() if not table.price(model)] == ["gemini-3.5-flash-lite"]
    assert table.source.startswith("https://")


def test_the_run_seen_at_52_dollars_would_have_been_announced(table: PriceTable) -> None:
    cost = price_run("gemini-3.1-flash-lite", 433_000, 40, table)
    assert cost.amount == pytest.approx(51.96)
    with pytest.raises(CostLimitError) as error:
        check_limits(cost, 10, None)
    arithmetic = (
        "433,000 tokens x 40 epochs = 17,320,000 training tokens x USD 3.00 per million for gemini-3.1-flash-lite "
        "(as of 2026-08-01) = USD 51.96, expected at most USD 10.00"
    )
    assert arithmetic in str(error.value)


@pytest.mark.parametrize(
    ("model", "price"),
    [
        ("gemini-2.5-flash", 5.0),
        ("gemini-2.5-flash-001", 5.0),
        ("gemini-2.5-flash-lite", 1.5),
        ("gemini-2.5-flash-image", None),
        ("gemini-3.5-flash-lite", None),
        ("gemini-2.5", None),
        ("projects/1/locations/us-central1/models/2@1", None),
        ("", None),
    ],
)
def test_only_a_model_and_its_versions_have_its_price(table: PriceTable, model: str, price: float | None) -> None:
    assert table.price(model) == price


def test_limits_are_inclusive_and_each_counts_alone(table: PriceTable) -> None:
    cost = price_run("gemini-2.5-flash", 100_000, 2, table)
    assert cost.amount == 1.0
    check_limits(cost, 1.0, 200_000)
    check_limits(cost, None, None)
    with pytest.raises(CostLimitError, match=r"max_training_tokens: found .*200,000 training tokens.* most 199,999"):
        check_limits(cost, 1.0, 199_999)


@pytest.mark.parametrize("known", [True, False])
def test_what_nobody_knows_the_price_of_is_refused_only_where_a_price_is_limited(
    table: PriceTable, known: bool
) -> None:
    cost = price_run("gemini-9-flash", 1000, 2, table if known else None)
    assert (cost.amount, cost.training_tokens) == (None, 2000)
    check_limits(cost, None, 2000)
    with pytest.raises(CostLimitError, match=r"no price is known for gemini-9-flash, expected a price"):
        check_limits(cost, 1e9, None)


@pytest.mark.parametrize(("value", "limit"), [("", None), (None, None), ("None", None), ("2.5", 2.5), (3, 3.0)])
def test_limits_are_read_from_rendered_text(value: Any, limit: float | None) -> None:
    assert parse_limit("max_cost", value) == limit


@pytest.mark.parametrize("value", ["x", "0", -1, "nan", "1e", [1], True])
def test_limits_that_are_none_are_named(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"max_cost: found .*, expected a number over 0"):
        parse_limit("max_cost", value)


@pytest.mark.parametrize(("value", "count"), [("", None), ("None", None), ("3", 3), (4, 4), (5.0, 5)])
def test_counts_are_read_from_rendered_text(value: Any, count: int | None) -> None:
    assert parse_count("epoch_count", value) == count


@pytest.mark.parametrize("value", ["0", 0, "2.5", "many", -3])
def test_counts_that_are_none_are_named(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"epoch_count: found .*, expected a whole number, 1 or more"):
        parse_count("epoch_count", value)


def test_the_most_that_files_may_cost_is_shown_and_compared_with_the_limits(table: PriceTable) -> None:
    cost = price_run("gemini-3.1-flash-lite", 10_000, 2, table, most_tokens=1_000_000, can_inspect=True)
    assert cost.amount == pytest.approx(0.06)
    assert cost.most_amount == pytest.approx(6.0)
    assert "= USD 0.06, at most 2,000,000 training tokens = USD 6.00" in str(cost)
    check_limits(cost, 6.0, 2_000_000)
    with pytest.raises(
        CostLimitError, match=r"max_cost: found .* expected at most USD 5\.00\. Set `inspect_files: true`"
    ):
        check_limits(cost, 5.0, None)
    with pytest.raises(CostLimitError, match=r"max_training_tokens: found .* `inspect_files: true`"):
        check_limits(cost, None, 1_999_999)


@pytest.mark.parametrize(("can_inspect", "most_tokens"), [(False, 1_000_000), (True, 0)])
def test_reading_the_files_is_advised_only_where_it_helps(
    table: PriceTable, can_inspect: bool, most_tokens: int
) -> None:
    cost = price_run("gemini-3.1-flash-lite", 500_000, 2, table, most_tokens=most_tokens, can_inspect=can_inspect)
    with pytest.raises(CostLimitError) as error:
        check_limits(cost, 1.0, None)
    assert "inspect_files" not in str(error.value)


def test_a_bound_without_a_price_is_shown_in_tokens() -> None:
    cost = price_run("gemini-9-flash", 1000, 2, None, most_tokens=5000)
    assert "at most 10,000 training tokens, as the size of its files is not known; no price is known" in str(cost)
