"""Rows of a tuning dataset and what is wrong with them. Pure: reads bytes, knows neither Airflow nor a network.

The rules are those of the service's guide to preparing supervised tuning data: one JSON object per line, UTF-8,
`contents` a list of turns with role `user` or `model`, the last of them the model's, which is what is learnt.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any, Final

import msgspec

from vertex_tuning.exceptions import DatasetError

ROLES: Final = ("user", "model")
ERRORS_SHOWN: Final = 20
MAX_BYTES: Final = 10**9
"""Largest training file the service takes (1 GB)."""


class Part(msgspec.Struct, rename="camel"):
    """One piece of a turn: text, or a file or function part (passed on as they are)."""

    text: str | None = None
    file_data: dict[str, Any] | None = None
    function_call: dict[str, Any] | None = None
    function_response: dict[str, Any] | None = None

    def is_empty(self) -> bool:
        return not (self.text or self.file_data or self.function_call or self.function_response)


class Content(msgspec.Struct):
    """One turn."""

    role: str | None = None
    parts: list[Part] = msgspec.field(default_factory=list)


class Row(msgspec.Struct, rename="camel"):
    """One example: a conversation whose last turn is the answer to learn."""

    contents: list[Content]
    system_instruction: Content | None = None


class DatasetReport(msgspec.Struct, frozen=True):
    """What a pass over a dataset found.

    :param name: the file as the user knows it
    :param rows: examples, blank lines not counted
    :param size: bytes
    :param sha256: of all bytes, in hex
    :param errors: `line N: …`, the first ones in full
    :param error_count: of all of them
    """

    name: str
    rows: int
    size: int
    sha256: str
    errors: list[str]
    error_count: int

    def require_valid(self) -> None:
        """:raises DatasetError: lists the first errors by file and line"""
        if self.error_count:
            more = self.error_count - len(self.errors)
            listed = "\n".join(f"  {error}" for error in self.errors)
            rest = f"\n  and {more} more" if more else ""
            raise DatasetError(f"{self.name}: {self.error_count} rows cannot be used for tuning.\n{listed}{rest}")
        if not self.rows:
            raise DatasetError(f"{self.name}: found no rows in {self.size} bytes, expected one JSON object per line.")
        if self.size > MAX_BYTES:
            raise DatasetError(f"{self.name}: found {self.size} bytes, expected at most {MAX_BYTES}.")


def inspect(lines: Iterable[bytes], name: str) -> DatasetReport:
    """Check every row of a JSONL file in one pass, at a memory cost of one line.

    :param lines: the file's lines, as a binary file gives them
    :param name: how messages call the file
    """
    digest, decoder = hashlib.sha256(), msgspec.json.Decoder(Row)
    rows = size = error_count = 0
    errors: list[str] = []
    for number, line in enumerate(lines, 1):
        digest.update(line)
        size += len(line)
        if not line.strip():
            continue
        rows += 1
        if problem := _problem(line, decoder):
            error_count += 1
            if len(errors) < ERRORS_SHOWN:
                errors.append(f"{PurePath(name).name}, line {number}: {problem}")
    return DatasetReport(name, rows, size, digest.hexdigest(), errors, error_count)


def sample(lines: Iterable[bytes], size: int) -> list[Row]:
    """So many examples of a valid dataset, picked by their own hash: always the same ones, from all over the file."""
    picked = heapq.nsmallest(size, (line for line in lines if line.strip()), key=_hash)
    return [msgspec.json.decode(line, type=Row) for line in picked]


def _hash(line: bytes) -> bytes:
    return hashlib.sha256(line).digest()


def _problem(line: bytes, decoder: msgspec.json.Decoder[Row]) -> str | None:
    try:
        row = decoder.decode(line)
    except msgspec.ValidationError as error:
        return f"{error}."
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"not JSON ({error}); found {_shorten(line)}, expected one JSON object per line."
    return _problem_in_turns(row.contents)


def _problem_in_turns(contents: list[Content]) -> str | None:
    if not contents:
        return "`contents` is empty, expected at least a user turn and a model turn."
    for index, content in enumerate(contents):
        role = (content.role or "").lower()
        if role not in ROLES:
            return f"contents[{index}].role: found {content.role!r}, expected one of {', '.join(ROLES)}."
        if not content.parts or any(part.is_empty() for part in content.parts):
            return f"contents[{index}].parts: found an empty part or none, expected text."
    if (contents[-1].role or "").lower() != "model":
        return f"contents[{len(contents) - 1}].role: found {contents[-1].role!r}, expected 'model' for the last turn."
    return None


def _shorten(line: bytes, limit: int = 60) -> str:
    text = line.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= limit else text[:limit] + "…")
