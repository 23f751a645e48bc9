"""Numbers of examples and epochs that the tuning guide recommends for each kind of task. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.text.templates import rendered


class Recommendation(msgspec.Struct, frozen=True):
    """Recommendation of the tuning guide for a kind of task.

    :param examples: least number of training examples
    :param epochs: lowest and highest number of epochs
    """

    examples: int
    epochs: tuple[int, int]

    def epoch_count(self, examples: int) -> int:
        """Number of epochs to train: the middle of the range, or its lower end for a small dataset.

        A model memorises a small dataset after few epochs.

        :param examples: number of training examples
        """
        low, high = self.epochs
        return low if examples < self.examples else (low + high) // 2

    def warnings(self, examples: int) -> list[str]:
        """Warn about a dataset that is smaller than recommended; empty for other datasets.

        :param examples: number of training examples
        """
        if examples >= self.examples:
            return []
        return [
            f"Found {examples} training examples, {self.examples} or more are recommended. With little data watch for "
            "over-fitting: compare several epoch counts, and prefer the lowest."
        ]


TUNING_TASKS: Final[Mapping[str, Recommendation]] = {
    "classification": Recommendation(500, (2, 4)),
    "summarization": Recommendation(1000, (2, 4)),
    "extractive_qa": Recommendation(500, (2, 4)),
    "chat": Recommendation(1000, (2, 4)),
}
"""Recommendations by kind of task, from "Recommended configurations" in Google's guide to supervised tuning."""

OTHER: Final = Recommendation(100, (2, 4))
"""For any other task: the usual epochs, and the 100 examples that the guide recommends to start with."""


def recommendation(task_type: str | None) -> Recommendation:
    """Find the recommendation for a kind of task.

    :param task_type: a key of `TUNING_TASKS`; empty or None for any other task
    :raises ConfigurationError: `task_type` is not a known kind; the message lists the known kinds
    """
    task_type = rendered(task_type)
    if task_type is None:
        return OTHER
    if task_type not in TUNING_TASKS:
        raise ConfigurationError(f"task: found {task_type!r}, expected one of {', '.join(TUNING_TASKS)}, or empty.")
    return TUNING_TASKS[task_type]
