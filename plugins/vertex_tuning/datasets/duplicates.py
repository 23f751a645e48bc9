"""Find duplicate and contradictory examples in datasets of any size, in a fixed amount of memory. Pure.

A temporary file has 24 bytes for each example: the hashes of prompt and answer, and the place. Examples are compared in
parts, which the hash of the prompt decides. The hashes have 64 bits: among ten million different prompts a pair has the
same hash in one of 370,000 datasets.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Final, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Records = NDArray[np.int64]

SetName = Literal["training", "validation", "test"]
SETS: Final[tuple[SetName, ...]] = get_args(SetName)
"""The sets of a dataset. Of equal examples, the one of the first of these sets is named as the first."""

BLOCK_SIZE: Final = 2**15
"""Examples per write."""
PART_SIZE: Final = 2**18
"""Examples per part: 6 MiB, and several times that while they are sorted."""
_PROMPT, _ANSWER, _PLACE, _FIELDS = range(4)
_SIZE: Final = 8
_SET_SHIFT: Final = 61
_FILE_SHIFT: Final = 40
_KINDS: Final = ("duplicate", "leak", "contradiction")


class Place(NamedTuple):
    """The place of an example.

    :param file: number of the file, from 0
    :param line: line in the file, from 1
    """

    file: int
    line: int


class Pair(NamedTuple):
    """An example and an earlier example with the same prompt.

    :param kind: `duplicate` (same answer), `contradiction` (different answer) or `leak` (an example that is also in
        another set)
    :param place: place of the example
    :param first: place of the earlier example
    """

    kind: str
    place: Place
    first: Place


class Examples:
    """Hashes and places of all examples, on disk.

    After `pairs`, `not_compared` is the number of examples that were not compared: too many have the same prompt.

    :param file: file to write to and to read from; None for a temporary file
    :param part_size: examples per part; a part has at most twice as many, if their prompts are equal
    :param block_size: examples per write
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
        self, prompts: Sequence[int], answers: Sequence[int], lines: Sequence[int], file: int, *, part: SetName
    ) -> None:
        """Add examples. The lists have one entry per example.

        :param prompts: hashes of the prompts
        :param answers: hashes of the answers
        :param lines: lines in the file, from 1
        :param file: number of the file, from 0
        :param part: the set of the examples
        """
        before = file << _FILE_SHIFT | SETS.index(part) << _SET_SHIFT
        self._block[_PROMPT].extend(prompts)
        self._block[_ANSWER].extend(answers)
        self._block[_PLACE].extend([before + line for line in lines] if before else lines)
        if len(self._block[_PROMPT]) >= self._block_size:
            self.flush()

    def flush(self) -> None:
        """Write all added examples to the file."""
        if self._block[_PROMPT]:
            self._write(len(self._block[_PROMPT]), *(column.tobytes() for column in self._block))
            self._block = [array("q") for _ in range(_FIELDS)]

    def _write(self, count: int, *columns: bytes) -> None:
        self._file.write(b"".join((count.to_bytes(_SIZE, "little"), *columns)))
        self._count += count

    def extend(self, file: IO[bytes], lines_before: int) -> None:
        """Add the examples that another process wrote, from later lines of the same dataset file.

        :param file: file that `Examples` wrote
        :param lines_before: number of lines before the first line of that process
        """
        self.flush()
        for records in _blocks(file):
            prompts, answers, places = records.T
            self._write(len(records), prompts.tobytes(), answers.tobytes(), (places + lines_before).tobytes())

    def close(self) -> None:
        self._file.close()

    def pairs(self) -> Iterator[Pair]:
        """All pairs, part by part. For ten million examples the temporary file is read forty times."""
        self.flush()
        parts = -(-self._count // self._part_size)
        for part in range(parts):
            yield from _pairs(self._part(part, parts))

    def _part(self, part: int, parts: int) -> Records:
        """The examples of a part; at most twice `part_size`, since all prompts may be equal."""
        import numpy as np

        self._file.seek(0)
        chosen_records, size = [], 0
        for records in _blocks(self._file):
            chosen = records[records[:, _PROMPT] % parts == part]
            chosen_records.append(chosen[: 2 * self._part_size - size])
            size += len(chosen_records[-1])
            self.not_compared += len(chosen) - len(chosen_records[-1])
        return np.concatenate(chosen_records)


def _blocks(file: IO[bytes]) -> Iterator[Records]:
    import numpy as np

    while count := int.from_bytes(file.read(_SIZE), "little"):
        yield np.frombuffer(file.read(count * _SIZE * _FIELDS), np.int64).reshape(_FIELDS, count).T


def _pairs(records: Records) -> Iterator[Pair]:
    """All pairs of a part, in the order of their places."""
    import numpy as np

    prompts = np.sort(records[:, _PROMPT])
    records = records[np.isin(records[:, _PROMPT], prompts[1:][prompts[1:] == prompts[:-1]])]
    ordered = records[np.lexsort((records[:, _PLACE], records[:, _ANSWER], records[:, _PROMPT]))]
    repeats, first = _repeated(ordered, [_PROMPT, _ANSWER])
    leaks = (repeats ^ first) >= 1 << _SET_SHIFT
    rows = [np.column_stack((repeats, first, leaks))]
    answers = ordered[~_as_before(ordered, [_PROMPT, _ANSWER])]
    repeats, first = _repeated(answers[np.lexsort((answers[:, _PLACE], answers[:, _PROMPT]))], [_PROMPT])
    rows.append(np.column_stack((repeats, first, np.full(len(repeats), _KINDS.index("contradiction")))))
    return _as_pairs(np.concatenate(rows))


def _repeated(ordered: Records, fields: list[int]) -> tuple[Records, Records]:
    """Places of records that repeat an earlier record in these fields, and the places of the first such records."""
    import numpy as np

    same = _as_before(ordered, fields)
    starts = np.maximum.accumulate(np.where(same, 0, np.arange(len(ordered))))
    return ordered[same, _PLACE], ordered[starts[same], _PLACE]


def _as_before(ordered: Records, fields: list[int]) -> NDArray[np.bool_]:
    import numpy as np

    same = np.zeros(len(ordered), bool)
    same[1:] = (ordered[1:, fields] == ordered[:-1, fields]).all(axis=1)
    return same


def _as_pairs(rows: Records) -> Iterator[Pair]:
    import numpy as np

    for chunk in np.array_split(rows[rows[:, 0].argsort(kind="stable")], len(rows) // BLOCK_SIZE + 1):
        for place, first, kind in chunk.tolist():
            yield Pair(_KINDS[kind], _place(place), _place(first))


def _place(number: int) -> Place:
    number &= (1 << _SET_SHIFT) - 1
    return Place(number >> _FILE_SHIFT, number & (1 << _FILE_SHIFT) - 1)
