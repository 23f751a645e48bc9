"""The upload task against the live local Google Cloud."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from vertex_tuning import exceptions
from vertex_tuning.datasets.dataset_reader import DatasetReader
from vertex_tuning.datasets.options import ColumnNames, DatasetOptions
from vertex_tuning.hooks.storage import StorageHook
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.jobs.reconciliation import compare_with_service
from vertex_tuning.operators.dataset import UploadDatasetOperator

from tests.support.emulator import classification_rows, upload
from tests.support.google_cloud import TRAINING
from tests.support.media_files import pdf
from tests.support.paths import PRICES
from tests.support.tasks import TaskContext, create, execute

BAD = [{"contents": []}, {"contents": "x"}, {"prompt": "x"}]

FIFTH = DatasetOptions(validation_fraction=0.2)


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path.name


def uploading(folder: Path, **arguments: Any) -> UploadDatasetOperator:
    arguments = {"training_data": "t.jsonl", "bucket": "bucket", "base_dir": str(folder), **arguments}
    options = {name: arguments.pop(name) for name in DatasetOptions.model_fields if name in arguments}
    return UploadDatasetOperator(task_id="upload", **{"options": options, **arguments})


def read(storage: StorageHook, uri: str) -> Any:
    return json.loads(storage.read_object(uri, 10**7))


def listed(emulator: str, prefix: str = "") -> list[dict[str, Any]]:
    answer = httpx.get(f"{emulator}/storage/v1/b/bucket/o", params={"prefix": prefix}).json()
    items: list[dict[str, Any]] = answer.get("items", [])
    return items


def insertions(emulator: str) -> dict[str, int]:
    counts = httpx.get(f"{emulator}/_internal/requests").json()["counts"]
    result: dict[str, int] = counts.get("storage.objects.insert", {})
    return result


# What comes of it


def test_files_report_and_manifest_lie_together(tmp_path: Path, storage: StorageHook) -> None:
    training = write(tmp_path / "t.jsonl", *classification_rows(30))
    validation = write(tmp_path / "v.jsonl", *classification_rows(6))
    result = execute(uploading(tmp_path, training_data=training, validation_data=validation, prefix="together"))
    folder = f"gs://bucket/together/{result['dataset_hash']}"
    assert {name: result[name] for name in ("training_uri", "validation_uri", "report_uri", "manifest_uri")} == {
        "training_uri": f"{folder}/training.jsonl",
        "validation_uri": f"{folder}/validation.jsonl",
        "report_uri": f"{folder}/dataset-report.json",
        "manifest_uri": f"{folder}/manifest.json",
    }
    assert result["run_folder"].startswith(f"{folder}/runs/")
    assert len(result["run_folder"].rpartition("/")[2]) == 16
    assert (result["training"]["rows"], result["validation"]["rows"]) == (30, 6)
    with storage.open_object(result["validation_uri"]) as file:
        assert file.read() == (tmp_path / "v.jsonl").read_bytes()
    report = read(storage, result["report_uri"])
    assert report["training"]["statistics"]["tuningDatasetExampleCount"] == 30
    manifest = read(storage, result["manifest_uri"])
    stored = storage.find_object(result["training_uri"])
    assert stored
    assert manifest["training"] == {
        "uri": stored.uri,
        "generation": stored.generation,
        "crc32c": stored.crc32c,
        "sha256": result["training"]["sha256"],
        "bytes": stored.size,
        "rows": 30,
        "tokens": result["training"]["tokens"],
        "format": "gemini",
        "source": "t.jsonl",
    }
    assert (manifest["dag_id"], manifest["run_id"]) == ("dag", "run")


def test_the_manifest_is_written_last_and_makes_a_second_run_upload_nothing(tmp_path: Path, emulator: str) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(31))
    httpx.delete(f"{emulator}/_internal/requests")
    first = execute(uploading(tmp_path, prefix="last"))
    written = sorted(listed(emulator, "last/"), key=lambda item: int(item["generation"]))
    assert written[-1]["name"].endswith("/manifest.json")
    httpx.delete(f"{emulator}/_internal/requests")
    second = execute(uploading(tmp_path, prefix="last"), TaskContext("another run"))
    assert insertions(emulator) == {}
    assert second["run_folder"] != first["run_folder"]
    assert {**second, "run_folder": ""} == {**first, "run_folder": ""}


def test_retrainings_of_one_run_on_the_same_data_have_folders_of_their_own(tmp_path: Path) -> None:
    """Each writes a report, and the files of one would replace those of the other."""
    write(tmp_path / "t.jsonl", *classification_rows(30))

    def run_folder(task_id: str) -> str:
        context = TaskContext("one run")
        context["ti"].task_id = task_id
        return str(execute(uploading(tmp_path), context)["run_folder"])

    tasks = ("upload_dataset", "small.upload_dataset", "large.upload_dataset", "small.collect_metrics")
    alone, small, large, same = map(run_folder, tasks)
    assert len({alone, small, large}) == 3
    assert same == small


@pytest.mark.parametrize("harm", ["garbage", "deleted"])
def test_a_manifest_that_does_not_hold_is_written_again(
    tmp_path: Path, storage: StorageHook, emulator: str, harm: str
) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(32))
    first = execute(uploading(tmp_path, prefix=harm))
    if harm == "garbage":
        storage.write_object(first["manifest_uri"], b"{", "application/json")
    else:
        name = first["training_uri"].removeprefix("gs://bucket/").replace("/", "%2F")
        httpx.delete(f"{emulator}/storage/v1/b/bucket/o/{name}").raise_for_status()
    second = execute(uploading(tmp_path, prefix=harm))
    assert second == first
    stored = storage.find_object(second["training_uri"])
    assert stored
    assert read(storage, second["manifest_uri"])["training"]["generation"] == stored.generation


def test_an_upload_that_broke_off_is_finished_by_the_next_attempt(
    tmp_path: Path, emulator: str, control: Callable[..., None]
) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(33))
    control("faults", method="storage.objects.insert", error={"code": 403})
    with pytest.raises(exceptions.VertexRequestError):
        execute(uploading(tmp_path, prefix="broken"))
    httpx.delete(f"{emulator}/_internal/faults")
    assert listed(emulator, "broken/") == []
    result = execute(uploading(tmp_path, prefix="broken"))
    assert len(listed(emulator, "broken/")) == 3
    assert execute(create(training_uri=result["training_uri"], validation_uri=""))["name"]


def test_eight_tasks_with_the_same_data_make_one_dataset(tmp_path: Path, emulator: str, storage: StorageHook) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(34))
    with ThreadPoolExecutor(8) as pool:
        runs = [TaskContext(f"run {number}") for number in range(8)]
        results = list(pool.map(lambda run: execute(uploading(tmp_path, prefix="eight"), run), runs))
    assert len({result["training_uri"] for result in results}) == 1
    assert len({result["run_folder"] for result in results}) == 8
    versions = httpx.get(f"{emulator}/storage/v1/b/bucket/o", params={"prefix": "eight/", "versions": True}).json()
    stored = [item for item in versions["items"] if item["name"].endswith("/training.jsonl")]
    assert [item["generation"] for item in stored] == [
        str(read(storage, results[0]["manifest_uri"])["training"]["generation"])
    ]


# Sources


def test_data_in_cloud_storage_is_checked_and_used_where_it_is(tmp_path: Path, emulator: str) -> None:
    result = execute(uploading(tmp_path, training_data=TRAINING, validation_data="", prefix="in-place"))
    assert (result["training_uri"], result["validation_uri"]) == (TRAINING, None)
    assert result["training"]["rows"] == 120
    names = {item["name"].rpartition("/")[2] for item in listed(emulator, "in-place/")}
    assert names == {"dataset-report.json", "manifest.json"}


def test_data_in_cloud_storage_that_must_be_converted_is_uploaded(tmp_path: Path, storage: StorageHook) -> None:
    rows = classification_rows(20)
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
    storage.write_object("gs://bucket/sources/rows.jsonl.gz", packed, "application/gzip")
    result = execute(uploading(tmp_path, training_data="gs://bucket/sources/rows.jsonl.gz"))
    assert result["training_uri"].endswith(f"{result['dataset_hash']}/training.jsonl")
    assert result["training"]["rows"] == 20


def test_several_files_are_one_dataset(tmp_path: Path, storage: StorageHook, emulator: str) -> None:
    rows = classification_rows(30)
    write(tmp_path / "a.jsonl", *rows[:10])
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows[10:]).encode()))
    result = execute(uploading(tmp_path, training_data="*.jsonl*"))
    assert result["training"]["rows"] == 30
    with storage.open_object(result["training_uri"]) as file:
        assert [json.loads(line) for line in file] == rows
    for name in ("a", "b"):
        upload(emulator, f"gs://bucket/several/{name}.jsonl", rows[:15] if name == "a" else rows[15:])
    again = execute(uploading(tmp_path, training_data="gs://bucket/several/*.jsonl"))
    assert again["training_uri"] == result["training_uri"]


def test_csv_with_named_columns_and_an_instruction(tmp_path: Path, storage: StorageHook) -> None:
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "category"], *([f"Question, {n}", f"label {n % 3}"] for n in range(30))])
    result = execute(
        uploading(
            tmp_path,
            training_data="t.csv",
            options=DatasetOptions(columns=ColumnNames(prompt="text", response="category"), system_instruction="Sort."),
        )
    )
    assert (result["training"]["format"], result["training"]["converted"]) == ("csv", 30)
    with storage.open_object(result["training_uri"]) as lines:
        first = json.loads(lines.readline())
    assert first == {
        "systemInstruction": {"parts": [{"text": "Sort."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Question, 0"}]},
            {"role": "model", "parts": [{"text": "label 0"}]},
        ],
    }


def test_a_file_system_airflow_has_a_provider_for(tmp_path: Path, storage: StorageHook) -> None:
    memory = MemoryFileSystem()
    attach(protocol="memory", fs=memory)
    content = "".join(json.dumps(row) + "\n" for row in classification_rows(25)).encode()
    memory.pipe_file("/folder/rows.jsonl", content)
    for given in ("memory://folder/rows.jsonl", "memory://folder/*.jsonl"):
        result = execute(uploading(tmp_path, training_data=given))
        with storage.open_object(result["training_uri"]) as file:
            assert file.read() == content
    with pytest.raises(exceptions.DatasetError, match="found no file"):
        execute(uploading(tmp_path, training_data="memory://folder/none.jsonl"))


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (PermissionError(13, "Permission denied"), exceptions.DatasetError),
        (PermissionError("Access Denied"), exceptions.DatasetError),
        (IsADirectoryError(21, "Is a directory"), exceptions.DatasetError),
        (OSError("Forbidden\x1b[2J https://s3/b?X-Amz-Signature=sesame"), exceptions.DatasetError),
        (ConnectionResetError(104, "Connection reset by peer"), exceptions.TransientError),
        (TimeoutError("timed out"), exceptions.TransientError),
    ],
)
@pytest.mark.parametrize("when", ["listing", "opening", "reading"])
def test_trouble_of_a_file_system_says_which_file_and_whether_a_retry_can_help(
    tmp_path: Path, trouble: OSError, expected: type[Exception], when: str
) -> None:
    class Broken(MemoryFileSystem):  # type: ignore[misc]
        def glob(self, *_: Any, **__: Any) -> list[str]:
            if when == "listing":
                raise trouble
            return ["/broken/rows.jsonl"]

        def open(self, *_: Any, **__: Any) -> Any:
            if when == "opening":
                raise trouble
            return BrokenFile()

    class BrokenFile(io.BytesIO):
        def read(self, *_: Any) -> bytes:
            raise trouble

    attach(protocol="s3", conn_id=(place := uuid4().hex), fs=Broken())
    with pytest.raises(expected, match=r"rows\.jsonl: ") as error:
        execute(uploading(tmp_path, training_data=f"s3://{place}@broken/*rows.jsonl"))
    assert "sesame" not in str(error.value)
    assert str(error.value).isprintable()


def test_local_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(exceptions.DatasetError, match=r"folder\.jsonl: found no file"):
        execute(uploading(tmp_path, training_data="folder.jsonl"))
    with pytest.raises((exceptions.ConfigurationError, exceptions.DatasetError)):
        execute(uploading(tmp_path, training_data="x" * 5000 + ".jsonl"))


@pytest.mark.parametrize("name", ["a\x1b[2Jb.jsonl", "a\nb.jsonl", "\u202eb.jsonl", "a\u200bb.csv", "a::b@c.jsonl"])
def test_names_of_files_are_shown_plainly(tmp_path: Path, storage: StorageHook, name: str) -> None:
    (tmp_path / name).write_text("not a row\n")
    shown = name.encode("unicode_escape").decode()
    with pytest.raises(exceptions.DatasetError) as error:
        execute(uploading(tmp_path, training_data="*"))
    assert shown in str(error.value)
    assert all(line.isprintable() for line in str(error.value).splitlines())
    uri = f"gs://bucket/{uuid4().hex}/{name}"
    storage.write_object(uri, "".join(json.dumps(row) + "\n" for row in classification_rows(3)).encode(), "text/plain")
    if name.endswith(".jsonl"):
        result = execute(uploading(tmp_path, training_data=uri))
        assert result["training_uri"] == uri  # what is trained on keeps its name
        assert result["training"]["name"].endswith(shown)


@pytest.mark.parametrize("given", ["file://{}/t.jsonl", "local://{}/t.jsonl", "FILE://{}/t.jsonl", "{}/*.jsonl"])
def test_local_files_by_other_ways_of_naming_them(tmp_path: Path, given: str) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(3))
    assert execute(uploading(tmp_path, training_data=given.format(tmp_path)))["training"]["rows"] == 3


def test_the_same_rows_in_another_order_have_one_hash_and_two_files(tmp_path: Path) -> None:
    rows = classification_rows(30)
    first, second = (
        execute(
            uploading(
                tmp_path, training_data=write(tmp_path / "t.jsonl", *ordered), options={"validation_fraction": 0.2}
            )
        )
        for ordered in (rows, rows[::-1])
    )
    assert first["rows_hash"] == second["rows_hash"]
    assert first["training_uri"] != second["training_uri"]


def test_space_around_what_a_template_finds_does_not_count(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(30))
    result = execute(uploading(tmp_path, training_data="\n t.jsonl ", validation_data=" ", options=FIFTH))
    assert result["training"]["rows"] + result["validation"]["rows"] == 30


@pytest.mark.parametrize("given", ["", "none.jsonl", "*.none", "gs://bucket/none/*.jsonl", "gs://bucket/none.jsonl"])
def test_a_missing_file_is_named(tmp_path: Path, given: str) -> None:
    with pytest.raises((exceptions.DatasetError, exceptions.NotFoundError)) as error:
        execute(uploading(tmp_path, training_data=given))
    assert given in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        "/etc/passwd",
        "../outside.jsonl",
        "link.jsonl",
        "*.jsonl",
        "../*.jsonl",
        "/etc/pass*",
        "file:///etc/passwd",
        "file://../outside.jsonl",
        "local:///etc/passwd",
    ],
)
def test_a_path_from_a_form_reads_nothing_outside_the_dataset_folders(tmp_path: Path, given: str) -> None:
    (tmp_path / "outside.jsonl").write_text("secret")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.jsonl").symlink_to(tmp_path / "outside.jsonl")
    with pytest.raises(exceptions.ConfigurationError) as error:
        execute(uploading(inside, training_data=given))
    assert "secret" not in str(error.value)
    assert "root:" not in str(error.value)


@pytest.mark.parametrize(
    "given",
    [
        "zip://x::file:///etc/passwd",
        "simplecache::file:///etc/passwd",
        "http://127.0.0.1/x",
        "data://,x",
        "a\0b",
        "gs://",
    ],
)
def test_what_no_provider_of_airflow_opens_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises((exceptions.ConfigurationError, exceptions.DatasetError)):
        execute(uploading(tmp_path, training_data=given))


def test_further_folders_are_opened_by_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(3))
    monkeypatch.setenv("AIRFLOW__VERTEX_TUNING__DATASET_DIRS", f"/nowhere:{tmp_path}")
    (tmp_path / "base").mkdir()
    assert execute(uploading(tmp_path / "base", training_data=str(tmp_path / "t.jsonl")))["training"]["rows"] == 3


# What is refused, and how


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([], "t.jsonl"),
        (["not json"], "t.jsonl, line 1: found"),
        ([{"contents": []}], "line 1"),
        ([*classification_rows(3), {"prompt": "x"}], "line 4"),
    ],
)
def test_a_dataset_that_cannot_work_is_refused_before_anything_is_uploaded(
    tmp_path: Path, emulator: str, content: list[Any], words: str
) -> None:
    write(tmp_path / "v.jsonl", *classification_rows(3))
    operator = uploading(
        tmp_path, training_data="v.jsonl", validation_data=write(tmp_path / "t.jsonl", *content), prefix="no"
    )
    with pytest.raises(exceptions.DatasetError, match=words):
        execute(operator)
    assert all("/refused/" in item["name"] for item in listed(emulator, "no/"))


def test_the_error_tells_the_first_findings_and_where_all_are(tmp_path: Path, storage: StorageHook) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(3), *BAD * 10)
    with pytest.raises(exceptions.DatasetError) as error:
        execute(uploading(tmp_path, prefix="findings"))
    text = str(error.value)
    assert "t.jsonl, line 4" in text
    assert "line 23" in text
    assert "line 24" not in text
    assert "10 more" in text
    report = read(storage, text.rpartition("All findings: ")[2])
    assert [found["line"] for found in report["findings"] if found["severity"] == "error"] == list(range(4, 34))
    assert sum(report["counts"]["error"].values()) == 30


def test_a_report_that_cannot_be_written_hides_no_finding(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", {"contents": []})
    with pytest.raises(exceptions.DatasetError, match=r"line 1(.|\n)*could not be written.*no-such-bucket"):
        execute(uploading(tmp_path, bucket="no-such-bucket"))


def test_invalid_rows_are_left_out_where_that_is_asked_for(tmp_path: Path, storage: StorageHook) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(30), *BAD[:2])
    asked = {"on_invalid_row": "drop", "max_dropped_share": "0.1"}
    result = execute(uploading(tmp_path, **asked))
    assert (result["training"]["rows"], result["training"]["dropped"]) == (30, 2)
    assert "line 31" in "\n".join(result["warnings"])
    with storage.open_object(result["training_uri"]) as file:
        assert len(file.readlines()) == 30
    with pytest.raises(exceptions.DatasetError):
        execute(uploading(tmp_path, **asked | {"max_dropped_share": 0.05}))


@pytest.mark.parametrize("change", ["cut", "replaced", "deleted"])
@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
def test_a_file_that_changes_while_it_is_read_is_no_bad_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, change: str
) -> None:
    path = tmp_path / name
    rows = "".join(json.dumps(row) + "\n" for row in classification_rows(20_000)).encode()
    content = gzip.compress(rows) if name.endswith(".gz") else rows
    path.write_bytes(content)
    take = DatasetReader.take

    def changing(self: DatasetReader, *arguments: Any) -> None:
        monkeypatch.setattr(DatasetReader, "take", take)
        if change == "cut":
            os.truncate(path, len(content) // 2)
        elif change == "replaced":
            (tmp_path / "new").write_bytes(content[:-20])
            (tmp_path / "new").replace(path)
        else:
            path.unlink()
        take(self, *arguments)

    monkeypatch.setattr(DatasetReader, "take", changing)
    with pytest.raises(exceptions.TransientError, match=f"{name}: changed while it was read"):
        execute(uploading(tmp_path, training_data=name))


def test_a_pattern_of_cloud_storage_takes_files_of_data_only(tmp_path: Path, emulator: str) -> None:
    folder = uuid4().hex
    for file in ("a.jsonl", "b.jsonl"):
        upload(emulator, f"gs://data/{folder}/{file}", classification_rows(12))
    upload(emulator, f"gs://data/{folder}/c.png", [{"no": "row"}])
    result = execute(uploading(tmp_path, training_data=f"gs://data/{folder}/*"))
    assert result["training"]["rows"] == 24


def test_a_file_that_changes_meanwhile_is_read_again_by_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(30))
    upload_once = StorageHook.upload_once

    def changing(self: StorageHook, *arguments: str) -> str:
        uri = upload_once(self, *arguments)
        write(tmp_path / "t.jsonl", *classification_rows(31))
        return uri

    monkeypatch.setattr(StorageHook, "upload_once", changing)
    with pytest.raises(exceptions.TransientError, match=r"t\.jsonl: changed while it was read"):
        execute(uploading(tmp_path, prefix="changing"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"on_invalid_row": "maybe"}, "on_invalid_row"),
        ({"format": "xml"}, "format"),
        ({"epoch_count": "0"}, "epoch_count"),
        ({"max_cost": "cheap"}, "max_cost"),
        ({"tuning_task": "poetry"}, "task"),
        ({"prices": "/none.yaml"}, "prices"),
        ({"bucket": "a/b"}, "bucket"),
        ({"prefix": "../x"}, "prefix"),
        ({"count_tokens_sample": "-1"}, "count_tokens_sample"),
        ({"count_tokens_sample": "5"}, "base_model"),
    ],
)
def test_arguments_that_cannot_be_right_are_named_before_anything_is_read(
    tmp_path: Path, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(exceptions.ConfigurationError, match=words):
        execute(uploading(tmp_path, training_data="none.jsonl", **arguments))


# Splitting, epochs, cost


def test_a_validation_set_is_set_aside_when_there_is_none(tmp_path: Path, storage: StorageHook) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(200))
    result = execute(uploading(tmp_path, options={"validation_fraction": "0.1"}))
    sizes = result["training"]["rows"], result["validation"]["rows"]
    assert sum(sizes) == 200
    assert 5 <= sizes[1] <= 40
    given = execute(uploading(tmp_path, validation_data=TRAINING, options={"validation_fraction": "0.1"}))
    assert (given["training"]["rows"], given["validation_uri"]) == (200, TRAINING)


@pytest.mark.parametrize(
    ("arguments", "epochs", "warned"),
    [
        ({"tuning_task": "classification"}, 2, "500 or more"),
        ({"tuning_task": "chat"}, 2, "1000 or more"),
        ({}, 3, ""),
        ({"epoch_count": "7", "tuning_task": "classification"}, 7, "500 or more"),
    ],
)
def test_epochs_are_always_pinned(tmp_path: Path, arguments: dict[str, Any], epochs: int, warned: str) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(120))
    result = execute(uploading(tmp_path, **arguments))
    assert result["epoch_count"] == epochs
    assert (
        (warned in "\n".join(result["warnings"])) if warned else not any("recommended" in w for w in result["warnings"])
    )


def test_the_cost_is_said_and_returned(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(100))
    given = {"base_model": "gemini-2.5-flash", "prices": PRICES, "epoch_count": 4}
    result = execute(uploading(tmp_path, **given, max_cost="100"))
    cost, tokens = result["cost"], result["training"]["tokens"]
    assert (cost["tokens"], cost["training_tokens"], cost["price"]) == (tokens, 4 * tokens, 5.0)
    assert cost["amount"] == pytest.approx(4 * tokens * 5 / 1e6)
    assert execute(uploading(tmp_path))["cost"] is None


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"max_cost": "0.0001"}, r"max_cost: found .* tokens .* x 4 epochs = .* x USD 5\.00 per million .* = USD 0\.0"),
        ({"max_training_tokens": 10}, r"max_training_tokens: found .* x 4 epochs = .*, expected at most 10\."),
        ({"max_cost": 1000, "base_model": "gemini-9"}, r"no price is known for gemini-9, expected a price"),
    ],
)
def test_a_run_that_may_cost_too_much_ends_before_anything_is_uploaded(
    tmp_path: Path, emulator: str, limits: dict[str, Any], words: str
) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(100))
    given = {"base_model": "gemini-2.5-flash", "prices": PRICES, "epoch_count": 4, **limits}
    with pytest.raises(exceptions.CostLimitError, match=words):
        execute(uploading(tmp_path, prefix="dear", **given))
    assert listed(emulator, "dear/") == []


def test_tokens_are_counted_by_the_service_where_that_is_asked_for(tmp_path: Path, emulator: str) -> None:
    rows = classification_rows(100)
    write(tmp_path / "t.jsonl", *({"systemInstruction": {"parts": [{"text": "Sort it."}]}, **row} for row in rows))
    given = {"base_model": "gemini-2.5-flash", "prices": PRICES}
    guessed = execute(uploading(tmp_path, **given, options={"count_tokens_sample": 0}))
    counted = execute(uploading(tmp_path, **given, options={"count_tokens_sample": "100"}))
    assert httpx.get(f"{emulator}/_internal/requests").json()["counts"]["publishers.models.countTokens"]["200"] == 100
    assert "countTokens on 100 examples" in counted["training"]["counted"]
    assert counted["cost"]["tokens"] == counted["training"]["tokens"] != guessed["training"]["tokens"]
    waiting = {"wait_for_completion": True, "deferrable": False, "epoch_count": counted["epoch_count"]}
    job = TuningJob.parse(execute(create(training_uri=counted["training_uri"], validation_uri="", **waiting)))
    assert compare_with_service(counted["training"], job) == []
    assert guessed["training"]["counted"] == "estimated, up to 30 % off"
    assert compare_with_service(guessed["training"], job) == []  # it is as close as that
    [warning] = compare_with_service({**guessed["training"], "counted": ""}, job)
    assert "billable tokens" in warning


def test_fifty_examples_are_counted_if_nothing_else_is_said(tmp_path: Path, emulator: str) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(100))
    result = execute(uploading(tmp_path, base_model="gemini-2.5-flash", prices=PRICES))
    assert "countTokens on 50 examples" in result["cost"]["counted"]
    assert httpx.get(f"{emulator}/_internal/requests").json()["counts"]["publishers.models.countTokens"]["200"] == 50


def pdf_row(number: int) -> dict[str, Any]:
    data = {"mimeType": "application/pdf", "fileUri": f"gs://bucket/files/{number}.pdf"}
    parts = [{"fileData": data}, {"text": f"Summarise report {number}."}]
    return {"contents": [{"role": "user", "parts": parts}, {"role": "model", "parts": [{"text": "Sales grew."}]}]}


def test_a_base_model_that_retires_is_a_warning_of_the_run(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(30))
    for model, warned in (("gemini-2.5-flash", True), ("gemini-3.5-flash", False)):
        result = execute(uploading(tmp_path, base_model=model, prefix=model))
        notes = [warning for warning in result["warnings"] if warning.startswith(f"{model} was retired on")]
        assert bool(notes) is warned
        assert all("Set base_model to gemini-3.5-flash-lite or" in note for note in notes)


def test_the_limit_holds_for_the_most_that_files_may_cost_and_reading_them_narrows_it(
    tmp_path: Path, emulator: str, storage: StorageHook
) -> None:
    for number in range(30):
        storage.write_object(f"gs://bucket/files/{number}.pdf", pdf(2), "application/pdf")
    write(tmp_path / "t.jsonl", *map(pdf_row, range(30)))
    given = {"base_model": "gemini-3.1-flash-lite", "prices": PRICES, "epoch_count": 2, "max_cost": 1}
    words = r"at most 1\d,\d{3},\d{3} training tokens = USD 30\.\d\d.*inspect_files: true"
    with pytest.raises(exceptions.CostLimitError, match=words):
        execute(uploading(tmp_path, **given))
    result = execute(uploading(tmp_path, **given, options={"inspect_files": True}))
    pages = 30 * 2 * 560
    cost = result["cost"]
    assert pages < cost["tokens"] == cost["most_tokens"] < pages + 1000
    assert "countTokens on 30 examples" in cost["counted"]


def test_files_that_are_not_there_are_said_before_the_upload(tmp_path: Path, storage: StorageHook) -> None:
    storage.write_object("gs://bucket/files/0.pdf", pdf(1), "application/pdf")
    write(tmp_path / "t.jsonl", pdf_row(0), pdf_row(777))
    with pytest.raises(exceptions.DatasetError, match=r"1 of 2 rows \(50\.0%\) with files that are missing"):
        execute(uploading(tmp_path))


def test_a_model_whose_tokens_cannot_be_counted_keeps_the_estimate(
    tmp_path: Path, control: Callable[..., None]
) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(100))
    control("faults", method="publishers.models.countTokens", error={"code": 404, "message": "Not here."})
    result = execute(uploading(tmp_path, base_model="gemini-3.5-flash", options={"count_tokens_sample": 5}))
    assert "Not here." in "\n".join(result["warnings"])
    assert result["training"]["counted"].startswith("estimated")


@pytest.mark.parametrize("body", [{}, {"totalTokens": 0}, {"totalTokens": "many"}, {"totalTokens": None}])
def test_a_count_without_a_number_keeps_the_estimate_and_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]
) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(100))
    answered_with(monkeypatch, body)
    given = {"base_model": "gemini-2.5-flash", "prices": PRICES, "count_tokens_sample": 5}
    result = execute(uploading(tmp_path, **given))
    assert result["training"]["tokens"] > 100
    assert "found no number in the response" in "\n".join(result["warnings"])
    with pytest.raises(exceptions.CostLimitError):
        execute(uploading(tmp_path, **given, max_training_tokens=10))


@pytest.mark.parametrize(
    ("count", "applied"), [(1, False), (2, False), (3, True), (27, True), (28, False), (10**9, False)]
)
def test_a_correction_that_cannot_be_right_is_shown_and_not_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, applied: bool
) -> None:
    prompt, answer = {"text": "x" * 32}, {"text": "yes"}  # 8 and 1 tokens, as estimated
    contents = [{"role": "user", "parts": [prompt]}, {"role": "model", "parts": [answer]}]
    write(tmp_path / "t.jsonl", *[{"contents": contents}] * 10)
    answered_with(monkeypatch, {"totalTokens": count})
    result = execute(uploading(tmp_path, base_model="gemini-2.5-flash", options={"count_tokens_sample": 10}))
    assert result["training"]["tokens"] == (10 * count if applied else 90)
    assert ("countTokens on 10 examples" in result["training"]["counted"]) == applied
    if not applied:
        assert "not plausible: found estimate x" in "\n".join(result["warnings"])


def answered_with(monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]) -> None:
    """Have the Gen AI client answered so, whatever it asks; Cloud Storage has another client."""
    monkeypatch.setattr(httpx.Client, "send", lambda _, request, **__: httpx.Response(200, json=body, request=request))


def test_the_log_shows_the_statistics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(100))
    execute(uploading(tmp_path, base_model="gemini-2.5-flash", prices=PRICES))
    said = capsys.readouterr().out
    for words in ("median", "input tokens", "█", "3 epochs (recommended)", "USD"):
        assert words in said


@pytest.mark.parametrize("name", [".env.jsonl", ".airflow/passwords.jsonl", "secrets.json", "airflow.cfg"])
def test_hidden_files_and_files_of_other_kinds_are_not_opened(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"password": "open sesame"}')
    with pytest.raises(exceptions.ConfigurationError) as error:
        execute(uploading(tmp_path, training_data=name))
    assert "sesame" not in str(error.value)


JUDGED: dict[str, Any] = {"sample_size": 15, "baseline": True, "metrics": [{"pairwise": "text_quality"}]}


def test_the_price_of_the_evaluation_counts_as_well(tmp_path: Path, emulator: str) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(100))
    write(tmp_path / "test.jsonl", *[{**row, "labels": {"a": "b"}} for row in classification_rows(130)[100:]])
    given: dict[str, Any] = {"base_model": "gemini-2.5-flash", "test_data": "test.jsonl", "epoch_count": 4}
    result = execute(uploading(tmp_path, **given, evaluation=JUDGED, max_leakage=1.0))
    predictions, judge = result["cost"]["evaluation"]
    assert (predictions["requests"], judge["requests"]) == (3 * 15, 2 * 15)
    assert predictions["amount"] > 0
    limit = result["cost"]["amount"] + judge["amount"] / 2
    with pytest.raises(exceptions.CostLimitError, match=r"Also counted: predictions of the sample: .*; judge: 30 req"):
        execute(uploading(tmp_path, **given, prefix="judged", evaluation=JUDGED, max_cost=limit, max_leakage=1.0))
    assert listed(emulator, "judged/") == []
    assert execute(uploading(tmp_path, **given, max_cost=limit, max_leakage=1.0))["cost"]["evaluation"] == []


@pytest.mark.parametrize(
    ("metrics", "requests"), [('[{"pairwise": "text_quality"}]', [45, 30]), ("None", [45]), ("", [45])]
)
def test_metrics_of_a_template_have_their_price(tmp_path: Path, metrics: str, requests: list[int]) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(40))
    write(tmp_path / "test.jsonl", *classification_rows(59)[44:])
    given: dict[str, Any] = {"base_model": "gemini-2.5-flash", "test_data": "test.jsonl"}
    evaluation = {"sample_size": 15, "baseline": "True", "metrics": metrics}
    result = execute(uploading(tmp_path, **given, evaluation=evaluation))
    assert [cost["requests"] for cost in result["cost"]["evaluation"]] == requests


def test_metrics_of_a_template_that_are_no_list_are_named(tmp_path: Path) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(40))
    write(tmp_path / "test.jsonl", *classification_rows(59)[44:])
    with pytest.raises(exceptions.ConfigurationError, match=r"evaluation\.metrics: found .bleu., expected a list of"):
        execute(uploading(tmp_path, test_data="test.jsonl", evaluation={"sample_size": 15, "metrics": "bleu"}))


def test_test_data_is_uploaded_beside_the_rest_and_compares_models(tmp_path: Path, storage: StorageHook) -> None:
    write(tmp_path / "t.jsonl", *classification_rows(40))
    write(tmp_path / "v.jsonl", *classification_rows(44)[40:])
    write(tmp_path / "test.jsonl", *classification_rows(54)[44:])
    given = {"validation_data": "v.jsonl"}
    both = execute(uploading(tmp_path, **given))
    assert (both["test_uri"], both["sample_uri"]) == (None, both["validation_uri"])
    three = execute(uploading(tmp_path, **given, test_data=" test.jsonl "))
    assert three["sample_uri"] == three["test_uri"] == f"{three['folder']}/test.jsonl"
    assert three["test"]["rows"] == 10
    assert three["folder"] != both["folder"]
    assert three["rows_hash"] == both["rows_hash"]  # the same model would come of it
    assert read(storage, three["manifest_uri"])["test"]["uri"] == three["test_uri"]
    with pytest.raises(exceptions.DatasetError, match=r"40 of 40 rows \(100.0%\) that are also training"):
        execute(uploading(tmp_path, **given, test_data="t.jsonl"))
