"""Cloud Storage against a live local Google Cloud, through the real client."""

from __future__ import annotations

import gzip
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from vertex_tuning.exceptions import (
    ConfigurationError,
    ContentMismatchError,
    VertexRequestError,
    VertexUnavailableError,
)
from vertex_tuning.hooks import storage as storage_module
from vertex_tuning.hooks import uploads
from vertex_tuning.hooks.connection import GoogleConnection
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.hooks.uploads import UPLOAD_CHUNK, LocalFile, Progress

from tests.integration.conftest import connection
from tests.support.uploading import damaging, start_upload

MIB = 1024 * 1024


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads in parts of 1 MiB, whatever the size."""
    monkeypatch.setattr(storage_module, "PARALLEL_FROM", 1)
    monkeypatch.setattr(uploads, "MIN_PART", MIB)


def write(path: Path, size: int, seed: int = 0) -> str:
    path.write_bytes(random.Random(seed).randbytes(size))
    return str(path)


def sent(emulator: str) -> dict[str, int]:
    """How often content came in, by status."""
    counts = httpx.get(f"{emulator}/_internal/requests").json()["counts"]
    result: dict[str, int] = counts.get("storage.objects.insert", {})
    return result


def names(emulator: str, prefix: str) -> list[str]:
    listed = httpx.get(f"{emulator}/storage/v1/b/bucket/o", params={"prefix": prefix, "versions": True}).json()
    return [item["name"] for item in listed.get("items", [])]


def content(storage: StorageHook, uri: str) -> bytes:
    with storage.open_object(uri) as file:
        return file.read()


SIZES = [0, 1, 1000, UPLOAD_CHUNK, UPLOAD_CHUNK + 1, 3 * UPLOAD_CHUNK - 5]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("parts", [False, True])
def test_what_is_uploaded_is_what_the_file_holds_and_a_second_time_sends_nothing(
    storage: StorageHook, tmp_path: Path, emulator: str, size: int, parts: bool, request: pytest.FixtureRequest
) -> None:
    if parts:
        request.getfixturevalue("in_parts")
    path, name = write(tmp_path / "f", size), f"sizes/{parts}-{size}"
    assert storage.upload_once(path, "bucket", name) == f"gs://bucket/{name}"
    assert content(storage, f"gs://bucket/{name}") == Path(path).read_bytes()
    found = storage.find_object(f"gs://bucket/{name}")
    httpx.delete(f"{emulator}/_internal/requests")
    storage.upload_once(path, "bucket", name)
    assert sent(emulator) == {}
    assert storage.find_object(f"gs://bucket/{name}") == found
    assert names(emulator, name) == [name]  # no parts are left


@pytest.mark.parametrize("size", [5, 2 * MIB + 1])
@pytest.mark.usefixtures("in_parts")
def test_other_content_under_the_name_is_never_overwritten(storage: StorageHook, tmp_path: Path, size: int) -> None:
    mine, other = write(tmp_path / "mine", size), write(tmp_path / "other", size, seed=1)
    storage.upload_once(other, "bucket", f"conflict-{size}")
    with pytest.raises(ContentMismatchError) as error:
        storage.upload_once(mine, "bucket", f"conflict-{size}")
    for side in (mine, f"gs://bucket/conflict-{size}", f"{size} bytes", LocalFile.read(mine).crc32c):
        assert side in str(error.value)
    assert content(storage, f"gs://bucket/conflict-{size}") == Path(other).read_bytes()


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("size", [1000, UPLOAD_CHUNK + 1])
def test_an_object_that_comes_between_looking_and_uploading(
    storage: StorageHook, tmp_path: Path, control: Callable[..., None], same: bool, size: int
) -> None:
    # The look-up is answered as if the object were not there yet: what follows is a 412 of the upload itself.
    path, name = write(tmp_path / "f", size), f"race-{same}-{size}"
    rival = path if same else write(tmp_path / "rival", size, seed=1)
    storage.upload_once(rival, "bucket", name)
    control("faults", method="storage.objects.get", count=1, error={"code": 404})
    if same:
        assert storage.upload_once(path, "bucket", name) == f"gs://bucket/{name}"
    else:
        with pytest.raises(ContentMismatchError):
            storage.upload_once(path, "bucket", name)
    assert content(storage, f"gs://bucket/{name}") == Path(rival).read_bytes()


@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize(
    "fault",
    [{"error": {"code": 503}}, {"drop": "before"}, {"drop": "after"}, {"truncate": 10}],
    ids=["503", "lost-request", "lost-answer", "cut-answer"],
)
def test_faults_that_pass_are_survived(
    storage: StorageHook,
    tmp_path: Path,
    emulator: str,
    control: Callable[..., None],
    fault: dict[str, Any],
    parts: bool,
    request: pytest.FixtureRequest,
) -> None:
    if parts:
        request.getfixturevalue("in_parts")
    path, name = write(tmp_path / "f", UPLOAD_CHUNK + 1000), f"faults/{request.node.callspec.id}"
    method = "storage.objects.compose" if parts else "storage.objects.insert"
    control("faults", method=method, count=1, **fault)
    storage.upload_once(path, "bucket", name)
    assert httpx.get(f"{emulator}/_internal/faults").json()["faults"][0]["count"] == 0
    assert content(storage, f"gs://bucket/{name}") == Path(path).read_bytes()


@pytest.mark.parametrize("parts", [False, True])
def test_what_is_damaged_on_the_way_is_sent_again_and_never_visible(
    tmp_path: Path, emulator: str, monkeypatch: pytest.MonkeyPatch, parts: bool, request: pytest.FixtureRequest
) -> None:
    if parts:
        request.getfixturevalue("in_parts")
    path = tmp_path / "f"
    path.write_bytes(b"x" * 1000 + b"hello, world" + b"x" * UPLOAD_CHUNK)
    with damaging(emulator, b"hello, world", times=1) as url:
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(url))
        storage = StorageHook(GoogleConnection(location="us-central1"))
        storage.upload_once(str(path), "bucket", f"damaged-{parts}/once")
        assert content(storage, f"gs://bucket/damaged-{parts}/once") == path.read_bytes()
    with damaging(emulator, b"hello, world", times=99) as url:
        monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection(url))
        with pytest.raises(VertexRequestError, match="CRC32C"):
            StorageHook(GoogleConnection(location="us-central1")).upload_once(
                str(path), "bucket", f"damaged-{parts}/always"
            )
    assert f"damaged-{parts}/always" not in names(emulator, f"damaged-{parts}/always")


@pytest.mark.parametrize("parallel_from", [MIB, 10**12], ids=["parts", "stream"])
def test_killed_at_any_moment_nothing_half_is_visible_and_the_next_attempt_completes(
    storage: StorageHook, tmp_path: Path, emulator: str, parallel_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_module, "PARALLEL_FROM", parallel_from)
    monkeypatch.setattr(uploads, "MIN_PART", MIB)
    path, chance = write(tmp_path / "f", 20 * MIB), random.Random(5)
    killed = completed = 0
    whole_file = LocalFile.read(path)
    start_upload(path, f"kill/{parallel_from}/warm-up", parallel_from).join()
    process = start_upload(path, f"kill/{parallel_from}/whole", parallel_from)
    started = time.monotonic()
    process.join()
    whole = time.monotonic() - started
    while killed < 25:
        name = f"kill/{parallel_from}/{completed}"  # the next attempt finds what the one before left
        process = start_upload(path, name, parallel_from)
        process.join(chance.uniform(0, whole))
        process.kill()
        process.join()
        killed += process.exitcode == -9
        found = storage.find_object(f"gs://bucket/{name}")
        assert found is None or whole_file.is_same(found)
        if found:
            storage.upload_once(path, "bucket", name)  # tidies up after one that was killed at the very end
            assert names(emulator, name) == [name]
            completed += 1
    storage.upload_once(path, "bucket", name)
    assert content(storage, f"gs://bucket/{name}") == Path(path).read_bytes()
    assert names(emulator, name) == [name]


@pytest.mark.parametrize("parallel_from", [MIB, 10**12], ids=["parts", "stream"])
def test_the_same_file_from_eight_tasks_at_once_becomes_one_object(
    storage: StorageHook, tmp_path: Path, emulator: str, parallel_from: int
) -> None:
    path, name = write(tmp_path / "f", 12 * MIB), f"eight/{parallel_from}"
    tasks = [start_upload(path, name, parallel_from) for _ in range(8)]
    for task in tasks:
        task.join()
    assert [task.exitcode for task in tasks] == [0] * 8
    assert names(emulator, name) == [name]  # one generation, no parts
    assert content(storage, f"gs://bucket/{name}") == Path(path).read_bytes()


def test_long_uploads_say_how_far_they_are_and_how_fast() -> None:
    said: list[str] = []
    progress = Progress("gs://b/n", 40_000_000, lambda text, *values: said.append(text % values))
    progress.add(10_000_000)
    assert said == []
    progress._said -= 10  # as if ten seconds had gone by
    progress.add(10_000_000)
    progress.finish()
    assert said[0].startswith("gs://b/n: 20 of 40 MB, ")
    assert "20000000 bytes sent in 0.0 s" in said[1]


def test_the_log_tells_how_fast_an_upload_was(
    storage: StorageHook, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.upload_once(write(tmp_path / "f", 100), "bucket", "logged")
    assert "gs://bucket/logged: 100 bytes sent in" in capsys.readouterr().out


def test_a_bucket_that_does_not_exist_is_named(storage: StorageHook, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(gzip.compress(b"x"))
    with pytest.raises(VertexRequestError, match=r"gs://no-such-bucket/rows\.jsonl"):
        storage.upload_once(str(path), "no-such-bucket", "rows.jsonl")


def test_an_object_that_is_neither_there_nor_absent_is_worth_a_retry(
    storage: StorageHook, tmp_path: Path, control: Callable[..., None]
) -> None:
    path = write(tmp_path / "f", 10)
    storage.upload_once(path, "bucket", "away")
    control("faults", method="storage.objects.get", error={"code": 404})
    with pytest.raises(VertexUnavailableError, match="not there after its upload"):
        storage.upload_once(path, "bucket", "away")


def test_an_object_that_does_not_exist_is_named(storage: StorageHook) -> None:
    with pytest.raises(VertexRequestError, match=r"gs://data/none\.jsonl"):
        content(storage, "gs://data/none.jsonl")
    assert storage.find_object("gs://data/none.jsonl") is None


@pytest.mark.parametrize("uri", ["", "gs://", "gs://bucket", "file:///etc/passwd", "bucket/name"])
def test_what_is_no_object_is_refused(storage: StorageHook, uri: str) -> None:
    with pytest.raises(ConfigurationError, match="gs://BUCKET/NAME"):
        storage.find_object(uri)


def test_small_objects_are_written_over_and_read_up_to_a_limit(storage: StorageHook) -> None:
    uri = storage.write_object("gs://bucket/small.json", b"[1]", "application/json")
    assert storage.write_object(uri, b"[1, 2]", "application/json") == uri
    assert storage.read_object(uri, limit=6) == b"[1, 2]"
    with pytest.raises(VertexRequestError, match="found 6 bytes, expected at most 5"):
        storage.read_object(uri, limit=5)


def test_objects_are_found_by_a_pattern(storage: StorageHook) -> None:
    for name in ("list/a.jsonl", "list/b.jsonl", "list/c.csv", "list/sub/d.jsonl"):
        storage.write_object(f"gs://bucket/{name}", b"x", "text/plain")
    found = storage.list_objects("gs://bucket/list/*.jsonl")
    assert [one.uri for one in found] == ["gs://bucket/list/a.jsonl", "gs://bucket/list/b.jsonl"]
    assert found[0].size == 1


@pytest.mark.parametrize("number", [3, 30])
def test_many_objects_are_found_and_missing_ones_are_said(storage: StorageHook, emulator: str, number: int) -> None:
    uris = [f"gs://bucket/many-{number}/{index}.png" for index in range(number)]
    for uri in uris[1:]:
        storage.write_object(uri, b"x", "image/png")
    storage.write_object(f"gs://bucket/many-{number}/deeper/0.png", b"x", "image/png")
    before = httpx.get(f"{emulator}/_internal/requests").json()["counts"]
    found = storage.find_objects([*uris, "gs://no-such-bucket/a.png"])
    after = httpx.get(f"{emulator}/_internal/requests").json()["counts"]
    assert found[uris[0]] is None
    assert [(stored.uri, stored.size, stored.content_type) for uri in uris[1:] if (stored := found[uri])] == [
        (uri, 1, "image/png") for uri in uris[1:]
    ]
    assert found.keys() - set(uris) <= {"gs://no-such-bucket/a.png"}
    lists = [counts.get("storage.objects.list", {}).get("200", 0) for counts in (before, after)]
    assert lists[1] - lists[0] == (1 if number >= storage_module.LISTED_FROM else 0)
