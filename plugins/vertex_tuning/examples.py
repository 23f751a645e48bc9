"""Examples that are the same, or contradict each other, among millions of them, at a fixed cost of memory. Pure.

Each example leaves 32 bytes in a temporary file: hashes of prompt and answer, its place, and which set it is of. They
are compared a part at a time, the parts by the prompt's hash. Of ten million prompts two different ones look the same
once in 370,000 such datasets.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Records = NDArray[np.int64]

_BUFFERED: Final = 2**15
_PART: Final = 2**19
"""Examples compared at once: 16 MiB of records, about four times as much while they are sorted."""
_LARGEST_PART: Final = 4 * _PART
_PROMPT, _ANSWER, _PLACE, _SET, _FIELDS = range(5)
_KINDS: Final = ("duplicate", "leak", "contradiction")
_LINE_BITS: Final = 40


class Place(NamedTuple):
    """Where an example lies: which of the files, and its line."""

    file: int
    line: int


class Pair(NamedTuple):
    """An example and an earlier one.

    :param kind: `duplicate`, `contradiction` (same prompt, another answer) or `leak` (of validation, in training too)
    """

    kind: str
    place: Place
    first: Place
    training: bool


class Examples:
    """What is remembered of each example, on disk."""

    def __init__(self, file: IO[bytes] | None = None) -> None:
        self._file: IO[bytes] = file or tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._buffers = [array("q") for _ in range(_FIELDS)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(
        self, prompts: Sequence[int], answers: Sequence[int], lines: Sequence[int], file: int, training: bool
    ) -> None:
        """
        :param file: number of the file the lines are of
        """
        before = file << _LINE_BITS
        self._buffers[0].extend(prompts)
        self._buffers[1].extend(answers)
        self._buffers[2].extend(lines if not before else [before + line for line in lines])
        self._buffers[3].extend([0 if training else 1] * len(lines))
        self._count += len(lines)
        if len(self._buffers[0]) >= _BUFFERED:
            self.flush()

    def flush(self) -> None:
        """Everything is in the file after it."""
        import numpy as np

        if self._buffers[0]:
            columns = [np.frombuffer(buffer, np.int64) for buffer in self._buffers]
            self._file.write(np.column_stack(columns).tobytes())
            self._buffers = [array("q") for _ in range(_FIELDS)]

    def extend(self, file: IO[bytes], lines_before: int) -> None:
        """Take over what another one has written, of the same file's later lines."""
        import numpy as np

        self.flush()
        while chunk := file.read(_BUFFERED * _FIELDS * 8):
            records = np.frombuffer(chunk, np.int64).reshape(-1, _FIELDS).copy()
            records[:, _PLACE] += lines_before
            self._file.write(records.tobytes())
            self._count += len(records)

    def close(self) -> None:
        self._file.close()

    def pairs(self) -> Iterator[Pair]:
        """All pairs, part by part: a dataset of ten million is read twenty times, but never held."""
        self.flush()
        parts = -(-self._count // _PART)
        for part in range(parts):
            yield from _pairs(self._part(part, parts))

    def _part(self, part: int, parts: int) -> Records:
        """Examples whose prompts are of this part; no more than `_LARGEST_PART` of them, should all have one prompt."""
        import numpy as np

        self._file.seek(0)
        found, size = [], 0
        while (chunk := self._file.read(_PART * _FIELDS)) and size < _LARGEST_PART:
            records = np.frombuffer(chunk, np.int64).reshape(-1, _FIELDS)
            found.append(records[records[:, _PROMPT] % parts == part])
            size += len(found[-1])
        return np.concatenate(found)[:_LARGEST_PART]


def _pairs(records: Records) -> Iterator[Pair]:
    """In the order of their places."""
    import numpy as np

    found = np.concatenate([_same(records), _contradictory(records)])
    for chunk in np.array_split(found[np.lexsort((found[:, 1], found[:, 0]))], len(found) // _BUFFERED + 1):
        for place, first, kind, side in chunk.tolist():
            yield Pair(_KINDS[kind], _place(place), _place(first), side == 0)


def _same(records: Records) -> Records:
    """Examples equal to an earlier one: place, the other's place, kind, set. Training comes before validation."""
    import numpy as np

    ordered = records[np.lexsort((records[:, _PLACE], records[:, _SET], records[:, _ANSWER], records[:, _PROMPT]))]
    again, first = _repeated(ordered, [_PROMPT, _ANSWER])
    leak = again[:, _SET] != first[:, _SET]
    return np.column_stack((again[:, _PLACE], first[:, _PLACE], leak, again[:, _SET]))


def _contradictory(records: Records) -> Records:
    """The first example of each further answer to a prompt, beside the prompt's first."""
    import numpy as np

    ordered = records[np.lexsort((records[:, _PLACE], records[:, _SET], records[:, _ANSWER], records[:, _PROMPT]))]
    answers = ordered[~_as_before(ordered, [_PROMPT, _ANSWER])]
    answers = answers[np.lexsort((answers[:, _PLACE], answers[:, _SET], answers[:, _PROMPT]))]
    again, first = _repeated(answers, [_PROMPT])
    return np.column_stack((again[:, _PLACE], first[:, _PLACE], np.full(len(again), 2), again[:, _SET]))


def _repeated(ordered: Records, fields: list[int]) -> tuple[Records, Records]:
    """Records equal in these fields to those before them, and for each the first of its kind."""
    import numpy as np

    same = _as_before(ordered, fields)
    starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(ordered))))
    return ordered[same], ordered[starts[same]]


def _as_before(ordered: Records, fields: list[int]) -> NDArray[np.bool_]:
    import numpy as np

    same = np.zeros(len(ordered), bool)
    same[1:] = (ordered[1:, fields] == ordered[:-1, fields]).all(axis=1)
    return same


def _place(number: int) -> Place:
    return Place(number >> _LINE_BITS, number & (1 << _LINE_BITS) - 1)
