"""Fast check and measurement of common rows: text only, two turns or more. Pure.

It takes hardly more time than decoding: the types contain most rules, and msgspec checks types in C.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import compress, repeat
from operator import add
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import UNSET, UnsetType

from vertex_tuning.costs.token_estimate import CHARACTERS_PER_TOKEN, estimate_tokens
from vertex_tuning.datasets.limits import MAX_EXAMPLE_TOKENS
from vertex_tuning.datasets.row_rules import NOT_A_TEXT
from vertex_tuning.datasets.rows import LABEL_LENGTH, UNREADABLE_ROW, Measured

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class _PlainPart(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    text: Annotated[str, msgspec.Meta(min_length=1)]


class _PlainTurn(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    role: Literal["user", "model", "USER", "MODEL"]
    parts: Annotated[list[_PlainPart], msgspec.Meta(min_length=1)]


class _PlainSystem(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    parts: Annotated[list[_PlainPart], msgspec.Meta(min_length=1)]
    role: str | UnsetType = UNSET


class _PlainRow(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A row with text only, without unknown keys and without fields that are `null`.

    `row_rules` checks each row that does not have this type. The type may therefore be stricter than the rules, but
    never less strict.
    """

    contents: Annotated[list[_PlainTurn], msgspec.Meta(min_length=2)]
    system: _PlainSystem | UnsetType = msgspec.field(default=UNSET, name="systemInstruction")
    snake_system: _PlainSystem | UnsetType = msgspec.field(default=UNSET, name="system_instruction")


