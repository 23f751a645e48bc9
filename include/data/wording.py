"""Texts from templates, and rows of a Gemini tuning dataset, for the programs that make the sample data.

In a template `(a|b)` is a choice, also of nothing, and `{name}` a value out of the slots; both can be nested.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_SLOT = re.compile(r"\{(\w+)\}")
_CHOICE = re.compile(r"\(([^()]*)\)")


def expand(template: str, slots: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    """One of the texts a template stands for."""
    while slot := _SLOT.search(template):
        template = template[: slot.start()] + rng.choice(slots[slot[1]]) + template[slot.end() :]
    while choice := _CHOICE.search(template):
        template = template[: choice.start()] + rng.choice(choice[1].split("|")) + template[choice.end() :]
    return template


def tidy(text: str) -> str:
    """The text with single spaces, and none before punctuation."""
    return re.sub(r"\s+([,.!?])", r"\1", " ".join(text.split()))


def capitalized(text: str) -> str:
    """The text with a capital first letter; the others stay."""
    return text[:1].upper() + text[1:]


def row(instruction: str, prompt: str, answer: str) -> str:
    """A line of a Gemini tuning dataset."""
    turns = [("user", prompt), ("model", answer)]
    contents = [{"role": role, "parts": [{"text": words}]} for role, words in turns]
    return json.dumps({"systemInstruction": {"parts": [{"text": instruction}]}, "contents": contents}) + "\n"


def write_files(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files of a dataset by name."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
