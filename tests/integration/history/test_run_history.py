"""The history of a tuning in Cloud Storage."""

from __future__ import annotations

import json
import threading
from collections import Counter
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.history import run_history
from vertex_tuning.history.run_history import INDEX, MAX_RECORD, history_folder, keep_record, read_history
from vertex_tuning.history.run_record import RunRecord
from vertex_tuning.hooks.storage import StorageHook

TUNING = "triage"

LIST, READ, WRITE = "storage.objects.list", "storage.objects.get", "storage.objects.insert"
INDEX_ONLY = Counter({LIST: 1, READ: 2})
"""Requests that read a history with a fresh index; an object takes two, for its size and its content."""


@pytest.fixture
def folder() -> str:
    return history_folder("bucket", uuid4().hex, TUNING)


def made(number: int, **fields: Any) -> RunRecord:
    given = {
        "tuning": TUNING,
        "key": f"{number:016x}",
        "kind": "retraining",
        "dag_id": "retrain_triage",
        "run_id": f"run {number}",
        "ended": f"2026-03-02T{number // 60 % 24:02}:{number % 60:02}:00Z",
        "outcome": "refused",
        "title": "Refused",
    }
    return msgspec.convert({**given, **fields}, RunRecord)


def write(storage: StorageHook, folder: str, name: str, content: object) -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    storage.write_object(f"{folder}/{name}", data, "application/json")


def requests(emulator: str) -> Counter[str]:
    """The requests since the last call, by the API's method."""
    counts: dict[str, dict[str, int]] = httpx.get(f"{emulator}/_internal/requests").raise_for_status().json()["counts"]
    httpx.delete(f"{emulator}/_internal/requests").raise_for_status()
    return Counter({method: sum(statuses.values()) for method, statuses in counts.items()})


def test_the_newest_runs_come_first(storage: StorageHook, folder: str) -> None:
    for number in (2, 1, 3):
        assert keep_record(storage, folder, made(number))
    assert [record.run_id for record in read_history(storage, folder).records] == ["run 3", "run 2", "run 1"]
    assert [record.run_id for record in read_history(storage, folder, limit=2).records] == ["run 3", "run 2"]


def test_an_empty_history_is_empty_and_writes_nothing(storage: StorageHook, folder: str) -> None:
    found = read_history(storage, folder)
    assert (found.records, found.left_out) == ([], [])
    assert not storage.find_object(f"{folder}/{INDEX}")


def test_the_record_of_a_run_is_kept_unless_the_run_ends_differently(storage: StorageHook, folder: str) -> None:
    assert keep_record(storage, folder, made(1))
    before = storage.find_object(f"{folder}/{made(1).key}.json")
    assert not keep_record(storage, folder, made(1, ended="2026-05-01T00:00:00Z"))
    assert storage.find_object(f"{folder}/{made(1).key}.json") == before
    read_history(storage, folder)
    assert keep_record(storage, folder, made(1, outcome="promoted", title="Promoted"))
    [record] = read_history(storage, folder).records
    assert record.outcome == "promoted"


def test_a_fresh_index_takes_one_list_and_one_object_for_500_runs(
    storage: StorageHook, folder: str, emulator: str
) -> None:
    for number in range(500):
        write(storage, folder, f"{made(number).key}.json", msgspec.to_builtins(made(number)))
    assert len(read_history(storage, folder).records) == 500
    requests(emulator)
    assert len(read_history(storage, folder).records) == 500
    assert requests(emulator) == INDEX_ONLY
    keep_record(storage, folder, made(500))
    requests(emulator)
    assert len(read_history(storage, folder).records) == 501
    assert requests(emulator) == INDEX_ONLY + Counter({READ: 2, WRITE: 1})
    assert len(read_history(storage, folder).records) == 501


def test_a_deleted_record_leaves_the_index(storage: StorageHook, folder: str) -> None:
    for number in (1, 2):
        keep_record(storage, folder, made(number))
    assert len(read_history(storage, folder).records) == 2
    storage.storage.bucket("bucket").blob(f"{folder}/{made(1).key}.json".removeprefix("gs://bucket/")).delete()
    assert [record.run_id for record in read_history(storage, folder).records] == ["run 2"]


