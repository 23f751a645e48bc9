"""The official client, google-cloud-storage, unmodified."""

from __future__ import annotations

import gzip
import io
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.cloud.storage import Bucket, Client, transfer_manager

from tests.emulator.storage_support import KIB, QUANTUM, crc32c, md5, new_name

MIB = 1024 * KIB


class TestBuckets:
    def test_life(self, client: Client) -> None:
        name = new_name()
        bucket = client.bucket(name)
        bucket.labels = {"team": "a"}
        bucket.storage_class = "NEARLINE"
        assert not bucket.exists()
        client.create_bucket(bucket, location="us-central1")
        again = client.get_bucket(name)
        assert (again.location, again.location_type) == ("US-CENTRAL1", "region")
        assert (again.storage_class, again.labels) == ("NEARLINE", {"team": "a"})
        again.versioning_enabled = True
        again.labels = {"team": "b", "x": "y"}
        again.patch()
        assert client.get_bucket(name).versioning_enabled
        assert client.get_bucket(name).metageneration == 2
        again.delete()
        assert not again.exists()

    def test_the_name_is_taken(self, client: Client, bucket: Bucket) -> None:
        with pytest.raises(exceptions.Conflict, match="you already own it"):
            client.create_bucket(bucket.name)

    def test_a_project_lists_its_own(self, bucket: Bucket, client: Client) -> None:
        others = [new_name("other") for _ in range(5)]
        for name in others:
            client.create_bucket(name, project="another-project")
        listed = client.list_buckets(project="another-project", prefix="other-", page_size=2)
        assert [b.name for b in listed] == sorted(others)
        assert bucket.name in [b.name for b in client.list_buckets()]
        assert bucket.name not in [b.name for b in client.list_buckets(project="another-project")]

    def test_only_an_empty_one_is_deleted(self, bucket: Bucket) -> None:
        bucket.blob("a").upload_from_string("x")
        with pytest.raises(exceptions.Conflict, match="not empty"):
            bucket.delete()
        bucket.delete(force=True)

    def test_preconditions(self, client: Client, bucket: Bucket) -> None:
        bucket.labels = {"a": "b"}
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.patch(if_metageneration_match=7)
        bucket.patch(if_metageneration_match=1)
        with pytest.raises(exceptions.PreconditionFailed):
            bucket.delete(if_metageneration_match=1)
        with pytest.raises(exceptions.NotModified):
            client.get_bucket(bucket.name, if_metageneration_not_match=2)


class TestUploads:
    @pytest.mark.parametrize("size", [0, 1, QUANTUM - 1, QUANTUM, QUANTUM + 1, 5 * QUANTUM + 17])
    def test_resumable(self, bucket: Bucket, size: int) -> None:
        content = os.urandom(size)
        blob = bucket.blob("a", chunk_size=QUANTUM)
        blob.upload_from_file(io.BytesIO(content), content_type="text/plain")
        assert (blob.size, blob.md5_hash, blob.crc32c) == (size, md5(content), crc32c(content))
        assert blob.content_type == "text/plain"
        assert bucket.blob("a").download_as_bytes() == content

    def test_unknown_length(self, bucket: Bucket) -> None:
        content = os.urandom(3 * QUANTUM + 5)
        with bucket.blob("a").open("wb", chunk_size=QUANTUM) as out:
            out.write(content)
        assert bucket.blob("a").download_as_bytes() == content

    def test_metadata(self, bucket: Bucket) -> None:
        blob = bucket.blob("dir/é ü?#%2F.jsonl")
        blob.metadata = {"owner": "Ünal", "null": "null"}
        blob.cache_control, blob.content_disposition = "no-store", 'attachment; filename="é.txt"'
        blob.content_language = "de"
        blob.upload_from_string("{}\n", content_type="application/jsonl", checksum="md5")
        again = bucket.get_blob(blob.name)
        assert again is not None
        assert again.metadata == {"owner": "Ünal", "null": "null"}
        assert (again.cache_control, again.content_language) == ("no-store", "de")
        assert again.content_disposition == 'attachment; filename="é.txt"'
        assert again.download_as_text() == "{}\n"
        again.metadata = {"owner": None, "more": "1"}
        again.content_language = None
        again.patch()
        again.reload()
        assert (again.metadata, again.metageneration) == ({"null": "null", "more": "1"}, 2)
        assert again.content_language is None

    def test_gzip(self, bucket: Bucket) -> None:
        blob = bucket.blob("a")
        blob.content_encoding = "gzip"
        blob.upload_from_string(gzip.compress(b"plain" * 1000))
        assert blob.download_as_bytes() == b"plain" * 1000
        assert gzip.decompress(blob.download_as_bytes(raw_download=True)) == b"plain" * 1000

    def test_no_such_bucket(self, client: Client) -> None:
        with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
            client.bucket(new_name("none")).blob("a").upload_from_string("x")

    def test_many_at_once(self, bucket: Bucket, tmp_path: Path) -> None:
        for number in range(8):
            (tmp_path / f"{number}.bin").write_bytes(os.urandom(1000 + number))
        names = [path.name for path in tmp_path.iterdir()]
        results = transfer_manager.upload_many_from_filenames(
            bucket, names, str(tmp_path), worker_type=transfer_manager.THREAD, skip_if_exists=True
        )
        assert not any(isinstance(result, Exception) for result in results)
        target = tmp_path / "back"
        transfer_manager.download_many_to_path(bucket, names, str(target), worker_type=transfer_manager.THREAD)
        assert {path.name: path.read_bytes() for path in target.iterdir()} == {
            name: (tmp_path / name).read_bytes() for name in names
        }


