"""The price table, as people write it: a YAML file that is read as strictly as a tuning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vertex_tuning.config.data_tables import conversion_problem, read_table
from vertex_tuning.config.strict_yaml import Document, Mistake
from vertex_tuning.costs.pricing import Price, PriceTable
from vertex_tuning.schema import FieldPath, field_name

_PRICES: Final = "per_million_training_tokens"


def load_prices(path: Path) -> PriceTable:
    """Load a price table.

    :raises ConfigurationError: has a line for every mistake, which names the file, the line and the field
    """
    return read_table("prices", path, PriceTable, dates={("date",)}, first_mistakes=_wrong_prices)


def _wrong_prices(document: Document) -> Iterator[Mistake]:
    """Mistakes of single prices, whose model msgspec does not name."""
    prices = document.content.get(_PRICES) if isinstance(document.content, dict) else None
    for model, price in prices.items() if isinstance(prices, dict) else ():
        if problem := conversion_problem(price, Price):
            path: FieldPath = (_PRICES, model)
            yield Mistake(path, document.line(path), f"{field_name(path)}: {problem}.")
