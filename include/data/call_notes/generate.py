"""Writes the sample dataset: `python -m include.data.call_notes.generate`.

Everything is drawn from one seed, so the files are the same wherever they are made; README.md says what is in them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from include.data.call_notes.phrases import (
    BACKGROUND,
    DAY_TEMPLATES,
    DAYS,
    OPENINGS,
    PROBLEMS,
    PRODUCTS,
    SLOTS,
    WISHES,
)
from include.data.wording import capitalized, expand, row, tidy, write_files

SEED = 20261128
SIZES = {"training.jsonl": 300, "validation.jsonl": 40, "test.jsonl": 60}
INSTRUCTION = (
    "Summarize the agent's notes of a call in one sentence: the product, the problem, its day if the notes name one, "
    "and what the customer wants."
)

_WITH_DAY = 0.5
_HURRIED = 0.2


def note(rng: random.Random) -> tuple[str, str]:
    """Notes of a call and their summary."""
    product, problem, wish = (rng.choice(sorted(facts)) for facts in (PRODUCTS, PROBLEMS, WISHES))
    day = rng.choice(DAYS) if rng.random() < _WITH_DAY else ""
    slots = {**SLOTS, "product": [product], "day": [day]}
    matter = [f"{capitalized(expand(rng.choice(PROBLEMS[problem]), slots, rng))}."]
    if day:
        matter.append(expand(rng.choice(DAY_TEMPLATES), slots, rng))
    told = [*matter, f"{capitalized(expand(rng.choice(WISHES[wish]), slots, rng))}."]
    for sentence in rng.sample(BACKGROUND, k=rng.randint(2, 4)):
        told.insert(rng.randrange(len(told) + 1), expand(sentence, slots, rng))
    text = tidy(" ".join([expand(rng.choice(OPENINGS), slots, rng), *told]))
    summary = f"The {product} {problem}{f' ({day})' if day else ''}; the customer wants {wish}."
    return text.lower() if rng.random() < _HURRIED else text, summary


def examples(seed: int) -> Iterator[tuple[str, str]]:
    """Notes and their summaries, no notes twice."""
    rng = random.Random(seed)  # noqa: S311 - data, not secrets
    seen: set[str] = set()
    while True:
        text, summary = note(rng)
        if text.casefold() not in seen:
            seen.add(text.casefold())
            yield text, summary


def files(seed: int = SEED) -> dict[str, str]:
    """The dataset's files by name."""
    drawn = examples(seed)
    return {
        name: "".join(row(INSTRUCTION, *example) for example in islice(drawn, size)) for name, size in SIZES.items()
    }


def main() -> None:
    """Write the files to the folder of this module."""
    write_files(Path(__file__).parent, files())


if __name__ == "__main__":
    main()
