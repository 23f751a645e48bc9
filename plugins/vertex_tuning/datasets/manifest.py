"""Manifest of a dataset's folder. It is written last: a folder without a manifest has no dataset. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from vertex_tuning.exceptions import ConfigurationError

MANIFEST: Final = "manifest.json"
REPORT: Final = "dataset-report.json"
MAX_MANIFEST: Final = 1_000_000
"""Most bytes of a manifest that is read. A manifest has about 2,000 bytes."""

DATASETS: Final = "datasets"
"""Folder of a bucket with the folders of datasets, by default."""

_DATASET_FOLDER: Final = r"[0-9a-f]{64}(?:-[0-9a-f]{16})?"
"""Name of a dataset's folder: `dataset_hash`, and `place_key` of data that is used without a copy."""
_OWN_OBJECT: Final = re.compile(
    rf"{DATASETS}/(?:{_DATASET_FOLDER}|(?:refused|rollbacks)/[0-9a-f]{{16}}|(?:history|notices)/[^/]+/[^/]+)/.+",
    re.DOTALL,
)


class ManifestFile(msgspec.Struct, frozen=True):
    """A file of the dataset in Cloud Storage.

    :param uri: `gs://` URI of the object
    :param generation: generation of the object
    :param crc32c: checksum of the object, in base64
    :param sha256: hash of its content, 64 hex digits
    :param bytes: size in bytes
    :param rows: number of examples
    :param tokens: estimated billable tokens of an epoch
    :param format: format of the source, e.g. `gemini` or `csv`
    :param source: name of the source, as the user knows it
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
    """Manifest of a dataset.

    :param dataset_hash: hash of the content, 64 hex digits
    :param training: the training file
    :param validation: the validation file; None without a validation set
    :param test: the test file; None without a test set
    :param report_uri: `gs://` URI of the dataset report
    :param created: time of the upload, ISO 8601
    :param dag_id: DAG that uploaded the dataset
    :param run_id: DAG run that uploaded the dataset
    """

    dataset_hash: str
    training: ManifestFile
    validation: ManifestFile | None
    report_uri: str
    created: str
    dag_id: str
    run_id: str
    test: ManifestFile | None = None

    @classmethod
    def parse(cls, content: bytes) -> Manifest | None:
        """Read a manifest from JSON; None if the content is not a manifest."""
        try:
            return msgspec.json.decode(content, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def encode(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self), indent=2)

    @property
    def files(self) -> list[ManifestFile]:
        return [file for file in (self.training, self.validation, self.test) if file]


def dataset_hash(sha256s: Sequence[str | None]) -> str:
    """The hash of a dataset by its content, which names its folder: 64 hex digits.

    :param sha256s: hash of the training file, then hash of the validation file or None, then that of a test file if
        there is one
    """
    return _digest(list(sha256s))


def place_key(uris: Sequence[str]) -> str:
    """The hash of the URIs of data that is used without a copy: 16 hex digits."""
    return _digest(list(uris))[:16]


def run_key(dag_id: str, run_id: str, map_index: int | None = None, group: str = "") -> str:
    """The name of the folder of a DAG run: 16 hex digits.

    :param map_index: index of the instance of a mapped task group, which has its own folder; -1 or None otherwise
    :param group: id of the task group: a DAG can have several retrainings, each in its own group
    """
    index = [] if map_index in (None, -1) else [str(map_index)]
    return _digest([dag_id, run_id, *index, *([f"group {group}"] if group else [])])[:16]


def folder_of(bucket: str, prefix: str) -> str:
    """The URI `gs://BUCKET/PREFIX`, without a slash at the end.

    :param bucket: name of the bucket
    :param prefix: path of a folder in the bucket; may be empty
    :raises ConfigurationError: the URI of an object cannot begin with this bucket and prefix
    """
    parts = [part for part in prefix.split("/") if part]
    if not bucket or "/" in bucket or any(part in (".", "..") or not part.isprintable() for part in parts):
        raise ConfigurationError(
            f"bucket, prefix: found {bucket!r} and {prefix!r}, expected a bucket's name and a folder in it."
        )
    return "/".join([f"gs://{bucket}", *parts])


def is_own_object(name: str) -> bool:
    """Whether a run wrote an object of a bucket: it is in the folder of a dataset, a refused run or a tuning."""
    return bool(_OWN_OBJECT.fullmatch(name))


def _digest(values: Sequence[str | None]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()
