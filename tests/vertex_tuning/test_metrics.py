from __future__ import annotations

from vertex_tuning.metrics import Point, Series, headline, summarise


def series(name: str, *values: float) -> Series:
    return Series(name, [Point(step, value, "2026-01-01T00:00:00Z") for step, value in enumerate(values, 1)])


def test_best_is_the_lowest_loss_and_the_highest_accuracy() -> None:
    accuracy = "/eval_fraction_of_correct_next_step_preds"
    summary = summarise([series("/train_total_loss", 3.0, 1.0, 2.0), series(accuracy, 0.2, 0.9, 0.8)])
    assert summary["/train_total_loss"] == {"first": 3.0, "last": 2.0, "best": 1.0, "best_step": 2, "points": 3}
    assert (summary[accuracy]["best"], summary[accuracy]["best_step"]) == (0.9, 2)


def test_headline_is_the_last_value_of_losses_and_accuracies() -> None:
    summary = summarise([series("/train_total_loss", 3.0, 2.0), series("/train_num_predictions", 64, 32), series("/x")])
    assert headline(summary) == {"/train_total_loss": 2.0}
