"""Writes the sample dataset: `python -m include.data.support_triage.generate`.

Everything is drawn from one seed, so the files are the same wherever they are made; README.md says what is in them.
"""

from __future__ import annotations

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
from include.data.wording import capitalized, row, tidy, write_files
from include.data.wording import expand as expand_slots

SEED = 20261122
TRAINING_ROWS = 720
VALIDATION_ROWS = 110
TEST_ROWS = 510
LABELS = sorted(CORES)
INSTRUCTION = f"Sort the customer's message. Answer with one label only: {', '.join(LABELS)}."

# Shares of messages, chosen so that a sensible tuning gets about nine in ten unseen messages right.
_TWO_TOPICS = 0.1
_MISLABELLED = 0.015
_CASUAL = 0.25
_TYPOS = 0.3


def expand(template: str, rng: random.Random) -> str:
    """One of the texts a template stands for."""
    return expand_slots(template, SLOTS, rng)


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
    text = " ".join(map(capitalized, parts))
    if rng.random() < 0.35:
        text = expand(rng.choice(OPENERS), rng) + text
    if rng.random() < 0.45:
        text += expand(rng.choice(CLOSERS), rng)
    return tidy(_roughen(text, rng))


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


def files(seed: int = SEED) -> dict[str, str]:
    """The dataset's files by name."""
    drawn = examples(seed)
    sizes = {"training.jsonl": TRAINING_ROWS, "validation.jsonl": VALIDATION_ROWS, "test.jsonl": TEST_ROWS}
    return {
        name: "".join(row(INSTRUCTION, *example) for example in islice(drawn, size)) for name, size in sizes.items()
    }


def main() -> None:
    """Write the files to the folder of this module."""
    write_files(Path(__file__).parent, files())


if __name__ == "__main__":
    main()
