"""The price table, as people write it: a YAML file that is read as strictly as a tuning."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from vertex_tuning.config.strict_yaml import (
    MISTAKES_SHOWN,
    Document,
    FieldPath,
    Mistake,
    NotYamlError,
    field_name,
    field_path,
    read_yaml_file,
)
from vertex_tuning.costs.pricing import Price, PriceTable
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.plain_text import MESSAGE_SHOWN, first_lines, plain

_PRICES: Final = "per_million_training_tokens"


def load_prices(path: Path) -> PriceTable:
    """Load a price table.

    :raises ConfigurationError: has a line for every mistake, which names the file, the line and the field
    """
    where = f"prices: {path.name}"
    try:
        document = read_yaml_file(path, dates={("date",)})
    except FileNotFoundError as error:
        raise _error(f"prices: found no file at {path}, expected a table such as prices.yaml.") from error
    except NotYamlError as error:
        raise _error(f"{where}, line {error.line}: {error}") from error
    except (ConfigurationError, OSError, ValueError) as error:
        raise _error(f"{where}: {error}") from error
    if mistakes := document.mistakes or list(_mistakes(document)):
        raise _error(*(f"{where}, line {mistake.line}: {mistake.text}" for mistake in mistakes))
    return msgspec.convert(document.content, PriceTable)


def _mistakes(document: Document) -> Iterator[Mistake]:
    """What is wrong with the values."""
    content = document.content
    prices = content.get(_PRICES) if isinstance(content, dict) else None
    wrong = {model: problem for model, price in _items(prices) if (problem := _problem(price, Price))}
    for model, problem in wrong.items():
        path: FieldPath = (_PRICES, model)
        yield Mistake(path, document.line(path), f"{field_name(path)}: {problem}.")
    # msgspec does not name the key of a price, so that prices are looked at first.
    if not wrong and (problem := _problem(content, PriceTable)):
        expected, _, place = problem.partition(" - at `$")
        path = field_path(place)
        field = f"{field_name(path)}: " if path else ""
        yield Mistake(path, document.line(path), f"{field}{expected}.")


def _items(prices: Any) -> list[tuple[str, Any]]:
    return list(prices.items()) if isinstance(prices, dict) else []


def _problem(value: Any, kind: Any) -> str:
    """What msgspec says of a value; empty when it is right."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _error(*mistakes: str) -> ConfigurationError:
    return ConfigurationError("\n".join(plain(line, MESSAGE_SHOWN) for line in first_lines(mistakes, MISTAKES_SHOWN)))