class TestPreconditions:
    def test_creation(self, bucket: Bucket) -> None:
        bucket.blob("a").upload_from_string("first", if_generation_match=0)
        with pytest.raises(exceptions.PreconditionFailed, match="did not hold"):
            bucket.blob("a").upload_from_string("second", if_generation_match=0)
        assert bucket.blob("a").download_as_bytes() == b"first"

    def test_resumable_creation(self, bucket: Bucket) -> None:
        bucket.blob("a").upload_from_string("first")
        late = bucket.blob("a", chunk_size=QUANTUM)
        with pytest.raises(exceptions.PreconditionFailed):
            late.upload_from_file(io.BytesIO(b"x" * (QUANTUM + 1)), if_generation_match=0)
        assert bucket.blob("a").download_as_bytes() == b"first"

    @pytest.mark.parametrize("chunk_size", [None, QUANTUM])
    def test_exactly_one_of_many_creates(self, bucket: Bucket, chunk_size: int | None) -> None:
        barrier = threading.Barrier(8)

        def create(number: int) -> int | None:
            blob = bucket.blob("race", chunk_size=chunk_size)
            barrier.wait()
            try:
                blob.upload_from_file(io.BytesIO(bytes([number]) * (2 * QUANTUM)), if_generation_match=0)
            except exceptions.PreconditionFailed:
                return None
            return number

        with ThreadPoolExecutor(8) as pool:
            winners = [number for number in pool.map(create, range(8)) if number is not None]
        assert len(winners) == 1
        assert bucket.blob("race").download_as_bytes() == bytes(winners) * (2 * QUANTUM)

    def test_of_every_call(self, bucket: Bucket) -> None:
        blob = bucket.blob("a")
        blob.upload_from_string("x")
        generation = blob.generation
        assert generation is not None
        blob.upload_from_string("y", if_generation_match=generation)
        stale = {"if_generation_match": generation}
        for call in (blob.reload, blob.patch, blob.download_as_bytes, blob.delete):
            with pytest.raises(exceptions.PreconditionFailed):
                call(**stale)
        with pytest.raises(exceptions.PreconditionFailed):
            blob.upload_from_string("z", **stale)
        with pytest.raises(exceptions.NotModified):
            blob.reload(if_generation_not_match=blob.generation)
        with pytest.raises(exceptions.PreconditionFailed):
            blob.delete(if_metageneration_match=9)
        blob.delete(if_generation_match=blob.generation, if_metageneration_match=1)


class TestDownloads:
    def test_ranges(self, bucket: Bucket) -> None:
        blob = bucket.blob("a")
        blob.upload_from_string(bytes(range(100)))
        assert blob.download_as_bytes(start=10, end=19) == bytes(range(10, 20))
        assert blob.download_as_bytes(start=90) == bytes(range(90, 100))
        assert blob.download_as_bytes(end=0) == b"\0"
        with pytest.raises(exceptions.RequestRangeNotSatisfiable):
            blob.download_as_bytes(start=100)

    def test_chunks(self, bucket: Bucket, tmp_path: Path) -> None:
        content = os.urandom(3 * QUANTUM + 9)
        bucket.blob("a").upload_from_string(content)
        blob = bucket.blob("a", chunk_size=QUANTUM)
        blob.download_to_filename(str(tmp_path / "a"))
        assert (tmp_path / "a").read_bytes() == content
        with bucket.blob("a").open("rb", chunk_size=QUANTUM) as source:
            source.seek(QUANTUM + 1)
            assert source.read(10) == content[QUANTUM + 1 :][:10]

    def test_a_missing_object(self, bucket: Bucket) -> None:
        with pytest.raises(exceptions.NotFound, match=f"No such object: {bucket.name}/none"):
            bucket.blob("none").download_as_bytes()
        assert not bucket.blob("none").exists()
        assert bucket.get_blob("none") is None


