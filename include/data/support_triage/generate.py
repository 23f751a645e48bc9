"""Writes the sample dataset: `python -m include.data.support_triage.generate`.

Everything is drawn from one seed, so the files are the same wherever they are made; README.md says what is in them.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from include.data.support_triage.phrases import (
    BACKGROUND,
    BRIDGES,
    CLOSERS,
    CORES,
    OPENERS,
    SETBACKS,
    SLOTS,
)

SEED = 20261122
TRAINING_ROWS = 720
VALIDATION_ROWS = 110
LABELS = sorted(CORES)
INSTRUCTION = f"Sort the customer's message. Answer with one label only: {', '.join(LABELS)}."

# Shares of messages, chosen so that a sensible tuning gets about nine in ten unseen messages right.
_TWO_TOPICS = 0.1
_MISLABELLED = 0.015
_CASUAL = 0.25
_TYPOS = 0.3

_SLOT = re.compile(r"\{(\w+)\}")
_CHOICE = re.compile(r"\(([^()]*)\)")


def expand(template: str, rng: random.Random) -> str:
    """One of the texts a template stands for."""
    while slot := _SLOT.search(template):
        template = template[: slot.start()] + rng.choice(SLOTS[slot[1]]) + template[slot.end() :]
    while choice := _CHOICE.search(template):
        template = template[: choice.start()] + rng.choice(choice[1].split("|")) + template[choice.end() :]
    return template


def message(label: str, rng: random.Random) -> str:
    """A message about the label's topic, at times with another topic in it."""
    parts = [_matter(label, rng)]
    if rng.random() < _TWO_TOPICS:
        other = _matter(rng.choice([name for name in LABELS if name != label]), rng)
        if rng.random() < 0.5:
            parts = [other, expand(rng.choice(SETBACKS), rng) + parts[0]]
        else:
            parts = [parts[0], expand(rng.choice(BRIDGES), rng) + other]
    if rng.random() < 0.4:
        parts.insert(rng.randrange(len(parts) + 1), expand(rng.choice(BACKGROUND), rng))
    text = " ".join(part[0].upper() + part[1:] for part in parts)
    if rng.random() < 0.35:
        text = expand(rng.choice(OPENERS), rng) + text
    if rng.random() < 0.45:
        text += expand(rng.choice(CLOSERS), rng)
    return _tidy(_roughen(text, rng))


def _matter(label: str, rng: random.Random) -> str:
    text = expand(rng.choice(CORES[label]), rng)
    asks = re.match(r"(how|where|why|what|can|could|do|is|are) ", text)
    return text + ("?" if asks else rng.choice([".", ".", "!"]))


def _roughen(text: str, rng: random.Random) -> str:
    """Write as people do who are in a hurry."""
    if rng.random() < _CASUAL:
        text = text.lower().replace("please", "pls").replace(" you ", " u ").rstrip(".!")
    words = text.split(" ")
    if rng.random() < _TYPOS:
        for place in rng.sample(range(len(words)), k=min(len(words), rng.randint(1, 3))):
            words[place] = _typo(words[place], rng)
    return " ".join(words)


def _typo(word: str, rng: random.Random) -> str:
    """A word of four letters or more with two letters swapped, one lost or one doubled."""
    if len(word) < 4 or not word.isalpha():
        return word
    at = rng.randrange(1, len(word) - 1)
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return rng.choice([swapped, word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]])


def _tidy(text: str) -> str:
    return re.sub(r"\s+([,.!?])", r"\1", " ".join(text.split()))


def examples(seed: int) -> Iterator[tuple[str, str]]:
    """Messages and their labels, no message twice, each label equally often but for the mislabelled."""
    rng = random.Random(seed)  # noqa: S311 - data, not secrets
    seen: set[str] = set()
    while True:
        for label in rng.sample(LABELS, k=len(LABELS)):
            text = message(label, rng)
            if text.casefold() not in seen:
                seen.add(text.casefold())
                yield text, rng.choice(LABELS) if rng.random() < _MISLABELLED else label


def row(text: str, label: str) -> str:
    """A line of a Gemini tuning dataset."""
    turns = [("user", text), ("model", label)]
    contents = [{"role": role, "parts": [{"text": words}]} for role, words in turns]
    return json.dumps({"systemInstruction": {"parts": [{"text": INSTRUCTION}]}, "contents": contents}) + "\n"


def files(seed: int = SEED) -> dict[str, str]:
    """The dataset's files by name."""
    drawn = examples(seed)
    return {
        "training.jsonl": "".join(row(*example) for example in islice(drawn, TRAINING_ROWS)),
        "validation.jsonl": "".join(row(*example) for example in islice(drawn, VALIDATION_ROWS)),
    }


def main() -> None:
    """Write the files to the folder of this module."""
    for name, text in files().items():
        Path(__file__).with_name(name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
