"""The quick way through a row of the common kind: text only, two turns or a conversation. Pure.

Checking and measuring cost hardly more than decoding: the types say most of the rules, and msgspec checks them in C.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec

from vertex_tuning.limits import MAX_EXAMPLE_TOKENS
from vertex_tuning.rows import LABEL_LENGTH, UNREADABLE, Measured
from vertex_tuning.tokens import estimate_tokens


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


def plain_measure() -> Callable[[bytes], Measured | None]:
    """A function that checks and measures a row of the common kind, and gives None for any other.

    It runs once for every row and costs more than all the rest together, hence its plain style.
    """
    decode = msgspec.json.Decoder(_PlainRow).decode

    def measure_plain(line: bytes) -> Measured | None:
        if len(line) > MAX_EXAMPLE_TOKENS:  # bytes are never fewer than tokens, so others are not too long
            return None
        try:
            row = decode(line)
        except UNREADABLE:
            return None
        turns = row.contents
        if len(turns) != 2:
            return _measure_turns(row)
        question, answer = turns
        if question.role not in _USER or answer.role not in _MODEL:
            return None
        prompt = question.parts[0].text if len(question.parts) == 1 else _joined(question.parts)
        reply = answer.parts[0].text if len(answer.parts) == 1 else _joined(answer.parts)
        if prompt.isspace() or reply.isspace():
            return None
        tokens = (len(prompt) + 3) >> 2 if prompt.isascii() else estimate_tokens(prompt)
        reply_tokens = (len(reply) + 3) >> 2 if reply.isascii() else estimate_tokens(reply)
        system = row.system or row.snake_system
        if system is None:
            key = hash(("", prompt))
        else:
            if row.system and row.snake_system:
                return None
            instruction = _joined(system.parts)
            if instruction.isspace():
                return None
            tokens += estimate_tokens(instruction)
            key = hash((instruction, prompt))
        return key, hash(reply), tokens, reply_tokens, 2, reply if len(reply) <= LABEL_LENGTH else ""

    return measure_plain


def _joined(parts: list[_PlainPart]) -> str:
    return parts[0].text if len(parts) == 1 else "".join([part.text for part in parts])


def _measure_turns(row: _PlainRow) -> Measured | None:
    """A conversation of more than two turns."""
    turns = row.contents
    users, models = turns[::2], turns[1::2]
    if len(turns) % 2 or any(t.role not in _USER for t in users) or any(t.role not in _MODEL for t in models):
        return None
    if row.system and row.snake_system:
        return None
    texts = [_joined(turn.parts) for turn in turns]
    system = row.system or row.snake_system
    instruction = _joined(system.parts) if system else ""
    if any(text.isspace() for text in (instruction, *texts)):
        return None
    return _measured(instruction, texts, [*texts[::2], instruction], texts[1::2])


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