class _Prompt(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    role: Literal["user", "USER"]
    parts: tuple[_PlainPart]


class _Response(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    role: Literal["model", "MODEL"]
    parts: tuple[_PlainPart]


class _Instruction(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    parts: tuple[_PlainPart]
    role: str | UnsetType = UNSET


class _Pair(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """The most common row: two turns of one part each. Each such row is a `_PlainRow`, too."""

    contents: tuple[_Prompt, _Response]
    system: _Instruction | UnsetType = msgspec.field(default=UNSET, name="systemInstruction")


_QUOTE: Final = ord('"')
_BACKSLASH: Final = ord("\\")
_NAME_QUOTES: Final = 2
_ROLE_QUOTES: Final = 4
_PART_QUOTES: Final = 4
_INSTRUCTION_QUOTES: Final = 8
_PAIR_QUOTES: Final = 22
"""Quotes of a name; of a part or a role, with its value; of a system instruction of one part; and of a `_Pair` without
one. A row with more quotes has a name twice: msgspec would not say so.
"""
_QUOTES_OF_PAIRS: Final = (
    _PAIR_QUOTES,
    _PAIR_QUOTES + _INSTRUCTION_QUOTES,
    _PAIR_QUOTES + _INSTRUCTION_QUOTES + _ROLE_QUOTES,
)


class PlainMeasure:
    """Checks and measures common rows. Other rows give None."""

    def __init__(self) -> None:
        self._decode_pair = msgspec.json.Decoder(_Pair).decode
        self._decode_row = msgspec.json.Decoder(_PlainRow).decode

    def measure(self, lines: Sequence[bytes]) -> list[Measured | None]:
        """Check and measure lines."""
        return self._pairs(lines, _quotes(lines)) or self._rows(lines, _quotes_of_each(lines))

    def _pairs(self, lines: Sequence[bytes], quotes: int) -> list[Measured | None]:
        """Measure lines of which each is a `_Pair`; no measures if any of them is not.

        :param quotes: number of quotes of all lines
        """
        if max(map(len, lines), default=0) > MAX_EXAMPLE_TOKENS:
            return []
        try:
            pairs = list(map(self._decode_pair, lines))
        except UNREADABLE_ROW:
            return []
        # Each row has at least the quotes of its names and texts. If together they have no more, then no row has more.
        return _measured_pairs(pairs) if quotes == _quotes_of_pairs(pairs) else []

    def _rows(self, lines: Sequence[bytes], quotes: Sequence[int]) -> list[Measured | None]:
        """Measure lines of which some may be pairs.

        :param quotes: number of quotes of each line
        """
        are_pairs = [count in _QUOTES_OF_PAIRS for count in quotes]
        pairs = self._pairs(list(compress(lines, are_pairs)), sum(compress(quotes, are_pairs)))
        if not pairs:
            return list(map(self._row, lines, quotes))
        measured = iter(pairs)
        return [
            next(measured) if is_pair else self._row(line, count)
            for line, count, is_pair in zip(lines, quotes, are_pairs, strict=True)
        ]

    def _row(self, line: bytes, quotes: int) -> Measured | None:
        if len(line) > MAX_EXAMPLE_TOKENS:  # a row has at most as many tokens as bytes: shorter rows are in the limit
            return None
        try:
            row = self._decode_row(line)
        except UNREADABLE_ROW:
            return None
        return _measured_row(row) if quotes == _quotes_of_row(row) else None


def _quotes(lines: Sequence[bytes]) -> int:
    """Number of quotes around the names and texts of lines of JSON, without the quotes inside texts."""
    import numpy as np

    return int(np.count_nonzero(_are_quotes(lines)))


def _quotes_of_each(lines: Sequence[bytes]) -> list[int]:
    """Number of such quotes of each line."""
    import numpy as np

    ends = np.cumsum([len(line) + 1 for line in lines])
    counts: list[int] = np.diff(np.searchsorted(np.flatnonzero(_are_quotes(lines)), ends), prepend=0).tolist()
    return counts


def _are_quotes(lines: Sequence[bytes]) -> NDArray[np.bool_]:
    """Which bytes of the lines, each with a line end, are such quotes."""
    import numpy as np

    text = b"\n".join((*lines, b""))
    data = np.frombuffer(text, np.uint8)
    marks: NDArray[np.bool_] = data == _BACKSLASH
    escaped = np.flatnonzero(marks) + 1
    if (data[escaped] == _BACKSLASH).any():
        # Two backslashes are one in a text: the quote after them ends it.
        data = np.frombuffer(text.replace(b"\\\\", b"  "), np.uint8)
        escaped = np.flatnonzero(data == _BACKSLASH) + 1
    np.equal(data, _QUOTE, out=marks)  # the same memory again: new memory takes longer than the comparison
    marks[escaped] = False
    return marks


def _quotes_of_pairs(pairs: Sequence[_Pair]) -> int:
    instructions = [pair.system for pair in pairs if pair.system]
    roles = sum(instruction.role is not UNSET for instruction in instructions)
    return _PAIR_QUOTES * len(pairs) + _INSTRUCTION_QUOTES * len(instructions) + _ROLE_QUOTES * roles


def _measured_pairs(pairs: Sequence[_Pair]) -> list[Measured | None]:
    """Measure pairs; no measures if `row_rules` must check any of them.

    This function takes much of the time of a check: it treats all pairs of a chunk in each step.
    """
    prompts = [pair.contents[0].parts[0].text for pair in pairs]
    replies = [pair.contents[1].parts[0].text for pair in pairs]
    instructions = [pair.system.parts[0].text if pair.system else "" for pair in pairs]
    tokens = {instruction: estimate_tokens(instruction) for instruction in set(instructions)}
    if not all(map(_are_texts, (prompts, replies, tokens))):
        return []
    return list(
        zip(
            map(hash, zip(instructions, prompts, strict=True)),
            map(hash, replies),
            map(add, map(tokens.__getitem__, instructions), _tokens(prompts)),
            _tokens(replies),
            repeat(2),
            [reply if len(reply) <= LABEL_LENGTH else "" for reply in replies],
            strict=False,
        )
    )


def _are_texts(texts: Collection[str]) -> bool:
    """Whether no text has white space only or stands for a missing value."""
    return not any(map(str.isspace, texts)) and NOT_A_TEXT.isdisjoint(texts)


def _tokens(texts: Sequence[str]) -> list[int]:
    """Estimate the tokens of texts, those of ASCII texts without a function call."""
    return [(len(text) + 3) // CHARACTERS_PER_TOKEN if text.isascii() else estimate_tokens(text) for text in texts]


def _measured_row(row: _PlainRow) -> Measured | None:
    """Measure a row with any number of turns and parts; None if `row_rules` must check it."""
    turns, system = row.contents, row.system or row.snake_system
    if [turn.role.lower() for turn in turns] != ["user", "model"] * (len(turns) // 2):
        return None
    if row.system and row.snake_system:
        return None
    texts = list(map(_text, turns))
    instruction = _text(system) if system else ""
    if not _are_texts([instruction, *texts]):
        return None
    answer = texts[-1]
    return (
        hash((instruction, *texts[:-1])),
        hash(answer),
        sum(_tokens([instruction, *texts[::2]])),
        sum(_tokens(texts[1::2])),
        len(texts),
        answer if len(answer) <= LABEL_LENGTH else "",
    )


def _quotes_of_row(row: _PlainRow) -> int:
    """Quotes of a row in which each name is once."""
    turns, system = row.contents, row.system or row.snake_system
    parts = sum([len(turn.parts) for turn in turns])
    quotes = _NAME_QUOTES + (_ROLE_QUOTES + _NAME_QUOTES) * len(turns) + _PART_QUOTES * parts
    if system:
        quotes += 2 * _NAME_QUOTES + _PART_QUOTES * len(system.parts) + (0 if system.role is UNSET else _ROLE_QUOTES)
    return quotes


def _text(turn: _PlainTurn | _PlainSystem) -> str:
    return turn.parts[0].text if len(turn.parts) == 1 else "".join([part.text for part in turn.parts])
