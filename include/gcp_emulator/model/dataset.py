"""Dataset files as training reads them: row by row, in bounded memory."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .engine import Example, Model
from .prompts import Preference, Prompt, RowError, answers_of, preference_row, supervised_row
from .tokens import pieces

Row = list[Example]

_ROWS_PER_SLICE = 256
_CACHED_FEATURES = 32_000_000
_COUNTED_PIECES = 1_000_000


class DatasetError(Exception):
    """A dataset cannot be trained on; the message is for its owner."""


class Dataset:
    """The rows of a JSONL file. Up to 256 MB of prepared rows are kept in memory.

    :param path: the file
    :param preference: whether the rows are for preference tuning
    """

    def __init__(self, path: Path, preference: bool) -> None:
        self._file = path.open("rb")
        self._parse: Callable[[Any], Any] = preference_row if preference else supervised_row
        self._offsets: list[int] = []
        self._prepared: dict[int, Row] = {}
        self._room = _CACHED_FEATURES
        self.counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._offsets)

    def close(self) -> None:
        self._file.close()

    def scan(self) -> Iterator[None]:
        """Find and check every row and count the pieces of the answers, a slice of the file at a time.

        :raises DatasetError: a row cannot be trained on, or the file has no row
        """
        offset = 0
        for line in self._file:
            if line.strip():
                self._offsets.append(offset)
                self._count(self._parsed(len(self) - 1, line))
                if len(self) % _ROWS_PER_SLICE == 0:
                    yield
            offset += len(line)
        if not self._offsets:
            raise DatasetError("The dataset has no rows.")

    def row(self, number: int, model: Model) -> Row:
        """The examples of a row: one per model turn, or the preferred answer followed by the other."""
        if number not in self._prepared:
            self._file.seek(self._offsets[number])
            row = _examples(self._parsed(number, self._file.readline()), model)
            size = sum(len(example.features) for example in row)
            if size > self._room:
                return row
            self._room -= size
            self._prepared[number] = row
        return self._prepared[number]

    def _count(self, parsed: Any) -> None:
        for answer in answers_of(parsed):
            self.counts.update(pieces(answer))
        if len(self.counts) > _COUNTED_PIECES:
            self.counts = Counter(dict(self.counts.most_common(_COUNTED_PIECES // 4)))

    def _parsed(self, number: int, line: bytes) -> Any:
        try:
            return self._parse(json.loads(line))
        except (RowError, ValueError, RecursionError) as error:
            raise DatasetError(f"Row: {number}. {error}") from error


def _examples(parsed: list[tuple[Prompt, str]] | Preference, model: Model) -> Row:
    if isinstance(parsed, Preference):
        return [_example(parsed.prompt, answer, model) for answer in answers_of(parsed)]
    return [_example(prompt, answer, model) for prompt, answer in parsed]


def _example(prompt: Prompt, answer: str, model: Model) -> Example:
    ids, weights = prompt.features()
    return Example(ids, weights, model.answer(answer))
