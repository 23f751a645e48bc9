"""Correct the estimated tokens of a dataset by the service's counts for a sample. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from vertex_tuning.datasets.prepare import Content, Row
from vertex_tuning.datasets.rows import measure

LARGEST_FACTOR: Final = 3.0
"""Largest plausible factor of a correction, up or down: no language differs so much from the estimate.

This project's own figure.
"""


class Calibration(msgspec.Struct, frozen=True):
    """Counted and estimated tokens of a sample.

    :param examples: number of examples in the sample
    :param counted: tokens by the service's count
    :param estimated: tokens by our estimate
    """

    examples: int
    counted: int
    estimated: int

    @property
    def factor(self) -> float:
        """Factor by which estimates are multiplied."""
        return self.counted / self.estimated if self.estimated else 1.0

    @property
    def is_plausible(self) -> bool:
        return 1 / LARGEST_FACTOR <= self.factor <= LARGEST_FACTOR

    def corrected(self, tokens: int) -> int:
        """Correct an estimate; return it unchanged if the correction is not plausible.

        :param tokens: estimated tokens
        """
        return round(tokens * self.factor) if self.is_plausible else tokens

    def __str__(self) -> str:
        return f"estimate x {self.factor:.3f}, after countTokens on {self.examples} examples"


def calibrate(rows: Iterable[Row], count: Callable[[Mapping[str, Any]], int]) -> Calibration:
    """Count the tokens of the texts of a sample with the service and compare them with the estimate.

    Files are left out: their tokens follow from Google's rates.

    :param rows: examples of the sample
    :param count: function that returns the service's number of tokens of an example; it gets a mapping with `contents`
        and, if the example has them, `systemInstruction`, `tools` and `generationConfig`
    """
    examples = [text for row in rows if (text := _without_files(as_json(row)))["contents"]]
    counted = sum(count(example) for example in examples)
    estimated = sum(sum(measure(example)[2:4]) for example in examples)
    return Calibration(len(examples), counted, estimated)


def _without_files(example: dict[str, Any]) -> dict[str, Any]:
    """An example without its files, and without turns that have nothing else."""
    turns = [
        {**turn, "parts": [part for part in turn["parts"] if "fileData" not in part]} for turn in example["contents"]
    ]
    return {**example, "contents": [turn for turn in turns if turn["parts"]]}


def as_json(row: Row) -> dict[str, Any]:
    """A row as JSON, without the fields that are not set."""
    contents = [_turn(turn) for turn in row.contents]
    system = {"systemInstruction": _turn(row.system_instruction)} if row.system_instruction else {}
    others = {"tools": row.tools, "generationConfig": row.generation_config}
    return {**system, "contents": contents, **{key: value for key, value in others.items() if value}}


def _turn(turn: Content) -> dict[str, Any]:
    parts = [msgspec.to_builtins(part) for part in turn.parts]
    role = {"role": turn.role.lower()} if turn.role else {}
    return {**role, "parts": [{key: value for key, value in part.items() if value is not None} for part in parts]}
