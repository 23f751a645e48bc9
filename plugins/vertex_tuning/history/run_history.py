"""The history of a tuning: one small object for each run, and an index of them. Pure: the storage is an argument.

The object of a run is written once, at the end of the run, and replaced only if the run ends differently after a clear.
The index has the content of all objects with their generations, so that two requests read a whole history. A reader
that finds it stale writes it again. A process that is killed, or two that write at once, leave at worst a stale index.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

import msgspec

from vertex_tuning.datasets.manifest import folder_of
from vertex_tuning.exceptions import (
    ConfigurationError,
    NotFoundError,
    TuningError,
    VertexRequestError,
    VertexUnavailableError,
)
from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.text.plain_text import NAME_SHOWN, TEXT_SHOWN, plain

INDEX: Final = "index.json"
MAX_RUNS: Final = 5000
"""Most runs of a history; the newest count."""
MAX_RECORD: Final = 64 * 1024
"""Largest record that is read, in bytes. Most have 2,000 bytes; the longest texts need 30,000."""
MAX_INDEX: Final = 32 * 1024 * 1024
"""Largest index that is read or written, in bytes. 5,000 records usually have 10,000,000 bytes."""
READERS: Final = 8
"""Records that are read at the same time."""
NAMED: Final = 20
"""Most objects to name that are left out."""

_JSON: Final = "application/json"
_KEY: Final = re.compile(r"[0-9a-f]{16}")
_SEGMENT: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class FoundObject(Protocol):
    """An object of a listing."""

    @property
    def uri(self) -> str: ...
    @property
    def generation(self) -> int: ...
    @property
    def size(self) -> int: ...


class HistoryStorage(Protocol):
    """The methods of :class:`~vertex_tuning.hooks.storage.StorageHook` that a history needs."""

    def list_objects(self, pattern: str) -> Sequence[FoundObject]: ...
    def find_object(self, uri: str) -> FoundObject | None: ...
    def read_object(self, uri: str, limit: int) -> bytes: ...
    def replace_object(self, uri: str, data: bytes, content_type: str, generation: int) -> bool: ...


class IndexEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """The object of a run, as the index has it.

    :param record: None if the object cannot be read
    :param problem: why it cannot be read
    """

    generation: int
    record: RunRecord | None = None
    problem: str = ""


class HistoryIndex(msgspec.Struct, frozen=True):
    """The index of a history.

    :param runs: by the key of the run
    """

    version: int = 1
    runs: dict[str, IndexEntry] = {}


class History(msgspec.Struct, frozen=True):
    """The history of a tuning.

    :param records: newest first
    :param left_out: names of objects that cannot be read, each with the reason; of many, the first
    """

    records: list[RunRecord]
    left_out: list[str]


def history_folder(bucket: str, deployment: str, tuning: str) -> str:
    """The `gs://…` folder of the history of a tuning.

    :param bucket: bucket of the tuning
    :param deployment: id of the Airflow installation, see :func:`~vertex_tuning.deployment.deployment_id`: two
        installations with the same bucket do not share a history
    :param tuning: name of the tuning
    :raises ConfigurationError: a part cannot be a part of such a folder
    """
    for field, part in (("deployment", deployment), ("tuning", tuning)):
        if not _SEGMENT.fullmatch(part):
            raise ConfigurationError(f"{field}: found {part[:100]!r}, expected lower-case letters, digits, _ and -.")
    return folder_of(bucket, f"datasets/history/{deployment}/{tuning}")


def keep_record(storage: HistoryStorage, folder: str, record: RunRecord) -> bool:
    """Write the record of a run to a history. A record that tells the same is kept as it is.

    :param storage: access to Cloud Storage
    :param folder: folder of the history
    :returns: whether the record was written
    :raises TuningError: it cannot be written
    """
    uri, data = f"{folder}/{record.key}.json", msgspec.json.encode(record)
    for _ in range(2):  # another attempt of the same task may write at the same time
        found = storage.find_object(uri)
        old = _read(storage, found, record.tuning).record if found else None
        if old and old.tells_the_same(record):
            return False
        if storage.replace_object(uri, data, _JSON, found.generation if found else 0):
            return True
    raise VertexUnavailableError(f"{uri}: found another process that writes it, expected it to be written once.")


def read_history(storage: HistoryStorage, folder: str, limit: int | None = None) -> History:
    """Read the history of a tuning, and write its index if it is stale.

    :param storage: access to Cloud Storage
    :param folder: folder of the history, see :func:`history_folder`
    :param limit: most records; all if not given
    :raises TuningError: Cloud Storage cannot be reached, or refuses to list or read the history
    """
    listed = {found.uri.rpartition("/")[2]: found for found in storage.list_objects(f"{folder}/*.json")}
    stored = listed.pop(INDEX, None)
    foreign = [name for name in listed if not _KEY.fullmatch(name.removesuffix(".json"))]
    runs = {name.removesuffix(".json"): found for name, found in listed.items() if name not in foreign}
    newest = dict(sorted(runs.items(), key=lambda run: -run[1].generation)[:MAX_RUNS])
    known = _read_index(storage, stored).runs if stored else {}
    current = _current(storage, newest, known, folder.rpartition("/")[2])
    if current.keys() != known.keys() or any(current[key] is not known[key] for key in current):
        _write_index(storage, folder, current, stored)
    records = [entry.record for entry in current.values() if entry.record]
    records.sort(key=lambda record: (record.ended_at, record.key), reverse=True)
    problems = [f"{key}.json: {entry.problem}" for key, entry in current.items() if entry.problem]
    others = [f"{plain(name, NAME_SHOWN)}: expected 16 hex digits as the name of a record." for name in foreign]
    return History(records[:limit], [*problems, *others][:NAMED])


def _current(
    storage: HistoryStorage, runs: Mapping[str, FoundObject], known: Mapping[str, IndexEntry], tuning: str
) -> dict[str, IndexEntry]:
    """The entries of all runs: from the index if an object has not changed, else read from the object."""
    fresh = {key: known[key] for key, found in runs.items() if _is_fresh(known.get(key), key, found, tuning)}
    stale = {key: found for key, found in runs.items() if key not in fresh}
    with ThreadPoolExecutor(READERS) as readers:
        entries = readers.map(lambda found: _read(storage, found, tuning), stale.values())
        return {**fresh, **dict(zip(stale, entries, strict=True))}


def _is_fresh(entry: IndexEntry | None, key: str, found: FoundObject, tuning: str) -> bool:
    if entry is None or entry.generation != found.generation:
        return False
    return bool(entry.problem) or (entry.record is not None and _is_of(entry.record, key, tuning))


def _is_of(record: RunRecord, key: str, tuning: str) -> bool:
    return record.key == key and record.tuning == tuning


def _read(storage: HistoryStorage, found: FoundObject, tuning: str) -> IndexEntry:
    """Read the object of a run. One that is no record of this run gives an entry with the problem."""
    if found.size > MAX_RECORD:
        return IndexEntry(found.generation, problem=f"found {found.size} bytes, expected at most {MAX_RECORD}.")
    try:
        record = msgspec.json.decode(storage.read_object(found.uri, MAX_RECORD), type=RunRecord)
    except NotFoundError:  # replaced or deleted since the listing: no generation, so that the next reader looks again
        return IndexEntry(0, problem="was removed while it was read.")
    except (ValueError, RecursionError) as error:  # msgspec's errors are such
        return IndexEntry(found.generation, problem=f"is no record of a run: {plain(str(error), TEXT_SHOWN)}")
    key = found.uri.rpartition("/")[2].removesuffix(".json")
    if not _is_of(record, key, tuning):
        return IndexEntry(found.generation, problem=f"is a record of {record.tuning}, run {record.key}.")
    return IndexEntry(found.generation, record)


def _read_index(storage: HistoryStorage, stored: FoundObject) -> HistoryIndex:
    """The index; an empty one if it cannot be read, so that it is written again."""
    try:
        return msgspec.json.decode(storage.read_object(stored.uri, MAX_INDEX), type=HistoryIndex)
    except (VertexRequestError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return HistoryIndex()


def _write_index(
    storage: HistoryStorage, folder: str, runs: Mapping[str, IndexEntry], stored: FoundObject | None
) -> None:
    data = msgspec.json.encode(HistoryIndex(runs=dict(runs)))
    with contextlib.suppress(TuningError):  # a reader without the right to write can read
        if len(data) <= MAX_INDEX:
            storage.replace_object(f"{folder}/{INDEX}", data, _JSON, stored.generation if stored else 0)
