"""The rule on series that are known to be over-fitted, and on some that are not."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest
from vertex_tuning.metrics.overfitting import Overfitting, find_overfitting
from vertex_tuning.metrics.series import Series

from tests.support.series import series

STEPS = 10
"""Training steps from one validation to the next."""


def falling(length: int) -> list[float]:
    return [3 * math.exp(-step / length) for step in range(length)]


def judged(validation: Sequence[float], training: Sequence[float] | None = None) -> Overfitting:
    losses = falling(STEPS * len(validation)) if training is None else training
    found = find_overfitting(
        [series("/train_total_loss", *losses), series("/eval_total_loss", *validation, every=STEPS)]
    )
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("validation", "starts"),
    [
        ([1.0, 0.5, 0.6, 0.7], 3),
        ([0.5, 0.6, 0.7], 2),
        ([1.0, 0.6, 0.5, 0.51, 0.52, 0.51, 0.55, 0.6, 0.65], 7),  # not before it has left the plateau
        ([1.0, 0.5, 0.54, 0.51, 0.6, 0.7, 0.8], 5),  # nor where it came back once
    ],
)
def test_a_validation_loss_that_rises_for_good(validation: list[float], starts: int) -> None:
    found = judged(validation)
    assert found.found
    assert found.step == starts * STEPS
    assert found.best == min(validation)
    assert found.best_step == (validation.index(min(validation)) + 1) * STEPS
    assert found.last == validation[-1]


@pytest.mark.parametrize(
    "validation",
    [
        [1.0],
        [1.0, 0.7, 0.5, 0.4],
        [1.0, 0.5, 0.52, 0.52],  # by less than 5 %
        [0.1, 0.001, 0.002, 0.003],  # a rise that nobody notices
        [1.0, 0.5, 0.45, 0.9],  # one accident
        [1.0, 0.5, 0.8, 0.8, 0.5],  # it came back
        [1.0, 0.6, 0.5, 0.9, 0.5, 0.7, 0.8],  # too wild to tell
        [1.0] * 10,
    ],
)
def test_no_rise_or_none_that_lasts(validation: list[float]) -> None:
    found = judged(validation)
    assert not found.found
    assert found.step is None


def test_training_that_diverges_is_another_fault() -> None:
    rising = [1 + step / 10 for step in range(40)]
    assert not judged([1.0, 0.5, 0.9, 1.3], rising).found
    assert judged([1.0, 0.5, 0.9, 1.3], rising[::-1]).found


def test_the_training_loss_is_compared_over_equal_stretches_around_the_best() -> None:
    training = [9.0] * 10 + [1.0] * 10 + [2.0] * 10
    found = judged([0.9, 0.5, 0.9], training)
    assert (found.training_before, found.training_after, found.found) == (1.0, 2.0, False)


def test_values_that_are_no_numbers_are_not_judged() -> None:
    assert judged([1.0, math.nan, 0.5, math.inf, 0.6, 0.7]).step == 50
    assert not judged([1.0, 0.5, 0.6, 0.7], [math.nan] * 40).found


@pytest.mark.parametrize(
    "given",
    [
        [],
        [series("/train_total_loss", 1.0)],
        [series("/eval_total_loss", 1.0)],
        [series("/train_total_loss", 1.0), series("/eval_total_loss", math.nan)],
        [series("/train_total_loss"), series("/eval_total_loss", 1.0)],
    ],
)
def test_without_either_loss_there_is_no_judgement(given: list[Series]) -> None:
    assert find_overfitting(given) is None


def test_preference_tuning_has_a_training_loss_of_another_name() -> None:
    losses = series("/preference_optimization_train_loss", *falling(40))
    found = find_overfitting([losses, series("/eval_total_loss", 1.0, 0.5, 0.6, 0.7, every=STEPS)])
    assert found is not None
    assert found.found


def share_found(course: Callable[[float], float], noise: float) -> float:
    """Share of 100 noisy curves of 16 validations that the rule finds over-fitted; `course` goes from 0 to 1."""
    curves = [
        [course(place / 15) + chance.gauss(0, noise) for place in range(16)]
        for chance in map(random.Random, range(100))
    ]
    return sum(judged(curve).found for curve in curves) / len(curves)


@pytest.mark.parametrize("noise", [0.005, 0.01, 0.02, 0.03])
def test_noise_neither_makes_nor_hides_it(noise: float) -> None:
    assert share_found(lambda place: 0.5 + math.exp(-4 * place), noise) <= 0.02
    assert share_found(lambda place: 0.5 + math.exp(-12 * place) + 0.6 * max(0.0, place - 0.3), noise) >= 0.98


def test_it_says_what_it_found() -> None:
    text = str(judged([1.0, 0.5, 0.6, 0.75]))
    assert text == "over-fitted from step 30 on: validation loss 0.5 at step 20, 0.75 at the end"
