"""Estimate the cost of a run, and compare it with the limits. Pure.

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


class RequestPrice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices of requests to a model.

    :param tuned_factor: factor on both for a tuned model
    """

    per_million_input_tokens: Price
    per_million_output_tokens: Price
    tuned_factor: Price = 1.0


class JudgePrice(RequestPrice, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Prices of the model that judges answers.

    :param model: the model whose prices these are
    """

    model: str


class PriceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices of tuning.

    :param date: when they were looked up
    :param source: where
    :param currency: e.g. "USD"
    :param per_million_training_tokens: by base model, without version ("gemini-2.5-flash")
    :param judge: prices of the judge; None if they are not known
    :param predictions: prices of requests, by base model as above
    """

    date: datetime.date
    source: str
    currency: str
    per_million_training_tokens: dict[str, Price]
    judge: JudgePrice | None = None
    predictions: dict[str, RequestPrice] = {}

    def price(self, model: str) -> float | None:
        """The price of a model or of a numbered version of it; None for any other, however alike its name."""
        prices = self.per_million_training_tokens
        return prices.get(model, prices.get(_VERSION.sub("", model)))

    def prediction_price(self, model: str) -> RequestPrice | None:
        """The price of requests to a model or to a numbered version of it; None if it is not known."""
        return self.predictions.get(model, self.predictions.get(_VERSION.sub("", model)))


class RequestCost(msgspec.Struct, frozen=True, kw_only=True):
    """The estimated cost of requests to models.

    :param what: what the requests are for
    :param requests: number of requests
    :param input_tokens: tokens that the models read
    :param output_tokens: tokens that they write at most
    :param amount: in `currency`; None if a price is not known
    :param price_date: of the price table, ISO 8601
    """

    what: str
    requests: int
    input_tokens: int
    output_tokens: int
    amount: float | None = None
    currency: str = ""
    price_date: str = ""

    def __str__(self) -> str:
        tokens = f"{self.input_tokens:,} tokens to read and up to {self.output_tokens:,} to write"
        text = f"{self.what}: {self.requests:,} requests, {tokens}"
        if self.amount is None:
            return f"{text}; no price is known"
        return f"{text} = {self.currency} {self.amount:,.2f} (prices as of {self.price_date})"


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of a run and how it comes about.

    :param tokens: billable tokens of the training data
    :param epochs: passes over the training data; in a sweep, those of all candidates together
    :param candidates: number of jobs of the run
    :param training_tokens: tokens times epochs
    :param price: per 1,000,000 training tokens; None when the table does not know the model
    :param amount: in `currency`; None without a price
    :param most_tokens: like `tokens`, if the files that rows name are as large as documented limits allow
    :param most_amount: like `amount`, for these tokens
    :param can_inspect: whether reading the files would narrow the range
    :param price_date: of the table, ISO 8601
    :param counted: how the tokens were counted, in words
    :param evaluation: requests of the evaluation: predictions of the sample, and the judge
    """

    model: str
    tokens: int
    epochs: int
    candidates: int = 1
    training_tokens: int
    price: float | None = None
    amount: float | None = None
    currency: str = ""
    price_date: str = ""
    counted: str = ""
    most_tokens: int = 0
    most_amount: float | None = None
    can_inspect: bool = False
    evaluation: list[RequestCost] = []

    @property
    def evaluation_amount(self) -> float:
        """Cost of the evaluation, as far as its prices are known."""
        return sum(cost.amount or 0.0 for cost in self.evaluation)

    @property
    def most_training_tokens(self) -> int:
        """Training tokens at most; limits are compared with these."""
        return max(self.tokens, self.most_tokens) * self.epochs

    def most_training_tokens_of_job(self, epochs: int | None) -> int:
        """Training tokens at most of one job of the run.

        :param epochs: epochs of the job; None if they are not known. They count in a sweep only
        """
        if self.candidates == 1 or epochs is None:
            return self.most_training_tokens
        return max(self.tokens, self.most_tokens) * epochs

    def __str__(self) -> str:
        counted = f" ({self.counted})" if self.counted else ""
        epochs = f"{self.epochs} epochs" + (f" of {self.candidates} candidates" if self.candidates > 1 else "")
        text = f"{self.tokens:,} tokens{counted} x {epochs} = {self.training_tokens:,} training tokens"
        if self.amount is None:
            return f"{text}{self._bound()}; no price is known for {self.model}"
        price = f"{self.currency} {self.price:.2f} per million for {self.model} (as of {self.price_date})"
        return f"{text} x {price} = {self.currency} {self.amount:,.2f}{self._bound()}"

    def _bound(self) -> str:
        """The largest cost of the run; empty if that is what it costs."""
        if self.most_training_tokens == self.training_tokens:
            return ""
        amount = "" if self.most_amount is None else f" = {self.currency} {self.most_amount:,.2f}"
        return f", at most {self.most_training_tokens:,} training tokens{amount}, as the size of its files is not known"


def price_run(
    model: str,
    tokens: int,
    epochs: int,
    table: PriceTable | None,
    counted: str = "",
    *,
    candidates: int = 1,
    most_tokens: int = 0,
    can_inspect: bool = False,
) -> Cost:
    """Estimate the cost of a run.

    :param tokens: billable tokens of the training data
    :param table: None without a price table
    :param counted: how the tokens were counted, in words
    :param candidates: number of jobs, whose epochs together are `epochs`
    :param most_tokens: upper bound of the tokens; 0 if it is `tokens`
    :param can_inspect: whether reading the files would narrow the range
    """
    trained = tokens * epochs
    cost = Cost(
        model=model,
        tokens=tokens,
        epochs=epochs,
        candidates=candidates,
        training_tokens=trained,
        counted=counted,
        most_tokens=max(tokens, most_tokens),
        can_inspect=can_inspect,
    )
    price = table.price(model) if table else None
    if table is None or price is None:
        return cost
    return msgspec.structs.replace(
        cost,
        price=price,
        amount=trained / 1e6 * price,
        most_amount=cost.most_training_tokens / 1e6 * price,
        currency=table.currency,
        price_date=table.date.isoformat(),
    )


def check_limits(cost: Cost, max_cost: float | None, max_training_tokens: int | None) -> None:
    """Compare what a run costs at most with the limits.

    :raises CostLimitError: with the arithmetic, when the run may be over a limit or has no price to hold against one
    """
    if max_training_tokens is not None and cost.most_training_tokens > max_training_tokens:
        hint = _hint(cost, is_bound=cost.training_tokens <= max_training_tokens)
        raise CostLimitError(f"max_training_tokens: found {cost}, expected at most {max_training_tokens:,}. {hint}")
    if max_cost is None:
        return
    if cost.amount is None:
        raise CostLimitError(
            f"max_cost: found {cost}, expected a price to compare with {max_cost:,.2f}. Add the model to the price "
            "table, or limit max_training_tokens instead."
        )
    evaluation = cost.evaluation_amount
    most = (cost.amount if cost.most_amount is None else cost.most_amount) + evaluation
    if most > max_cost:
        hint = _hint(cost, is_bound=cost.amount + evaluation <= max_cost)
        found = " Also counted: ".join([str(cost), *(["; ".join(map(str, cost.evaluation))] if evaluation else [])])
        raise CostLimitError(f"max_cost: found {found}, expected at most {cost.currency} {max_cost:,.2f}. {hint}")


def _hint(cost: Cost, *, is_bound: bool) -> str:
    """Advice to the user. Only the upper bound may be over a limit."""
    if is_bound and cost.can_inspect:
        return f"Set `inspect_files: true`, so that the files are read for their pages and lengths. {_HINT}"
    return _HINT


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
