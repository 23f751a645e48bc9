"""Base models that can be tuned, and their retirement, from the package's table."""

from __future__ import annotations

import datetime
import re
from functools import cache
from typing import Final

import msgspec

from vertex_tuning.config.data_tables import read_table, table_path
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.text.suggestions import did_you_mean

RETIRING_TAG: Final = "retiring-base-model"
"""Tag of a DAG whose base model Google has retired or will retire."""

WARNING_DAYS: Final = (90, 30)
"""Days before a retirement from which a warning is shown, and from which its text says that the time is shorter."""

_VERSION: Final = re.compile(r"[-@]\d{3}$", re.ASCII)
_TUNED_MODEL: Final = re.compile(r"projects/[\w.:-]+/locations/[\w-]+/models/[\w-]+@[\w-]+", re.ASCII)


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a fact was read.

    :param facts: fields that it is about; empty if it stands at a field
    :param source: the page
    :param read: date on which a copy of the page was read
    """

    source: str
    read: datetime.date
    facts: list[str] = []


class BaseModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the table. Facts that are not published are not set.

    :param name: id of the model, without a version number
    :param tunable: whether the form offers it
    :param source: page with this information
    :param read: date on which a copy of the page was read
    :param further_sources: pages with further facts of the row
    :param generation: generation for the rates of files, e.g. "2.5"; "3" for all models from 3.0
    :param retirement: announced date, if any
    :param earliest_retirement: date before which it is not retired
    :param retired: whether it was retired at a date that is no longer published
    :param end_of_new_tuning: date from which projects that are new to the model cannot tune it
    :param successors: models that Google recommends instead
    :param max_example_tokens: most tokens of an example, input and output together
    :param adapter_sizes: sizes of the adapter that a job may have
    :param tuning_locations: regions that tune it
    :param serving_locations: locations that serve the tuned model
    :param function_calls_refused: where the model was seen to refuse function calls in tuning data
    """

    name: str
    tunable: bool
    source: str
    read: datetime.date
    further_sources: list[Reference] = []
    generation: str | None = None
    retirement: datetime.date | None = None
    earliest_retirement: datetime.date | None = None
    retired: bool = False
    end_of_new_tuning: datetime.date | None = None
    successors: list[str] = []
    max_example_tokens: int | None = None
    adapter_sizes: list[int] = []
    tuning_locations: list[str] = []
    serving_locations: list[str] = []
    function_calls_refused: Reference | None = None


@cache
def base_models() -> dict[str, BaseModel]:
    """All rows of the table, by name.

    :raises ConfigurationError: the table cannot be read
    """
    return {model.name: model for model in read_table("base_models", table_path("base_models"), list[BaseModel])}


def base_model(model: str) -> BaseModel | None:
    """The row of a model or of a numbered version of it; None for any other.

    :raises ConfigurationError: the table cannot be read
    """
    return base_models().get(_VERSION.sub("", model))


def tunable_models() -> list[str]:
    """Names of the models that the form offers.

    :raises ConfigurationError: the table cannot be read
    """
    return [model.name for model in base_models().values() if model.tunable]


def check_base_model(model: str) -> str:
    """Return a base model, or a version of a tuned model, that a job can start from.

    :raises ConfigurationError: the model is neither
    """
    if base_model(model) or _TUNED_MODEL.fullmatch(model):
        return model
    if "/" in model:
        raise ConfigurationError("expected a tuned model as projects/PROJECT/locations/LOCATION/models/ID@VERSION.")
    raise ConfigurationError(
        f"no known base model: {did_you_mean(model, base_models())} To add a newer model, copy the package's "
        "data/base_models.yaml and set [vertex_tuning] base_models to the copy."
    )


def retirement_note(model: str, today: datetime.date | None = None) -> str:
    """Warning if Google has retired a model or retires it within 90 days, with its successor; else empty.

    A date before which Google does not retire a model is no warning. The text changes only on the days of
    `WARNING_DAYS`: a text with the number of days that are left would change its DAG every day.

    :param model: id of a base model
    :param today: the current date in UTC, if not given
    """
    row = base_model(model)
    end = _end(row, today or datetime.datetime.now(datetime.UTC).date()) if row else ""
    return f"{model} {end} A tuned model retires with its base. {_next_step(row.successors)}" if row and end else ""


def _end(row: BaseModel, today: datetime.date) -> str:
    """When a model retires, as the end of a sentence; empty if that is not soon."""
    date = row.retirement
    if row.retired:
        return "has been retired: Google will probably refuse to tune it."
    if date is None or (date - today).days > max(WARNING_DAYS):
        return ""
    if date <= today:
        return f"was retired on {date}: Google will probably refuse to tune it."
    limit = next(days for days in sorted(WARNING_DAYS) if (date - today).days <= days)
    blocked = row.end_of_new_tuning
    new_projects = f" Projects that are new to it cannot tune it from {blocked} on." if blocked else ""
    return f"retires on {date}, in at most {limit} days.{new_projects}"


def _next_step(successors: list[str]) -> str:
    named = f"{' or '.join(successors)}, which Google recommends," if successors else "a newer model"
    return f"Set base_model to {named} and run the tuning again."
