"""google-cloud-storage: listing, versions and batches."""

from __future__ import annotations

import pytest
from google.api_core import exceptions
from google.cloud.storage import Bucket, Client


class TestListing:
    @pytest.fixture
    def named(self, bucket: Bucket) -> Bucket:
        for name in ("a", "a/1", "a/2", "a/b/3", "b", "c/1", "é", "z/"):
            bucket.blob(name).upload_from_string("x")
        return bucket

    def test_order_and_pages(self, client: Client, named: Bucket) -> None:
        pages = client.list_blobs(named, page_size=3).pages
        assert [[blob.name for blob in page] for page in pages] == [
            ["a", "a/1", "a/2"],
            ["a/b/3", "b", "c/1"],
            ["z/", "é"],
        ]
        assert [blob.name for blob in client.list_blobs(named, max_results=2)] == ["a", "a/1"]

    def test_delimiter(self, client: Client, named: Bucket) -> None:
        listed = client.list_blobs(named, delimiter="/")
        assert ([blob.name for blob in listed], listed.prefixes) == (["a", "b", "é"], {"a/", "c/", "z/"})
        listed = client.list_blobs(named, prefix="a/", delimiter="/", page_size=1)
        assert ([blob.name for blob in listed], listed.prefixes) == (["a/1", "a/2"], {"a/b/"})
        listed = client.list_blobs(named, delimiter="/", include_trailing_delimiter=True, page_size=1)
        assert [blob.name for blob in listed] == ["a", "b", "z/", "é"]

    def test_offsets(self, client: Client, named: Bucket) -> None:
        listed = client.list_blobs(named, start_offset="a/2", end_offset="c/1")
        assert [blob.name for blob in listed] == ["a/2", "a/b/3", "b"]

    def test_fields(self, client: Client, named: Bucket) -> None:
        listed = list(client.list_blobs(named, prefix="a/", fields="items(name,size),nextPageToken", page_size=2))
        assert [blob._properties for blob in listed] == [{"name": n, "size": "1"} for n in ("a/1", "a/2", "a/b/3")]

    def test_versions(self, client: Client, bucket: Bucket) -> None:
        bucket.versioning_enabled = True
        bucket.patch()
        first, second = bucket.blob("a"), bucket.blob("a")
        first.upload_from_string("1")
        second.upload_from_string("2")
        bucket.blob("b").upload_from_string("3")
        bucket.blob("a").delete()
        assert [blob.name for blob in client.list_blobs(bucket)] == ["b"]
        versions = list(client.list_blobs(bucket, versions=True, page_size=1))
        assert [(blob.name, blob.generation) for blob in versions[:2]] == [
            ("a", first.generation),
            ("a", second.generation),
        ]
        assert [blob.time_deleted is None for blob in versions] == [False, False, True]
        old = bucket.blob("a", generation=first.generation)
        assert old.download_as_bytes() == b"1"
        old.delete()
        with pytest.raises(exceptions.NotFound):
            old.reload()
        bucket.copy_blob(versions[1], bucket, "a", source_generation=second.generation)
        assert bucket.blob("a").download_as_bytes() == b"2"


def test_batch(client: Client, bucket: Bucket) -> None:
    for name in ("ä/1", "2"):
        bucket.blob(name).upload_from_string("x")
    blobs = [bucket.blob("ä/1"), bucket.blob("2")]
    with client.batch():
        for blob in blobs:
            blob.metadata = {"k": "ü"}
            blob.patch()
    assert [blob.metageneration for blob in blobs] == [2, 2]
    assert bucket.get_blob("ä/1").metadata == {"k": "ü"}
    batch = client.batch()
    with pytest.raises(exceptions.NotFound, match="No such object"), batch:
        bucket.delete_blobs([bucket.blob("ä/1"), bucket.blob("none")])
    assert [blob.name for blob in client.list_blobs(bucket)] == ["2"]
