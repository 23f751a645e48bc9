"""How many examples and epochs the tuning guide recommends for a kind of task. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.templates import rendered


class Recommendation(msgspec.Struct, frozen=True):
    """What the guide says of a kind of task.

    :param examples: at least so many
    :param epochs: from and to
    """

    examples: int
    epochs: tuple[int, int]

    def epoch_count(self, examples: int) -> int:
        """The middle of the range; its lower end for less data than recommended, which is soon learnt by heart."""
        low, high = self.epochs
        return low if examples < self.examples else (low + high) // 2

    def warnings(self, examples: int) -> list[str]:
        """What to know of a dataset that is smaller than recommended."""
        if examples >= self.examples:
            return []
        return [
            f"Found {examples} training examples, {self.examples} or more are recommended. With little data watch for "
            "over-fitting: compare several epoch counts, and prefer the lower one."
        ]


TUNING_TASKS: Final[Mapping[str, Recommendation]] = {
    "classification": Recommendation(500, (2, 4)),
    "summarization": Recommendation(1000, (2, 4)),
    "extractive_qa": Recommendation(500, (2, 4)),
    "chat": Recommendation(1000, (2, 4)),
}
"""The guide's "recommended configurations"."""

OTHER: Final = Recommendation(100, (2, 4))
"""For a task of no named kind: the same epochs, and the 100 examples the guide calls a start."""


def recommendation(task_type: str | None) -> Recommendation:
    """
    :param task_type: a key of `TUNING_TASKS`; empty or None for none of these
    :raises ConfigurationError: names the kinds there are
    """
    task_type = rendered(task_type)
    if task_type is None:
        return OTHER
    if task_type not in TUNING_TASKS:
        raise ConfigurationError(f"task: found {task_type!r}, expected one of {', '.join(TUNING_TASKS)}, or none.")
    return TUNING_TASKS[task_type]
