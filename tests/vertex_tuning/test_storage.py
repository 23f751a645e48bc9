"""Cloud Storage against a live local Google Cloud, through the real client."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import requests
from vertex_tuning.exceptions import VertexRequestError
from vertex_tuning.hooks.storage import StorageHook


def test_the_same_content_is_uploaded_once(storage: StorageHook, tmp_path: Path, emulator: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"contents": []}\n')
    assert storage.upload_once(str(path), "bucket", "x/rows.jsonl") == "gs://bucket/x/rows.jsonl"
    first = requests.get(f"{emulator}/storage/v1/b/bucket/o/x%2Frows.jsonl", timeout=5).json()
    storage.upload_once(str(path), "bucket", "x/rows.jsonl")
    assert requests.get(f"{emulator}/storage/v1/b/bucket/o/x%2Frows.jsonl", timeout=5).json() == first
    with storage.open_object("gs://bucket/x/rows.jsonl") as file:
        assert file.read() == path.read_bytes()


def test_a_bucket_that_does_not_exist_is_named(storage: StorageHook, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(gzip.compress(b"x"))
    with pytest.raises(VertexRequestError, match=r"gs://no-such-bucket/rows\.jsonl"):
        storage.upload_once(str(path), "no-such-bucket", "rows.jsonl")


def test_an_object_that_does_not_exist_is_named(storage: StorageHook) -> None:
    with (
        pytest.raises(VertexRequestError, match=r"gs://data/none\.jsonl"),
        storage.open_object("gs://data/none.jsonl") as f,
    ):
        f.read()
