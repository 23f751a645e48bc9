"""Google's documented limits and token rates of files in examples, from the package's table."""

from __future__ import annotations

from functools import cache

from vertex_tuning.config.base_models import base_model
from vertex_tuning.config.data_tables import read_table, table_path
from vertex_tuning.costs.media import MediaFacts, MediaTable


@cache
def media_table() -> MediaTable:
    """The table of files.

    :raises ConfigurationError: the table cannot be read
    """
    return read_table("media", table_path("media"), MediaTable)


def media_facts(model: str) -> MediaFacts:
    """Documented facts about files in examples for a base model.

    The generation of a tuned model is not known, nor is that of a model that the table of base models does not have.
    Then the rates of all generations are given.

    :param model: id of a base model, name of a tuned model, or empty
    :raises ConfigurationError: a table cannot be read
    """
    table, known = media_table(), base_model(model)
    rates = [rates for rates in table.rates if known and rates.generation == known.generation]
    refuses = known is not None and known.function_calls_refused is not None
    return MediaFacts(model, table.kinds, rates or table.rates, refuses)
