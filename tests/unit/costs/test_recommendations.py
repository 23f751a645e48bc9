"""The guide's recommended configurations."""

from __future__ import annotations

import pytest
from vertex_tuning.costs.recommendations import TUNING_TASKS, recommendation
from vertex_tuning.exceptions import ConfigurationError


@pytest.mark.parametrize(
    ("task_type", "enough"),
    [("classification", 500), ("summarization", 1000), ("extractive_qa", 500), ("chat", 1000), ("", 100), (None, 100)],
)
def test_epochs_and_examples_by_kind_of_task(task_type: str | None, enough: int) -> None:
    recommended = recommendation(task_type)
    assert (recommended.epoch_count(enough), recommended.warnings(enough)) == (3, [])
    assert recommended.epoch_count(enough - 1) == 2
    [warning] = recommended.warnings(enough - 1)
    assert f"Found {enough - 1} training examples, {enough} or more" in warning


def test_another_kind_of_task_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="task: found 'poetry', expected one of") as error:
        recommendation("poetry")
    assert all(task in str(error.value) for task in TUNING_TASKS)
