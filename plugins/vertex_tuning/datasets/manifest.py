"""What lies in a dataset's folder. Written last: a folder without a manifest holds no dataset. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Final

import msgspec

from vertex_tuning.exceptions import ConfigurationError

MANIFEST: Final = "manifest.json"
REPORT: Final = "dataset-report.json"
MAX_MANIFEST: Final = 1_000_000
"""Bytes; ours have about 2,000."""


class ManifestFile(msgspec.Struct, frozen=True):
    """A file of the dataset and the object it is in.

    :param tokens: billable, for one epoch, as estimated
    :param source: as the user knows it
    """

    uri: str
    generation: int
    crc32c: str
    sha256: str
    bytes: int
    rows: int
    tokens: int
    format: str
    source: str


class Manifest(msgspec.Struct, frozen=True):
    """
    :param created: when, ISO 8601
    :param dag_id: which DAG's run uploaded it; `run_id` says which run
    """

    dataset_hash: str
    training: ManifestFile
    validation: ManifestFile | None
    report_uri: str
    created: str
    dag_id: str
    run_id: str

    @classmethod
    def parse(cls, content: bytes) -> Manifest | None:
        """None when it is none."""
        try:
            return msgspec.json.decode(content, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def encode(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    @property
    def files(self) -> list[ManifestFile]:
        return [self.training, *([self.validation] if self.validation else [])]


def dataset_hash(sha256s: Sequence[str | None]) -> str:
    """The name of a dataset, by its content: 64 hex digits.

    :param sha256s: of the training file, and of the validation file or None
    """
    return _digest(list(sha256s))


def place_key(uris: Sequence[str]) -> str:
    """The name of the places of data that is used where it is: 16 hex digits."""
    return _digest(list(uris))[:16]


def run_key(dag_id: str, run_id: str, map_index: int | None = None) -> str:
    """The name of a run's folder: 16 hex digits.

    :param map_index: in a mapped task group each instance has a folder; -1 or None outside of one
    """
    index = [] if map_index in (None, -1) else [str(map_index)]
    return _digest([dag_id, run_id, *index])[:16]


def folder_of(bucket: str, prefix: str) -> str:
    """`gs://BUCKET/PREFIX`, without a slash at the end.

    :raises ConfigurationError: when that cannot be the beginning of an object's URI
    """
    parts = [part for part in prefix.split("/") if part]
    if not bucket or "/" in bucket or any(part in (".", "..") or not part.isprintable() for part in parts):
        raise ConfigurationError(
            f"bucket, prefix: found {bucket!r} and {prefix!r}, expected a bucket's name and a folder in it."
        )
    return "/".join([f"gs://{bucket}", *parts])


def _digest(values: Sequence[str | None]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
