"""Which examples are set aside for validation. Pure."""

from __future__ import annotations

import hashlib
import heapq
from pathlib import Path
from typing import Any

import msgspec

from vertex_tuning.datasets.rows import answer_text, prompt_texts


def place(row: dict[str, Any], seed: int) -> int:
    """Where an example stands between 0 and 2**64: by its own content, so it stays there whatever else there is.

    Examples with the same prompt and answer stand together however their JSON is written. Those below
    `fraction * 2**64` are for validation; a smaller fraction takes a part of them, never others.
    """
    digest = hashlib.blake2b(digest_size=8, key=seed.to_bytes(8, "big", signed=True))
    for text in (*prompt_texts(row), answer_text(row)):
        digest.update(len(text).to_bytes(8, "big"))
        digest.update(text.encode("utf-8", "surrogatepass"))
    return int.from_bytes(digest.digest(), "big")


def for_validation(row: dict[str, Any], seed: int, fraction: float) -> bool:
    """Whether an example is set aside when so large a share is."""
    return place(row, seed) < fraction * 2**64


def keep_first(path: Path, seed: int, count: int) -> None:
    """Keep of a JSONL file the examples that stand first, so that fewer are of those that more would be."""
    with path.open("rb") as file:
        places = (place(msgspec.json.decode(line), seed) for line in file)
        last = max(heapq.nsmallest(count, places))
    shorter = path.with_suffix(".part")
    with path.open("rb") as file, shorter.open("wb") as output:
        kept = (line for line in file if place(msgspec.json.decode(line), seed) <= last)
        output.writelines(line for line, _ in zip(kept, range(count), strict=False))
    shorter.replace(path)
