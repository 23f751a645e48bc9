"""The quick way through a row of the common kind: text only, two turns or a conversation. Pure.

Checking and measuring cost hardly more than decoding: the types say most of the rules, and msgspec checks them in C.
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
    """The common case: text only, nothing unknown. Decoding checks nearly everything; what does not fit is looked at
    closer (row_rules), so this may be stricter than the rules and never laxer."""

    contents: Annotated[list[_PlainTurn], msgspec.Meta(min_length=2)]
    system: _PlainSystem | None = msgspec.field(default=None, name="systemInstruction")
    snake_system: _PlainSystem | None = msgspec.field(default=None, name="system_instruction")


_USER: Final = ("user", "USER")
_MODEL: Final = ("model", "MODEL")
_REMEMBERED: Final = 100
"""Different system instructions whose length is remembered."""


def plain_measure() -> Callable[[bytes], Measured | None]:
    """A function that checks and measures a row of the common kind, and gives None for any other.

    It runs once for every row and costs more than all the rest together, hence its plain style.
    """
    decode = msgspec.json.Decoder(_PlainRow).decode
    instructions: dict[str, int] = {}

    def measure_plain(line: bytes) -> Measured | None:
        if len(line) > MAX_EXAMPLE_TOKENS:  # bytes are never fewer than tokens, so others are not too long
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
    """Most datasets have one system instruction; of those with many, remembering is of no use."""
    if len(instructions) == _REMEMBERED:
        instructions.clear()
    instructions[instruction] = estimate_tokens(instruction)


def _measure_turns(row: _PlainRow) -> Measured | None:
    """As above for rows with more turns or parts."""
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
