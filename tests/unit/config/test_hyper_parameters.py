"""The candidates of a sweep, and what is refused when a tuning is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vertex_tuning.config.hyper_parameters import HyperParameters, Sweep
from vertex_tuning.config.tuning import Tuning
from vertex_tuning.exceptions import ConfigurationError

FIELDS: dict[str, Any] = {
    "name": "swept",
    "bucket": "bucket",
    "base_model": "gemini-2.5-flash",
    "training_data": "training.jsonl",
    "validation_data": "validation.jsonl",
    "smoke_test": {"cases": [{"prompt": "Hello", "contains": "hello"}]},
}


def settings(sweep: Sweep, **lists: Any) -> list[tuple[Any, ...]]:
    return [tuple(candidate.values()) for candidate in sweep.candidates(HyperParameters(**lists))]


def test_each_combination_of_the_lists_is_a_candidate() -> None:
    found = settings(Sweep(), epoch_count=[2, 3], learning_rate_multiplier=[0.5, 1.0])
    assert found == [(2, 0.5, 4), (2, 1.0, 4), (3, 0.5, 4), (3, 1.0, 4)]


def test_one_setting_at_a_time_differs_from_the_first_values() -> None:
    found = settings(Sweep(strategy="one_at_a_time"), epoch_count=[2, 3, 4], adapter_size=[4, 8])
    assert found == [(2, 1.0, 4), (3, 1.0, 4), (4, 1.0, 4), (2, 1.0, 8)]


@given(
    epochs=st.lists(st.integers(1, 100), min_size=1, max_size=5, unique=True),
    sizes=st.lists(st.sampled_from((1, 2, 4, 8, 16, 32)), min_size=1, max_size=5, unique=True),
    strategy=st.sampled_from(("combinations", "one_at_a_time")),
)
def test_no_candidate_is_there_twice(epochs: list[int], sizes: list[int], strategy: Any) -> None:
    found = settings(Sweep(strategy=strategy, max_candidates=25), epoch_count=epochs, adapter_size=sizes)
    assert len(set(found)) == len(found)
    assert {epoch for epoch, _, _ in found} == set(epochs)
    assert {size for _, _, size in found} == set(sizes)


def test_a_list_of_one_value_is_that_value() -> None:
    tuning = Tuning(**FIELDS, hyper_parameters={"epoch_count": [3]})
    assert not tuning.is_sweep
    assert tuning.hyper_parameters.epoch_count == 3


def two(**lists: Any) -> dict[str, Any]:
    return {"hyper_parameters": {"epoch_count": [2, 3], **lists}}


MANY = two(epoch_count=[1, 2, 3, 4, 5], adapter_size=[1, 2, 4, 8], learning_rate_multiplier=[0.5, 1.0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            MANY,
            "hyper_parameters: found 40 candidates (5 of epoch_count x 2 of learning_rate_multiplier x 4 of "
            "adapter_size), expected at most 8",
        ),
        (two(epoch_count=[2, 0]), "hyper_parameters.epoch_count[1]: found 0, expected 1 or more."),
        (two(epoch_count=[2, "3"]), "hyper_parameters.epoch_count[1]: found '3', expected a whole"),
        (two(epoch_count=[]), "hyper_parameters.epoch_count: found [], expected at least 1"),
        (two(epoch_count=[2, 3, 2]), "expected each value once, found 2 twice."),
        (two(adapter_size=[4, 5]), "hyper_parameters.adapter_size[1]: found 5, expected one of 1, 2"),
        (two(adapter_size={"a": 1}), "hyper_parameters.adapter_size: found {'a': 1}, expected a whole"),
        ({"base_model": ["a", "b"]}, "base_model: found ['a', 'b'], expected a text"),
        ({"sweep": {"strategy": "random"}}, "sweep.strategy: found 'random', expected 'combinations' or"),
        ({"sweep": {"select_by": "sample.exact_share"}}, "sweep.select_by: found 'sample.exact_share', expected 'eval"),
        ({"sweep": {"max_candidates": 1}}, "sweep.max_candidates: found 1, expected 2 or more."),
        (two() | {"sweep": {"min_candidates": 3}}, "sweep.min_candidates: found 3, expected at most 2"),
        (two() | {"validation_data": None}, "hyper_parameters.epoch_count: found a list, expected validation_data"),
        (two() | {"display_name": "x" * 120}, "display_name: found 120 characters, expected at most"),
    ],
)
def test_a_wrong_sweep_is_named_with_field_and_expectation(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        Tuning(**FIELDS | changed)
    assert message in str(error.value)
