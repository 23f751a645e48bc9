"""Token counts of the service on a sample, by which the estimate of a whole dataset is corrected. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from vertex_tuning.datasets.prepare import Content, Row
from vertex_tuning.datasets.rows import measure

LARGEST_FACTOR: Final = 3.0
"""Of a correction, up or down. No language is as far off the estimate: beyond it something else is wrong."""


class Calibration(msgspec.Struct, frozen=True):
    """What the service counted in some examples for which we had estimated a number."""

    examples: int
    counted: int
    estimated: int

    @property
    def factor(self) -> float:
        """What estimates are to be multiplied by."""
        return self.counted / self.estimated if self.estimated else 1.0

    @property
    def is_plausible(self) -> bool:
        return 1 / LARGEST_FACTOR <= self.factor <= LARGEST_FACTOR

    def corrected(self, tokens: int) -> int:
        """An estimate, corrected; as it is when the correction is not plausible."""
        return round(tokens * self.factor) if self.is_plausible else tokens

    def __str__(self) -> str:
        return f"estimate x {self.factor:.3f}, after countTokens on {self.examples} examples"


def calibrate(rows: Iterable[Row], count: Callable[[Mapping[str, Any]], int]) -> Calibration:
    """
    :param count: the service's number of tokens of an example: `contents`, and `systemInstruction` if it has one
    """
    examples = [as_json(row) for row in rows]
    counted = sum(count(example) for example in examples)
    estimated = sum(sum(measure(example)[2:4]) for example in examples)
    return Calibration(len(examples), counted, estimated)


def as_json(row: Row) -> dict[str, Any]:
    """A row as it stands in a file, but for what is none of a conversation's."""
    contents = [_turn(turn) for turn in row.contents]
    system = {"systemInstruction": _turn(row.system_instruction)} if row.system_instruction else {}
    return {**system, "contents": contents}


def _turn(turn: Content) -> dict[str, Any]:
    parts = [msgspec.to_builtins(part) for part in turn.parts]
    return {
        "role": (turn.role or "user").lower(),
        "parts": [{key: value for key, value in part.items() if value is not None} for part in parts],
    }
