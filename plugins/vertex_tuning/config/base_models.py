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

_VERSION: Final = re.compile(r"[-@]\d{3}$", re.ASCII)
_TUNED_MODEL: Final = re.compile(r"projects/[\w.:-]+/locations/[\w-]+/models/[\w-]+@[\w-]+", re.ASCII)


class BaseModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A row of the table.

    :param name: id of the model, without a version number
    :param tunable: whether the form offers it
    :param source: page with this information
    :param read: date on which the page was read
    :param retirement: announced date, if any
    :param retired: whether it was retired at a date that is no longer published
    """

    name: str
    tunable: bool
    source: str
    read: datetime.date
    retirement: datetime.date | None = None
    retired: bool = False


@cache
def base_models() -> dict[str, BaseModel]:
    """All rows of the table, by name.

    :raises ConfigurationError: the table cannot be read
    """
    return {model.name: model for model in read_table("base_models", table_path("base_models"), list[BaseModel])}


def tunable_models() -> list[str]:
    """Names of the models that the form offers.

    :raises ConfigurationError: the table cannot be read
    """
    return [model.name for model in base_models().values() if model.tunable]


def check_base_model(model: str) -> str:
    """Return a base model, or a version of a tuned model, that a job can start from.

    :raises ConfigurationError: the model is neither
    """
    if _VERSION.sub("", model) in base_models() or _TUNED_MODEL.fullmatch(model):
        return model
    if "/" in model:
        raise ConfigurationError("expected a tuned model as projects/PROJECT/locations/LOCATION/models/ID@VERSION.")
    raise ConfigurationError(
        f"no known base model: {did_you_mean(model, base_models())} To add a newer model, copy the package's "
        "data/base_models.yaml and set [vertex_tuning] base_models to the copy."
    )


def retirement_note(model: str) -> str:
    """Warning if Google retires this model soon; empty if not."""
    row = base_models().get(_VERSION.sub("", model))
    if row is None or not (row.retired or row.retirement):
        return ""
    if row.retired:
        return f"{model} has been retired; the service will probably refuse to tune it."
    return f"{model}: retirement was announced for {row.retirement}; a tuned model retires with its base."
