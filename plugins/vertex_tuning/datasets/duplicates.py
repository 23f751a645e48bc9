"""Examples that are the same, or contradict each other, among millions of them, at a fixed cost of memory. Pure.

Each example leaves 24 bytes in a temporary file: hashes of prompt and answer, and its place. They are compared a part
at a time, the parts by the prompt's hash. Of ten million prompts two different ones look the same once in 370,000 such
datasets.
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

BLOCK_SIZE: Final = 2**15
"""Examples written at once."""
PART_SIZE: Final = 2**19
"""Examples compared at once: 12 MiB, and several times as much while they are sorted."""
_PROMPT, _ANSWER, _PLACE, _FIELDS = range(4)
_SIZE: Final = 8
_VALIDATION: Final = 1 << 62
_FILE_SHIFT: Final = 40
_KINDS: Final = ("duplicate", "leak", "contradiction")


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


class Examples:
    """What is remembered of each example, on disk.

    `not_compared` says, after `pairs`, how many were left out of them, as too many have the same prompt.

    :param file: to write to and read from; a temporary one when None
    :param part_size: examples compared at once; twice as many, should they have one prompt
    :param block_size: examples written at once
    """

    def __init__(
        self, file: IO[bytes] | None = None, *, part_size: int = PART_SIZE, block_size: int = BLOCK_SIZE
    ) -> None:
        self._file: IO[bytes] = file or tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._block = [array("q") for _ in range(_FIELDS)]
        self._count = 0
        self._part_size = part_size
        self._block_size = block_size
        self.not_compared = 0

    def add(
        self, prompts: Sequence[int], answers: Sequence[int], lines: Sequence[int], file: int, *, training: bool
    ) -> None:
        """
        :param file: number of the file the lines are of
        """
        before = file << _FILE_SHIFT | (0 if training else _VALIDATION)
        self._block[_PROMPT].extend(prompts)
        self._block[_ANSWER].extend(answers)
        self._block[_PLACE].extend([before + line for line in lines] if before else lines)
        if len(self._block[_PROMPT]) >= self._block_size:
            self.flush()

    def flush(self) -> None:
        """Everything is in the file after it."""
        if self._block[_PROMPT]:
            self._write(len(self._block[_PROMPT]), *(column.tobytes() for column in self._block))
            self._block = [array("q") for _ in range(_FIELDS)]

    def _write(self, count: int, *columns: bytes) -> None:
        self._file.write(b"".join((count.to_bytes(_SIZE, "little"), *columns)))
        self._count += count

    def extend(self, file: IO[bytes], lines_before: int) -> None:
        """Take over what another one has written, of later lines of the same file."""
        self.flush()
        for records in _blocks(file):
            prompts, answers, places = records.T
            self._write(len(records), prompts.tobytes(), answers.tobytes(), (places + lines_before).tobytes())

    def close(self) -> None:
        self._file.close()

    def pairs(self) -> Iterator[Pair]:
        """All pairs, part by part: a dataset of ten million is read twenty times, but never held."""
        self.flush()
        parts = -(-self._count // self._part_size)
        for part in range(parts):
            yield from _pairs(self._part(part, parts))

    def _part(self, part: int, parts: int) -> Records:
        """Examples whose prompts are of this part; at most two parts' worth of them, should all have one prompt."""
        import numpy as np

        self._file.seek(0)
        found, size = [], 0
        for records in _blocks(self._file):
            chosen = records[records[:, _PROMPT] % parts == part]
            found.append(chosen[: 2 * self._part_size - size])
            size += len(found[-1])
            self.not_compared += len(chosen) - len(found[-1])
        return np.concatenate(found)


def _blocks(file: IO[bytes]) -> Iterator[Records]:
    import numpy as np

    while count := int.from_bytes(file.read(_SIZE), "little"):
        yield np.frombuffer(file.read(count * _SIZE * _FIELDS), np.int64).reshape(_FIELDS, count).T


def _pairs(records: Records) -> Iterator[Pair]:
    """In the order of their places."""
    import numpy as np

    prompts = np.sort(records[:, _PROMPT])
    records = records[np.isin(records[:, _PROMPT], prompts[1:][prompts[1:] == prompts[:-1]])]
    ordered = records[np.lexsort((records[:, _PLACE], records[:, _ANSWER], records[:, _PROMPT]))]
    again, first = _repeated(ordered, [_PROMPT, _ANSWER])
    leaks = (again ^ first) >= _VALIDATION
    found = [np.column_stack((again, first, leaks))]
    answers = ordered[~_as_before(ordered, [_PROMPT, _ANSWER])]
    again, first = _repeated(answers[np.lexsort((answers[:, _PLACE], answers[:, _PROMPT]))], [_PROMPT])
    found.append(np.column_stack((again, first, np.full(len(again), _KINDS.index("contradiction")))))
    return _told(np.concatenate(found))


def _repeated(ordered: Records, fields: list[int]) -> tuple[Records, Records]:
    """Places of records equal in these fields to those before them, and for each the place of the first of its kind."""
    import numpy as np

    same = _as_before(ordered, fields)
    starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(ordered))))
    return ordered[same, _PLACE], ordered[starts[same], _PLACE]


def _as_before(ordered: Records, fields: list[int]) -> NDArray[np.bool_]:
    import numpy as np

    same = np.zeros(len(ordered), bool)
    same[1:] = (ordered[1:, fields] == ordered[:-1, fields]).all(axis=1)
    return same


def _told(found: Records) -> Iterator[Pair]:
    import numpy as np

    for chunk in np.array_split(found[found[:, 0].argsort(kind="stable")], len(found) // BLOCK_SIZE + 1):
        for place, first, kind in chunk.tolist():
            yield Pair(_KINDS[kind], _place(place), _place(first))


def _place(number: int) -> Place:
    number &= _VALIDATION - 1
    return Place(number >> _FILE_SHIFT, number & (1 << _FILE_SHIFT) - 1)
