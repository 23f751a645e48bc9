"""Choose the examples of the validation set and of the test set. Pure."""

from __future__ import annotations

import hashlib
import heapq
from pathlib import Path
from typing import Any

import msgspec

from vertex_tuning.datasets.duplicates import SetName
from vertex_tuning.datasets.rows import answer_text, prompt_texts


def place(row: dict[str, Any], seed: int) -> int:
    """A pseudo-random number from 0 to 2**64 - 1 for an example.

    It depends only on the content of the example and on the seed. Examples with the same prompt and answer get the same
    number, in any form of JSON.

    :param row: row of Gemini's format
    :param seed: number that changes the selection
    """
    digest = hashlib.blake2b(digest_size=8, key=seed.to_bytes(8, "big", signed=True))
    for text in (*prompt_texts(row), answer_text(row)):
        digest.update(len(text).to_bytes(8, "big"))
        digest.update(text.encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest(), "big")


def part_of(row: dict[str, Any], seed: int, validation: float, test: float) -> SetName:
    """The set of an example. A smaller fraction selects a subset of the examples of a larger one.

    :param row: row of Gemini's format
    :param seed: number that changes the selection
    :param validation: share of the examples for validation: those with the lowest numbers of `place`
    :param test: share of the examples for the test set: those with the highest numbers
    """
    share = place(row, seed) / 2**64
    if share < validation:
        return "validation"
    return "test" if share >= 1 - test else "training"


def keep_first(path: Path, seed: int, count: int) -> None:
    """Shorten a JSONL file to the examples with the lowest numbers of `place`.

    A smaller `count` keeps a subset of the examples of a larger `count`.

    :param path: file of rows of Gemini's format, which is replaced
    :param seed: seed of `place`
    :param count: number of examples to keep
    """
    with path.open("rb") as file:
        places = (place(msgspec.json.decode(line), seed) for line in file)
        last = max(heapq.nsmallest(count, places))
    shorter = path.with_suffix(".part")
    with path.open("rb") as file, shorter.open("wb") as output:
        kept = (line for line in file if place(msgspec.json.decode(line), seed) <= last)
        output.writelines(line for line, _ in zip(kept, range(count), strict=False))
    shorter.replace(path)