class TestTransferManager:
    def test_chunks_both_ways(self, bucket: Bucket, tmp_path: Path) -> None:
        content = os.urandom(11 * MIB + 3)
        (tmp_path / "a").write_bytes(content)
        blob = bucket.blob("dir/a b.bin")
        blob.metadata, blob.content_language = {"K": "v"}, "en"
        transfer_manager.upload_chunks_concurrently(
            str(tmp_path / "a"), blob, content_type="x/y", chunk_size=5 * MIB, worker_type=transfer_manager.THREAD
        )
        blob.reload()
        assert (blob.size, blob.crc32c, blob.md5_hash) == (len(content), crc32c(content), None)
        assert (blob.content_type, blob.content_language, blob.metadata) == ("x/y", "en", {"k": "v"})
        transfer_manager.download_chunks_concurrently(
            blob, str(tmp_path / "b"), chunk_size=4 * MIB, worker_type=transfer_manager.THREAD
        )
        assert (tmp_path / "b").read_bytes() == content

    @pytest.mark.parametrize("checksum", ["md5", "crc32c", None])
    def test_checksums(self, bucket: Bucket, tmp_path: Path, checksum: str | None) -> None:
        (tmp_path / "a").write_bytes(b"x" * (6 * MIB))
        transfer_manager.upload_chunks_concurrently(
            str(tmp_path / "a"),
            bucket.blob("a"),
            chunk_size=5 * MIB,
            worker_type=transfer_manager.THREAD,
            checksum=checksum,
        )
        assert bucket.blob("a").download_as_bytes() == b"x" * (6 * MIB)


class TestCopies:
    def test_copy(self, client: Client, bucket: Bucket) -> None:
        other = client.create_bucket(new_name())
        source = bucket.blob("a")
        source.metadata = {"k": "v"}
        source.upload_from_string("content", content_type="text/x")
        made = bucket.copy_blob(source, other, "b", if_generation_match=0, if_source_generation_match=source.generation)
        assert (made.metadata, made.content_type, made.md5_hash) == ({"k": "v"}, "text/x", source.md5_hash)
        assert made.generation != source.generation
        source.delete()
        assert other.blob("b").download_as_bytes() == b"content"
        with pytest.raises(exceptions.NotFound, match="No such object"):
            bucket.copy_blob(source, other, "c")

    def test_rewrite_in_one_call(self, bucket: Bucket) -> None:
        source = bucket.blob("a")
        source.upload_from_string("content", content_type="text/x")
        target = bucket.blob("b")
        assert target.rewrite(source) == (None, 7, 7)
        assert (target.content_type, target.download_as_bytes()) == ("text/x", b"content")
        with pytest.raises(exceptions.PreconditionFailed):
            target.rewrite(source, if_generation_match=0)
        with pytest.raises(exceptions.PreconditionFailed):
            target.rewrite(source, if_source_metageneration_match=5)

    def test_rewrite_to_another_place_takes_several_calls(self, client: Client, bucket: Bucket) -> None:
        there = client.create_bucket(new_name(), location="europe-west4")
        content = os.urandom(2 * MIB + 5)
        source, target = bucket.blob("a"), there.blob("a")
        source.upload_from_string(content)
        path = f"{source.path}/rewriteTo{target.path}"
        query = {"maxBytesRewrittenPerCall": str(MIB)}
        done = []
        answer: dict[str, object] = {"done": False}
        while not answer["done"]:
            answer = client._connection.api_request(method="POST", path=path, query_params=query, data={})
            query["rewriteToken"] = str(answer.get("rewriteToken"))
            done.append(answer["totalBytesRewritten"])
            assert target.exists() == answer["done"]
        assert done == [str(MIB), str(2 * MIB), str(len(content))]
        assert target.download_as_bytes() == content

    def test_storage_class(self, bucket: Bucket) -> None:
        blob = bucket.blob("a")
        blob.metadata = {"k": "v"}
        blob.upload_from_string("content", content_type="text/x")
        blob.update_storage_class("COLDLINE")
        blob.reload()
        assert (blob.storage_class, blob.content_type, blob.metadata) == ("COLDLINE", "text/x", {"k": "v"})

    def test_compose(self, bucket: Bucket) -> None:
        parts = [bucket.blob(f"part-{number}") for number in range(32)]
        for number, part in enumerate(parts):
            part.upload_from_string(bytes([65 + number]) * number)
        whole = bucket.blob("whole")
        whole.content_type = "text/x"
        whole.compose(parts, if_generation_match=0)
        content = b"".join(bytes([65 + number]) * number for number in range(32))
        assert (whole.component_count, whole.md5_hash, whole.crc32c) == (32, None, crc32c(content))
        assert whole.download_as_bytes() == content
        twice = bucket.blob("twice")
        twice.compose([whole, parts[1]], if_source_generation_match=[whole.generation, None])
        assert (twice.component_count, twice.size) == (33, len(content) + 1)
        with pytest.raises(exceptions.PreconditionFailed):
            twice.compose([whole], if_source_generation_match=[1])
        with pytest.raises(exceptions.PreconditionFailed):
            twice.compose([whole], if_generation_match=0)
        with pytest.raises(exceptions.BadRequest, match=r"provided \(33\) exceeds the maximum \(32\)"):
            whole.compose([*parts, whole])
        with pytest.raises(exceptions.NotFound, match=r"Object none \(generation: 0\) not found"):
            whole.compose([bucket.blob("none")])
