"""Fast check and measurement of common rows: text only, two turns or more. Pure.

It takes hardly more time than decoding: the types contain most rules, and msgspec checks types in C.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec

from vertex_tuning.costs.token_estimate import estimate_tokens
from vertex_tuning.datasets.limits import MAX_EXAMPLE_TOKENS
from vertex_tuning.datasets.rows import LABEL_LENGTH, UNREADABLE_ROW, Measured


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
_REMEMBERED: Final = 100
"""Most system instructions whose token estimate is cached."""


def plain_measure() -> Callable[[bytes], Measured | None]:
    """Make a function that checks and measures a common row, and returns None for any other row.

    The function takes most of the time of a check, so its code is written for speed.
    """
    decode = msgspec.json.Decoder(_PlainRow).decode
    instructions: dict[str, int] = {}

    def measure_plain(line: bytes) -> Measured | None:
        if len(line) > MAX_EXAMPLE_TOKENS:  # a row has at most as many tokens as bytes: shorter rows are in the limit
            return None
        try:
            row = decode(line)
        except UNREADABLE_ROW:
            return None
        turns, system = row.contents, row.system
        if len(turns) != 2 or row.snake_system or len(turns[0].parts) + len(turns[1].parts) != 2:
            return _measure_turns(row)
        question, answer = turns
        prompt, reply = question.parts[0].text, answer.parts[0].text
        if question.role not in _USER or answer.role not in _MODEL or prompt.isspace() or reply.isspace():
            return None
        tokens = (len(prompt) + 3) >> 2 if prompt.isascii() else estimate_tokens(prompt)
        reply_tokens = (len(reply) + 3) >> 2 if reply.isascii() else estimate_tokens(reply)
        instruction = system.parts[0].text if system else ""
        if system and len(system.parts) > 1:
            return _measure_turns(row)
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


def _measure_turns(row: _PlainRow) -> Measured | None:
    """Check and measure a row with more turns or parts; None if `row_rules` must check it."""
    turns, system = row.contents, row.system or row.snake_system
    roles = ["user" if turn.role in _USER else "model" for turn in turns]
    if roles != ["user", "model"] * (len(turns) // 2) or (row.system and row.snake_system):
        return None
    texts = [_joined(turn.parts) for turn in turns]
    instruction = _joined(system.parts) if system else ""
    if any(text.isspace() for text in (instruction, *texts)):
        return None
    return _measured(instruction, texts, [*texts[::2], instruction], texts[1::2])


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
