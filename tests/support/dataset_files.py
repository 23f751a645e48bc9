"""Rows and files for the tests of datasets."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

from vertex_tuning.datasets.prepare import SIZES, DatasetOptions, Prepared, Sizes, Source, prepare


def row(*turns: tuple[str, str], **others: Any) -> dict[str, Any]:
    """A Gemini row of these (role, text)."""
    return {"contents": [{"role": role, "parts": [{"text": text}]} for role, text in turns], **others}


def pair(prompt: str = "hello", answer: str = "hi", **others: Any) -> dict[str, Any]:
    return row(("user", prompt), ("model", answer), **others)


def lines(rows: Iterable[Any]) -> bytes:
    """A JSON-lines file; bytes among the rows are lines as they are."""
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in rows)


def source(content: bytes, name: str = "train.jsonl") -> Source:
    return Source(name, lambda: BytesIO(content))


def prepared(
    content: bytes, folder: Path | None = None, name: str = "train.jsonl", sizes: Sizes = SIZES, **options: Any
) -> Prepared:
    """A dataset of one file, read."""
    if folder:
        return prepare([source(content, name)], options=DatasetOptions(**options), folder=folder, sizes=sizes)
    with tempfile.TemporaryDirectory() as temporary:
        return prepare([source(content, name)], options=DatasetOptions(**options), folder=Path(temporary), sizes=sizes)
