"""Airflow's own hook and operators for Cloud Storage, unmodified."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from airflow.providers.google.cloud.hooks.gcs import GCSAsyncHook, GCSHook
from airflow.providers.google.cloud.operators.gcs import GCSCreateBucketOperator, GCSDeleteBucketOperator
from airflow.providers.google.cloud.sensors.gcs import GCSObjectExistenceSensor
from airflow.providers.google.cloud.transfers.local_to_gcs import LocalFilesystemToGCSOperator
from google.api_core import exceptions

from tests.emulator.storage_support import crc32c, http_bucket, md5, new_name

# Airflow's own use of pathspec, whenever it loads plugins.
pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")

MIB = 2**20


@pytest.fixture(autouse=True)
def connection(emulator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection an Airflow deployment would have, and where the client library looks for the service."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    extra = {"is_anonymous": True, "project": "my-project"}
    connection = json.dumps({"conn_type": "google_cloud_platform", "extra": extra})
    monkeypatch.setenv("AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT", connection)


@pytest.fixture
def bucket(emulator: str) -> str:
    with http_bucket(emulator) as http:
        return http.bucket


@pytest.fixture
def hook() -> GCSHook:
    return GCSHook()


class TestHook:
    def test_upload_and_download(self, hook: GCSHook, bucket: str, tmp_path: Path) -> None:
        content = b"row\n" * 300_000
        (tmp_path / "a").write_bytes(content)
        metadata = {"k": "ü"}
        hook.upload(bucket, "dir/a", filename=str(tmp_path / "a"), mime_type="x/y", chunk_size=MIB, metadata=metadata)
        assert hook.exists(bucket, "dir/a")
        assert not hook.exists(bucket, "dir/b")
        assert hook.get_size(bucket, "dir/a") == len(content)
        assert (hook.get_md5hash(bucket, "dir/a"), hook.get_crc32c(bucket, "dir/a")) == (md5(content), crc32c(content))
        assert hook.get_metadata(bucket, "dir/a") == metadata
        assert hook.download(bucket, "dir/a") == content
        hook.download(bucket, "dir/a", filename=str(tmp_path / "b"), chunk_size=MIB)
        assert (tmp_path / "b").read_bytes() == content
        with hook.provide_file(object_url=f"gs://{bucket}/dir/a") as file:
            assert file.read() == content

    def test_gzip(self, hook: GCSHook, bucket: str) -> None:
        hook.upload(bucket, "a", data="plain" * 1000, gzip=True)
        assert gzip.decompress(hook.download(bucket, "a")) == b"plain" * 1000

    def test_list(self, hook: GCSHook, bucket: str) -> None:
        for name in ("a", "dir/b", "dir/c"):
            hook.upload(bucket, name, data=name)
        assert hook.list(bucket) == ["a", "dir/b", "dir/c"]
        assert hook.list(bucket, prefix="dir/", max_results=1) == ["dir/b", "dir/c"]
        assert hook.list(bucket, prefix=["a", "dir/c"]) == ["a", "dir/c"]

    def test_copies(self, hook: GCSHook, bucket: str) -> None:
        other = new_name()
        hook.create_bucket(bucket_name=other, location="EU", storage_class="NEARLINE", labels={"k": "v"})
        made = hook.get_conn().get_bucket(other)
        assert (made.location, made.storage_class, made.labels["k"]) == ("EU", "NEARLINE", "v")
        hook.upload(bucket, "a", data="1")
        hook.upload(bucket, "b", data="2")
        hook.copy(bucket, "a", other)
        hook.rewrite(bucket, "b", other, "c")
        hook.compose(bucket, ["a", "b", "a"], "whole")
        assert [hook.download(other, "a"), hook.download(other, "c"), hook.download(bucket, "whole")] == [
            b"1",
            b"2",
            b"121",
        ]
        hook.sync(bucket, other, delete_extra_files=True)
        assert hook.list(other) == hook.list(bucket) == ["a", "b", "whole"]
        hook.delete(bucket, "a")
        with pytest.raises(exceptions.NotFound):
            hook.delete(bucket, "a")
        hook.delete_bucket(other, force=True)

    async def test_of_triggers(self, bucket: str, hook: GCSHook) -> None:
        from aiohttp import ClientSession

        hook.upload(bucket, "a", data="x")
        async with ClientSession() as session:
            client = await GCSAsyncHook().get_storage_client(session)
            found = client.get_bucket(bucket)
            assert await found.blob_exists("a")
            assert not await found.blob_exists("b")


class TestOperators:
    @pytest.mark.parametrize("options", [{}, {"gzip": True}, {"chunk_size": MIB}])
    def test_upload_of_local_files(self, hook: GCSHook, bucket: str, tmp_path: Path, options: dict[str, Any]) -> None:
        for name in ("a.jsonl", "b.jsonl"):
            (tmp_path / name).write_text(name * 200_000, encoding="utf-8")
        operator = LocalFilesystemToGCSOperator(
            task_id="upload", src=str(tmp_path / "*.jsonl"), dst="data/", bucket=bucket, **options
        )
        assert sorted(operator.execute({})) == [f"gs://{bucket}/data/{name}" for name in ("a.jsonl", "b.jsonl")]
        content = hook.download(bucket, "data/b.jsonl")
        assert (gzip.decompress(content) if "gzip" in options else content) == b"b.jsonl" * 200_000

    def test_upload_to_a_bucket_that_is_not_there(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_text("x", encoding="utf-8")
        operator = LocalFilesystemToGCSOperator(
            task_id="upload", src=str(tmp_path / "a"), dst="a", bucket=new_name("none")
        )
        with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
            operator.execute({})

    def test_buckets(self, hook: GCSHook) -> None:
        name = new_name()
        context: Any = {"ti": mock.Mock(), "task": mock.Mock()}  # the operator only leaves a link there
        GCSCreateBucketOperator(task_id="create", bucket_name=name).execute(context)
        assert hook.get_bucket(name).exists()
        GCSDeleteBucketOperator(task_id="delete", bucket_name=name).execute(context)
        assert not hook.get_bucket(name).exists()

    def test_sensor(self, hook: GCSHook, bucket: str) -> None:
        sensor = GCSObjectExistenceSensor(task_id="wait", bucket=bucket, object="a")
        assert not sensor.poke({})
        hook.upload(bucket, "a", data="x")
        assert sensor.poke({})
