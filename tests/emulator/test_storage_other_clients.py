"""gcloud-aio-storage and gcsfs, unmodified."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from fsspec.asyn import sync  # type: ignore[import-untyped]
from gcloud.aio.storage import Storage
from gcloud.aio.storage.storage import UploadType
from gcsfs.core import GCSFileSystem  # type: ignore[import-untyped]

from tests.emulator.storage_support import http_bucket, md5, new_name

CONTENT = os.urandom(700_000)


class TestGcloudAio:
    @pytest.fixture
    async def storage(self, emulator: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
        async with aiohttp.ClientSession() as session:
            yield Storage(session=session)

    @pytest.fixture
    def bucket(self, emulator: str) -> str:
        with http_bucket(emulator) as http:
            return http.bucket

    @pytest.mark.parametrize("kind", [UploadType.SIMPLE, UploadType.RESUMABLE])
    @pytest.mark.parametrize("metadata", [None, {"cacheControl": "no-store", "metadata": {"k": "ü"}}])
    async def test_there_and_back(self, storage: Any, bucket: str, kind: UploadType, metadata: Any) -> None:
        made = await storage.upload(
            bucket,
            "dir/é b",
            CONTENT,
            content_type="x/y",
            force_resumable_upload=kind is UploadType.RESUMABLE,
            metadata=metadata,
        )
        assert (made["size"], made["md5Hash"], made["contentType"]) == (str(len(CONTENT)), md5(CONTENT), "x/y")
        assert made.get("metadata") == (metadata or {}).get("metadata")
        assert await storage.download(bucket, "dir/é b") == CONTENT

    async def test_the_rest(self, storage: Any, bucket: str) -> None:
        await storage.upload(bucket, "a", io.BytesIO(b"abc"))
        await storage.copy(bucket, "a", bucket, new_name="b")
        await storage.compose(bucket, "whole", ["a", "b"], content_type="x/y")
        assert await storage.download(bucket, "whole") == b"abcabc"
        assert await storage.download(bucket, "whole", headers={"Range": "bytes=1-2"}) == b"bc"
        changed = await storage.patch_metadata(bucket, "a", {"metadata": {"k": "v"}})
        assert changed["metageneration"] == "2"
        listed = await storage.list_objects(bucket, params={"prefix": ""})
        assert [item["name"] for item in listed["items"]] == ["a", "b", "whole"]
        await storage.delete(bucket, "a")
        with pytest.raises(aiohttp.ClientResponseError) as missing:
            await storage.download_metadata(bucket, "a")
        assert missing.value.status == 404
        assert (await storage.get_bucket_metadata(bucket))["name"] == bucket
        with pytest.raises(aiohttp.ClientResponseError) as refused:
            await storage.upload(bucket, "b", b"x", parameters={"ifGenerationMatch": "0"})
        assert refused.value.status == 412


class TestGcsfs:
    @pytest.fixture
    def files(self, emulator: str) -> Iterator[GCSFileSystem]:
        files = GCSFileSystem(endpoint_url=emulator, token="anon", project="my-project", skip_instance_cache=True)
        yield files
        sync(files.loop, files.session.close)

    def test_a_file_system(self, files: GCSFileSystem) -> None:
        bucket = new_name()
        files.mkdir(bucket)
        files.pipe(f"{bucket}/dir/small", b"abc")
        with files.open(f"{bucket}/dir/é large", "wb", block_size=2**18) as out:
            out.write(CONTENT)
        assert files.cat(f"{bucket}/dir/small") == b"abc"
        assert files.cat_file(f"{bucket}/dir/small", start=1, end=2) == b"b"
        with files.open(f"{bucket}/dir/é large", "rb") as source:
            source.seek(1000)
            assert source.read(10) == CONTENT[1000:1010]
        assert files.ls(bucket) == [f"{bucket}/dir"]
        assert sorted(files.find(bucket)) == [f"{bucket}/dir/small", f"{bucket}/dir/é large"]
        files.cp_file(f"{bucket}/dir/small", f"{bucket}/copy")
        assert files.info(f"{bucket}/copy")["size"] == 3
        files.rm(bucket, recursive=True)
        assert not files.exists(f"{bucket}/dir/small")