HOSTILE: dict[str, object] = {
    "not JSON": b"<html>",
    "not UTF-8": b'{"tuning": "\xff"}',
    "a list": [1, 2],
    "deep": b"[" * 60_000,
    "wrong type": {**msgspec.to_builtins(made(7)), "reasons": "all"},
    "a link that runs": {**msgspec.to_builtins(made(7)), "run_url": "javascript:alert(1)"},
    "escapes": {**msgspec.to_builtins(made(7)), "title": "\x1b[2J"},
    "another tuning's": {**msgspec.to_builtins(made(7)), "tuning": "other"},
    "another run's": {**msgspec.to_builtins(made(7)), "key": "f" * 16},
    "too large": {**msgspec.to_builtins(made(7)), "more": "x" * MAX_RECORD},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_an_object_that_is_no_record_is_left_out_and_named(storage: StorageHook, folder: str, kind: str) -> None:
    keep_record(storage, folder, made(1))
    write(storage, folder, f"{made(7).key}.json", HOSTILE[kind])
    for _ in range(2):  # without an index, and with one
        found = read_history(storage, folder)
        assert [record.run_id for record in found.records] == ["run 1"]
        [problem] = found.left_out
        assert problem.startswith(f"{made(7).key}.json: ")
        assert problem.isprintable()
        assert len(problem) < 700
    assert keep_record(storage, folder, made(7))  # the run itself puts it right
    assert len(read_history(storage, folder).records) == 2


def test_objects_with_foreign_names_are_named_and_not_read(storage: StorageHook, folder: str, emulator: str) -> None:
    for name in ("notes.json", "\u202enosj.json", f"{'A' * 16}.json", "sub/0123456789abcdef.json"):
        write(storage, folder, name, {"x": 1})
    requests(emulator)
    found = read_history(storage, folder)
    assert len(found.left_out) == 3
    assert all(problem.isprintable() for problem in found.left_out)
    assert set(requests(emulator)) == {LIST}


@pytest.mark.parametrize(
    "index",
    [b"not JSON", b"[]", b'{"runs": {"0000000000000001": {"generation": 1, "record": {"title": 3}}}}', b"{" * 100_000],
)
def test_an_index_that_cannot_be_read_is_written_again(storage: StorageHook, folder: str, index: bytes) -> None:
    keep_record(storage, folder, made(1))
    write(storage, folder, INDEX, index)
    assert len(read_history(storage, folder).records) == 1
    assert msgspec.json.decode(storage.read_object(f"{folder}/{INDEX}", 10**6))["runs"].keys() == {made(1).key}


def test_an_index_cannot_put_another_run_in_the_place_of_a_run(storage: StorageHook, folder: str) -> None:
    keep_record(storage, folder, made(1))
    stored = storage.find_object(f"{folder}/{made(1).key}.json")
    assert stored
    wrong = {made(1).key: {"generation": stored.generation, "record": msgspec.to_builtins(made(2))}}
    write(storage, folder, INDEX, {"version": 1, "runs": wrong})
    assert [record.run_id for record in read_history(storage, folder).records] == ["run 1"]


def test_writers_and_readers_at_the_same_time_lose_nothing(storage: StorageHook, folder: str) -> None:
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            keep_record(storage, folder, made(number % 8))
            read_history(storage, folder)
        except Exception as error:  # noqa: BLE001 - the test shows it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(read_history(storage, folder).records) == 8
    index = msgspec.json.decode(storage.read_object(f"{folder}/{INDEX}", 10**6))
    assert len(index["runs"]) == 8


def test_an_index_of_another_reader_is_not_overwritten(storage: StorageHook, folder: str) -> None:
    """Killed half-way or overtaken: the reader's index would be older than the one that is there."""
    keep_record(storage, folder, made(1))
    read_history(storage, folder)
    stale = storage.find_object(f"{folder}/{INDEX}")
    assert stale
    write(storage, folder, INDEX, {"version": 1, "runs": {}})
    assert not storage.replace_object(f"{folder}/{INDEX}", b"{}", "application/json", stale.generation)


def test_only_the_newest_of_too_many_runs_count(
    storage: StorageHook, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_history, "MAX_RUNS", 3)
    for number in range(5):
        keep_record(storage, folder, made(number))
    assert [record.run_id for record in read_history(storage, folder).records] == ["run 4", "run 3", "run 2"]


@pytest.mark.parametrize(
    "parts", [("b/c", "d", "t"), ("b", "../d", "t"), ("b", "d", ""), ("b", "d", "T t"), ("", "d", "t")]
)
def test_the_folder_cannot_leave_its_place(parts: tuple[str, str, str]) -> None:
    with pytest.raises(ConfigurationError):
        history_folder(*parts)
