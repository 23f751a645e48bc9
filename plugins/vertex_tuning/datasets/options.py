"""How a dataset is read: one schema for the YAML files, the operator and the reader. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError

from vertex_tuning.datasets.choices import MAX_ERRORS, ConsecutiveTurns, Format
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.schema import Model, PlainText, known_in_a_run, mistakes_of
from vertex_tuning.text.plain_text import plain
from vertex_tuning.text.templates import parse_rendered, rendered


class ColumnNames(Model):
    """Names of the columns of a CSV file, or of the fields of JSON objects."""

    _known_in_a_run = known_in_a_run("*")

    prompt: PlainText = "prompt"
    response: PlainText = "response"


class DatasetOptions(Model):
    """How a dataset is read.

    :param format: format of files whose rows do not show it, see `vertex_tuning.datasets.formats`
    :param columns: names of the prompt and of the response
    :param system_instruction: system instruction for converted rows without one
    :param consecutive_turns: `refuse` rejects converted rows with two turns of the same role in a row, `join` makes
        them one turn
    :param on_invalid_row: `fail` rejects the dataset, `drop` leaves out up to `max_dropped_share` of its rows
    :param max_dropped_share: largest share of the rows that may be left out
    :param validation_fraction: share of the training data to use for validation, if there is no validation data
    :param test_fraction: share of the training data to use as test data, without `test_data`
    :param max_leakage: largest share of the test rows that may also be training or validation data
    :param split_seed: seed of the split
    :param count_tokens_sample: number of examples whose tokens the service counts, to correct the estimate; 0 for none
    :param inspect_files: whether the files that rows name are read, for the pages of a PDF and the length of a video
    :param max_errors: number of errors after which the rest of the data is not read
    """

    _known_in_a_run = known_in_a_run("*")

    format: Format | None = None
    columns: ColumnNames | None = None
    system_instruction: PlainText | None = None
    consecutive_turns: ConsecutiveTurns = "refuse"
    on_invalid_row: Literal["fail", "drop"] = "fail"
    max_dropped_share: float = Field(default=0.01, ge=0, le=1)
    validation_fraction: float | None = Field(default=None, gt=0, le=0.5)
    test_fraction: float | None = Field(default=None, gt=0, le=0.5)
    max_leakage: float = Field(default=0.01, ge=0, le=1)
    split_seed: int = Field(default=0, ge=-(2**63), lt=2**63)
    count_tokens_sample: int = Field(default=50, ge=0, le=10_000)
    inspect_files: bool = False
    max_errors: int = Field(default=MAX_ERRORS, ge=1, le=100_000_000)

    @property
    def column_names(self) -> ColumnNames:
        return self.columns or ColumnNames()

    def as_argument(self) -> dict[str, Any]:
        """The options that are set, as plain values that Airflow can render."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return {name: dict(value) if isinstance(value, ColumnNames) else value for name, value in given.items()}


def parse_options(values: Mapping[str, Any]) -> DatasetOptions:
    """Parse the options of a dataset.

    :param values: fields of :class:`DatasetOptions`; a value may be rendered text; None and empty mean not set
    :raises ConfigurationError: names the field, the value found and what is expected
    """
    given = {name: value for name, value in values.items() if rendered(value) is not None}
    if "columns" in given:
        given["columns"] = parse_rendered("dataset.columns", given["columns"], dict[str, Any], "names of columns")
    try:
        return DatasetOptions.model_validate(given, strict=False)
    except ValidationError as error:
        mistakes = mistakes_of(error, DatasetOptions)
        raise ConfigurationError("\n".join(plain(f"dataset.{text}") for text in mistakes)) from error
