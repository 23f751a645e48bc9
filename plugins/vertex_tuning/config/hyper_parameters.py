"""Settings of the tuning jobs of a run: one value of each, or lists of values that a sweep compares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import AfterValidator, Discriminator, Field, Tag

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.jobs.job import ADAPTER_SIZES
from vertex_tuning.schema import Model, checked, known_in_a_run

MAX_EPOCHS: Final = 100
"""Limit of this project, against mistakes in a form; the service publishes no limit."""

MAX_LEARNING_RATE_MULTIPLIER: Final = 10.0
"""Limit of this project, against mistakes in a form; the service publishes no limit."""

MAX_VALUES: Final = 20
"""Most values of a setting in a sweep."""

MAX_CANDIDATES: Final = 50
"""Largest limit for the candidates of a sweep: each is a job to pay for."""

Candidate = dict[str, Any]
"""Settings of one tuning job, by the fields of `HyperParameters`."""

_Value = TypeVar("_Value")


def _adapter_size(size: int) -> None:
    if size not in ADAPTER_SIZES:
        raise ConfigurationError(f"expected one of {', '.join(map(str, ADAPTER_SIZES))}.")


def _different(values: Sequence[Any]) -> None:
    if repeated := next((value for index, value in enumerate(values) if value in values[:index]), None):
        raise ConfigurationError(f"expected each value once, found {repeated} twice.")


def _unwrapped(values: list[_Value]) -> list[_Value] | _Value:
    """A list with one value is that value: there is nothing to compare."""
    return values[0] if len(values) == 1 else values


def _one_or_list(value: Any) -> str:
    return "[list]" if isinstance(value, list | tuple) else "[one]"


OneOrList = Annotated[
    Annotated[_Value, Tag("[one]")]
    | Annotated[
        list[_Value],
        Field(min_length=1, max_length=MAX_VALUES),
        checked(_different),
        AfterValidator(_unwrapped),
        Tag("[list]"),
    ],
    Discriminator(_one_or_list),
]
"""A value, or a list of values for a sweep."""


class HyperParameters(Model):
    """Settings of the tuning job; the form of a run can change them. A list of values makes the run a sweep.

    :param epoch_count: passes over the data; if not set, the guide's recommendation for the `task`. It is never left
        to the service, which chose 40 in one test
    """

    _known_in_a_run = known_in_a_run("epoch_count", "learning_rate_multiplier", "adapter_size")

    epoch_count: OneOrList[Annotated[int, Field(ge=1, le=MAX_EPOCHS)]] | None = None
    learning_rate_multiplier: OneOrList[Annotated[float, Field(gt=0, le=MAX_LEARNING_RATE_MULTIPLIER)]] = 1.0
    adapter_size: OneOrList[Annotated[int, checked(_adapter_size)]] = 4

    @property
    def lists(self) -> dict[str, list[Any]]:
        """The fields that have a list of values."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in fields.items() if isinstance(value, list)}


class Sweep(Model):
    """How a run compares several settings: each list of `hyper_parameters` is tried, and the best model goes on.

    The best model is selected by a value that the service measures on validation data.

    :param strategy: `combinations` tries every combination of the lists. `one_at_a_time` changes one setting at a time
        and keeps the first value of every other list
    :param max_candidates: a sweep with more candidates is refused
    :param min_candidates: number of candidates that must succeed; with fewer, the run fails
    :param select_by: the value that selects: the lowest loss or the highest share wins. `.last` is the value at the
        checkpoint of `promotion.checkpoint`
    :param keep_candidates: keep the models of `all` candidates, or delete all but the `best` with their endpoints
    """

    strategy: Literal["combinations", "one_at_a_time"] = "combinations"
    max_candidates: int = Field(default=8, ge=2, le=MAX_CANDIDATES)
    min_candidates: int = Field(default=1, ge=1, le=MAX_CANDIDATES)
    select_by: Literal[
        "eval_total_loss.last",
        "eval_total_loss.best",
        "eval_fraction_of_correct_next_step_preds.last",
        "eval_fraction_of_correct_next_step_preds.best",
    ] = "eval_total_loss.last"
    keep_candidates: Literal["all", "best"] = "all"

    def candidates(self, hyper_parameters: HyperParameters) -> list[Candidate]:
        """The settings of each candidate, in the order of the lists.

        :raises ConfigurationError: there are more than `max_candidates`, or fewer than `min_candidates`
        """
        values = {
            name: value if isinstance(value := getattr(hyper_parameters, name), list) else [value]
            for name in HyperParameters.model_fields
        }
        number = _number_of(values, self.strategy)
        if number > self.max_candidates:
            raise ConfigurationError(self._too_many(values, number))
        if number < self.min_candidates:
            raise ConfigurationError(
                f"sweep.min_candidates: found {self.min_candidates}, expected at most {number}: hyper_parameters has "
                f"{number} candidates."
            )
        return list(_combinations(values) if self.strategy == "combinations" else _one_at_a_time(values))

    def _too_many(self, values: Mapping[str, Sequence[Any]], number: int) -> str:
        sizes = " x ".join(f"{len(of)} of {name}" for name, of in values.items() if len(of) > 1)
        shorter = "" if self.strategy == "one_at_a_time" else ", set sweep.strategy: one_at_a_time"
        return (
            f"hyper_parameters: found {number} candidates ({sizes}), expected at most {self.max_candidates}: shorten a "
            f"list{shorter} or raise sweep.max_candidates."
        )


def _number_of(values: Mapping[str, Sequence[Any]], strategy: str) -> int:
    sizes = [len(of) for of in values.values()]
    return math.prod(sizes) if strategy == "combinations" else 1 + sum(size - 1 for size in sizes)


def _combinations(values: Mapping[str, Sequence[Any]]) -> Iterable[Candidate]:
    return (dict(zip(values, chosen, strict=True)) for chosen in product(*values.values()))


def _one_at_a_time(values: Mapping[str, Sequence[Any]]) -> Iterable[Candidate]:
    first = {name: of[0] for name, of in values.items()}
    yield first
    for name, of in values.items():
        yield from ({**first, name: value} for value in of[1:])
