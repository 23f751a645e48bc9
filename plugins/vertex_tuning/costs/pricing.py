"""What a tuning job will cost, and whether it may. Pure.

Billed are the training data's tokens times the epochs (guide to supervised tuning, "Pricing"); the prices are a table
of the user's, with its date.
"""

from __future__ import annotations

import datetime
import re
from typing import Annotated, Any

import msgspec

from vertex_tuning.exceptions import CostLimitError
from vertex_tuning.text.templates import parse_rendered

Price = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
_VERSION = re.compile(r"-\d{3}$")


class JudgePrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices of the model that judges answers.

    :param model: the model whose prices these are
    """

    model: str
    per_million_input_tokens: Price
    per_million_output_tokens: Price


class PriceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices of tuning.

    :param date: when they were looked up
    :param source: where
    :param currency: e.g. "USD"
    :param per_million_training_tokens: by base model, without version ("gemini-2.5-flash")
    :param judge: prices of the judge; None if they are not known
    """

    date: datetime.date
    source: str
    currency: str
    per_million_training_tokens: dict[str, Price]
    judge: JudgePrice | None = None

    def price(self, model: str) -> float | None:
        """The price of a model or of a numbered version of it; None for any other, however alike its name."""
        prices = self.per_million_training_tokens
        return prices.get(model, prices.get(_VERSION.sub("", model)))


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of a run and how it comes about.

    :param tokens: billable tokens of the training data
    :param training_tokens: these times the epochs
    :param price: per 1,000,000 training tokens; None when the table does not know the model
    :param amount: in `currency`; None without a price
    :param price_date: of the table, ISO 8601
    :param counted: how the tokens were counted, in words
    """

    model: str
    tokens: int
    epochs: int
    training_tokens: int
    price: float | None = None
    amount: float | None = None
    currency: str = ""
    price_date: str = ""
    counted: str = ""

    def __str__(self) -> str:
        counted = f" ({self.counted})" if self.counted else ""
        text = f"{self.tokens:,} tokens{counted} x {self.epochs} epochs = {self.training_tokens:,} training tokens"
        if self.amount is None:
            return f"{text}; no price is known for {self.model}"
        price = f"{self.currency} {self.price:.2f} per million for {self.model} (as of {self.price_date})"
        return f"{text} x {price} = {self.currency} {self.amount:,.2f}"


def price_run(model: str, tokens: int, epochs: int, table: PriceTable | None, counted: str = "") -> Cost:
    """What a run costs.

    :param tokens: billable tokens of the training data
    :param table: None when there is none
    :param counted: how the tokens were counted, in words
    """
    trained = tokens * epochs
    cost = Cost(model=model, tokens=tokens, epochs=epochs, training_tokens=trained, counted=counted)
    price = table.price(model) if table else None
    if table is None or price is None:
        return cost
    amount, date = trained / 1e6 * price, table.date.isoformat()
    return msgspec.structs.replace(cost, price=price, amount=amount, currency=table.currency, price_date=date)


def check_limits(cost: Cost, max_cost: float | None, max_training_tokens: int | None) -> None:
    """:raises CostLimitError: with the arithmetic, when the run is over a limit or has no price to hold against one"""
    if max_training_tokens is not None and cost.training_tokens > max_training_tokens:
        raise CostLimitError(f"max_training_tokens: found {cost}, expected at most {max_training_tokens:,}. {_HINT}")
    if max_cost is None:
        return
    if cost.amount is None:
        raise CostLimitError(
            f"max_cost: found {cost}, expected a price to compare with {max_cost:,.2f}. Add the model to the price "
            "table, or limit max_training_tokens instead."
        )
    if cost.amount > max_cost:
        raise CostLimitError(f"max_cost: found {cost}, expected at most {cost.currency} {max_cost:,.2f}. {_HINT}")


def parse_limit(name: str, value: Any) -> float | None:
    """A limit as a template renders it: a number over 0, or nothing.

    :raises ConfigurationError: when it is neither
    """
    limit: float | None = parse_rendered(name, value, Price, "a number over 0")
    return limit


def parse_count(name: str, value: Any) -> int | None:
    """The same for a whole number."""
    count: int | None = parse_rendered(name, value, Annotated[int, msgspec.Meta(ge=1)], "a whole number, 1 or more")
    return count


_HINT = "Take fewer epochs, less data or a cheaper model, or raise the limit."
