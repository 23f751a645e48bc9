"""Fast check and measurement of common rows: text only, two turns or more. Pure.

It takes hardly more time than decoding: the types contain most rules, and msgspec checks types in C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from vertex_tuning.costs.token_estimate import estimate_tokens
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
    role: str | None = None


class _PlainRow(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """A row with text only and without unknown keys.

    `row_rules` checks each row that does not have this type. The type may therefore be stricter than the rules, but
    never less strict.
    """

    contents: Annotated[list[_PlainTurn], msgspec.Meta(min_length=2)]
    system: _PlainSystem | None = msgspec.field(default=None, name="systemInstruction")
    snake_system: _PlainSystem | None = msgspec.field(default=None, name="system_instruction")


_USER: Final = ("user", "USER")
_MODEL: Final = ("model", "MODEL")
_NAME_QUOTES: Final = 2
_ROLE_QUOTES: Final = 4
_PART_QUOTES: Final = 4
_SYSTEM_QUOTES: Final = 8
_PAIR_QUOTES: Final = 22
"""Quotes of a name; of a part or a role, with its value; of a system instruction of one part; and of a row of two turns
of one part each. A row with more quotes has a name twice, or one that is `null`: msgspec would not say so.
"""
_CHUNK: Final = 2**19
"""Bytes of lines that come together, at least."""
_REMEMBERED: Final = 100
"""Most system instructions whose token estimate is cached."""


class PlainMeasure:
    """Checks and measures common rows. For any other row the result is None."""

    def __init__(self) -> None:
        self._measure = _measure_function()
        self._quotes = QuoteCounter()

    def measure(self, lines: Sequence[bytes]) -> list[Measured | None]:
        """Check and measure lines."""
        # A row has at least the quotes that its names and texts need. If all rows need the same number, and together
        # they have no more, then no row has more. Otherwise the quotes of each row are counted.
        quotes, rest = divmod(self._quotes.total(lines), len(lines) or 1)
        measured = [] if rest else list(map(self._measure, lines, repeat(quotes)))
        if rest or None in measured:
            return list(map(self._measure, lines, self._quotes.each(lines)))
        return measured


class QuoteCounter:
    """Counts the quotes around the names and texts of lines of JSON, without the quotes inside texts.

    It keeps its arrays: to make new ones for each chunk takes longer than to fill them.
    """

    def __init__(self) -> None:
        self._marks: list[NDArray[np.bool_]] = []

    def total(self, lines: Sequence[bytes]) -> int:
        """Number of quotes of all lines."""
        import numpy as np

        return int(np.count_nonzero(self._quotes(lines)))

    def each(self, lines: Sequence[bytes]) -> list[int]:
        """Number of quotes of each line."""
        import numpy as np

        ends = np.cumsum([len(line) + 1 for line in lines])
        counts: list[int] = np.diff(np.searchsorted(np.flatnonzero(self._quotes(lines)), ends), prepend=0).tolist()
        return counts

    def _quotes(self, lines: Sequence[bytes]) -> NDArray[np.bool_]:
        """Which bytes of the lines, joined by a line end, are such quotes."""
        import numpy as np

        text = b"\n".join(lines)
        is_quote, is_escape, is_pair = self._arrays(len(text))
        self._mark(text, is_quote, is_escape)
        if np.logical_and(is_escape[1:], is_escape[:-1], out=is_pair[1:]).any():
            # Two backslashes are one in a text: the quote after them ends it.
            self._mark(text.replace(b"\\\\", b"  "), is_quote, is_escape)
        np.greater(is_quote[1:], is_escape[:-1], out=is_quote[1:])
        return is_quote

    def _arrays(self, length: int) -> list[NDArray[np.bool_]]:
        import numpy as np

        if not self._marks or len(self._marks[0]) < length:
            self._marks = [np.zeros(max(length, _CHUNK), np.bool_) for _ in range(3)]
        return [marks[:length] for marks in self._marks]

    @staticmethod
    def _mark(text: bytes, is_quote: NDArray[np.bool_], is_escape: NDArray[np.bool_]) -> None:
        import numpy as np

        data = np.frombuffer(text, np.uint8)
        np.equal(data, ord(b'"'), out=is_quote)
        np.equal(data, ord(b"\\"), out=is_escape)


def _measure_function() -> Callable[[bytes, int], Measured | None]:
    """Make a function that checks and measures a common row, and returns None for any other row.

    Beside the line it takes the number of its quotes, by `QuoteCounter`.

    The function takes most of the time of a check, so its code is written for speed.
    """
    decode = msgspec.json.Decoder(_PlainRow).decode
    instructions: dict[str, int] = {}

    def measure_plain(line: bytes, quotes: int) -> Measured | None:
        if len(line) > MAX_EXAMPLE_TOKENS:  # a row has at most as many tokens as bytes: shorter rows are in the limit
            return None
        try:
            row = decode(line)
        except UNREADABLE_ROW:
            return None
        turns, system = row.contents, row.system
        is_pair = len(turns) == 2 and len(turns[0].parts) + len(turns[1].parts) == 2 and not row.snake_system
        if not is_pair or (system and len(system.parts) > 1):
            return _measure_turns(row, quotes)
        question, answer = turns
        prompt, reply = question.parts[0].text, answer.parts[0].text
        if question.role not in _USER or answer.role not in _MODEL or prompt.isspace() or reply.isspace():
            return None
        instruction, expected_quotes = "", _PAIR_QUOTES
        if system:
            instruction = system.parts[0].text
            expected_quotes += _SYSTEM_QUOTES if system.role is None else _SYSTEM_QUOTES + _ROLE_QUOTES
        if quotes != expected_quotes or reply in NOT_A_TEXT or prompt in NOT_A_TEXT:
            return None
        tokens = (len(prompt) + 3) >> 2 if prompt.isascii() else estimate_tokens(prompt)
        reply_tokens = (len(reply) + 3) >> 2 if reply.isascii() else estimate_tokens(reply)
        if instruction not in instructions:
            if instruction.isspace():
                return None
            _remember(instruction, instructions)
        tokens += instructions[instruction]
        label = reply if len(reply) <= LABEL_LENGTH else ""
        return hash((instruction, prompt)), hash(reply), tokens, reply_tokens, 2, label

    return measure_plain


def _remember(instruction: str, instructions: dict[str, int]) -> None:
    """Cache the token estimate of a system instruction. Most datasets have a single instruction.

    A dataset with many instructions does not benefit, so a full cache is simply cleared.
    """
    if len(instructions) == _REMEMBERED:
        instructions.clear()
    instructions[instruction] = estimate_tokens(instruction)


def _measure_turns(row: _PlainRow, quotes: int) -> Measured | None:
    """Check and measure a row with more turns or parts; None if `row_rules` must check it."""
    turns, system = row.contents, row.system or row.snake_system
    roles = ["user" if turn.role in _USER else "model" for turn in turns]
    if roles != ["user", "model"] * (len(turns) // 2) or (row.system and row.snake_system):
        return None
    if quotes != _expected_quotes(turns, system):
        return None
    texts = [_joined(turn.parts) for turn in turns]
    instruction = _joined(system.parts) if system else ""
    if any(text.isspace() or text in NOT_A_TEXT for text in (instruction, *texts)):
        return None
    return _measured(instruction, texts, [*texts[::2], instruction], texts[1::2])


def _expected_quotes(turns: list[_PlainTurn], system: _PlainSystem | None) -> int:
    quotes = _NAME_QUOTES + sum(_ROLE_QUOTES + _NAME_QUOTES + _PART_QUOTES * len(turn.parts) for turn in turns)
    if system:
        quotes += 2 * _NAME_QUOTES + _PART_QUOTES * len(system.parts) + (0 if system.role is None else _ROLE_QUOTES)
    return quotes


def _joined(parts: list[_PlainPart]) -> str:
    return "".join([part.text for part in parts])


def _measured(system: str, texts: list[str], inputs: list[str], outputs: list[str]) -> Measured:
    answer = texts[-1]
    return (
        hash((system, *texts[:-1])),
        hash(answer),
        sum(map(estimate_tokens, inputs)),
        sum(map(estimate_tokens, outputs)),
        len(texts),
        answer if len(answer) <= LABEL_LENGTH else "",
    )
