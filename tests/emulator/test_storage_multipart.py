"""Uploads in one request with metadata, and the checksums of all uploads."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.emulator.storage_support import QUANTUM, Http, crc32c, error_of, md5


def multipart(http: Http, metadata: Any, content: bytes, newline: bytes = b"\r\n", end: bytes = b"") -> httpx.Response:
    """A multipart upload whose lines end as the caller likes."""
    lines = [
        b"--x y",
        b"Content-Type: application/json; charset=UTF-8",
        b"",
        metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode(),
        b"--x y",
        b"content-type: text/plain",
        b"",
        content,
        b"--x y--" + end,
    ]
    headers = {"content-type": 'multipart/related; boundary="x y"'}
    body = newline.join(lines)
    return http.client.post(http.uploads, params={"uploadType": "multipart"}, content=body, headers=headers)


class TestMultipart:
    @pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
    @pytest.mark.parametrize("content", [b"", b"x", b"\r\n--x z\r\n", b"a\r\n\r\n", b"ab\r", os.urandom(3 * QUANTUM)])
    def test_content_is_kept_to_the_byte(self, http: Http, newline: bytes, content: bytes) -> None:
        response = multipart(http, {"name": "a"}, content, newline)
        assert response.status_code == 200, response.text
        assert response.json()["contentType"] == "text/plain"
        assert http.read("a") == content

    def test_blocks_of_any_size(self, http: Http) -> None:
        body = b'preamble\r\n--b\r\n\r\n{"name":"a"}\r\n--b\r\n\r\n0123456789\r\n--b--\r\nepilogue'

        async def upload(url: str) -> int:
            async def blocks() -> AsyncIterator[bytes]:
                for byte in body:
                    yield bytes([byte])
                    await asyncio.sleep(0)

            async with httpx.AsyncClient() as client:
                headers = {"content-type": "multipart/related; boundary=b"}
                made = await client.post(url, content=blocks(), headers=headers)
                return made.status_code

        url = f"{str(http.client.base_url).rstrip('/')}{http.uploads}?uploadType=multipart"
        assert asyncio.run(upload(url)) == 200
        assert http.read("a") == b"0123456789"

    def test_metadata_wins_over_the_part(self, http: Http) -> None:
        made = multipart(http, {"name": "a", "contentType": "x/y", "metadata": {"k": "v"}}, b"x", end=b"\r\n").json()
        assert (made["contentType"], made["metadata"]) == ("x/y", {"k": "v"})

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"--b",
            b"--b\r\n",
            b"--b\r\n\r\n{}",
            b'--b\r\n\r\n{"name":"a"}\r\n--b\r\n\r\nno end',
            b'--b\r\n\r\n{"name":"a"}\r\n--b--',
            b"--b\r\n\r\nnot json\r\n--b\r\n\r\nx\r\n--b--",
            b'--b\r\n\r\n["name"]\r\n--b\r\n\r\nx\r\n--b--',
            b"--b\r\n\r\n{}\r\n--b\r\n\r\nx\r\n--b--",
            b'--b\r\n\r\n{"name":""}\r\n--b\r\n\r\nx\r\n--b--',
            b'--b\r\n\r\n{"name":"\\ud800"}\r\n--b\r\n\r\nx\r\n--b--',
            b'--b\r\n\r\n{"name":"a","metadata":{"k":1}}\r\n--b\r\n\r\nx\r\n--b--',
            b'--b\r\n\r\n{"name":"a","contentType":"a\\r\\nevil: 1"}\r\n--b\r\n\r\nx\r\n--b--',
            b'--b\r\n\r\n{"name":"a","storageClass":"GOLD"}\r\n--b\r\n\r\nx\r\n--b--',
            b'--b\r\n\r\n{"name":"a","customTime":"today"}\r\n--b\r\n\r\nx\r\n--b--',
        ],
    )
    def test_malformed(self, http: Http, body: bytes) -> None:
        headers = {"content-type": "multipart/related; boundary=b"}
        response = http.client.post(http.uploads, params={"uploadType": "multipart"}, content=body, headers=headers)
        assert response.status_code == 400, response.text
        assert "items" not in http.client.get(http.objects).json()

    @pytest.mark.parametrize(
        "content_type", ["", "multipart/related", "text/plain; boundary=b", "multipart/; boundary="]
    )
    def test_no_boundary(self, http: Http, content_type: str) -> None:
        headers = {"content-type": content_type}
        response = http.client.post(http.uploads, params={"uploadType": "multipart"}, content=b"x", headers=headers)
        assert "boundary" in error_of(response, 400, "invalid")

    def test_too_much_metadata(self, http: Http) -> None:
        response = multipart(http, {"name": "a", "metadata": {"k": "x" * 5 * 2**20}}, b"x")
        error_of(response, 413, "uploadTooLarge")


class TestChecksums:
    """https://cloud.google.com/storage/docs/data-validation"""

    def test_right_ones(self, http: Http) -> None:
        both = {"x-goog-hash": f"crc32c={crc32c(b'abc')},md5={md5(b'abc')}", "content-md5": md5(b"abc")}
        made = http.upload("a", b"abc", both).json()
        assert (made["md5Hash"], made["crc32c"], made["size"]) == (md5(b"abc"), crc32c(b"abc"), "3")

    @pytest.mark.parametrize(
        "headers",
        [{"x-goog-hash": f"crc32c={crc32c(b'x')}"}, {"x-goog-hash": f"md5={md5(b'x')}"}, {"content-md5": md5(b"x")}],
    )
    def test_wrong_ones_leave_nothing(self, http: Http, headers: dict[str, str]) -> None:
        message = error_of(http.upload("a", b"abc", headers), 400, "invalid")
        assert "doesn't match calculated" in message
        assert http.client.get(http.object("a")).status_code == 404

    @pytest.mark.parametrize("field", ["md5Hash", "crc32c"])
    def test_in_metadata(self, http: Http, field: str) -> None:
        sums = {"md5Hash": md5(b"abc"), "crc32c": crc32c(b"abc")}
        assert multipart(http, {"name": "a", field: sums[field]}, b"abc").status_code == 200
        error_of(multipart(http, {"name": "b", field: sums[field]}, b"abd"), 400, "invalid")

    @pytest.mark.parametrize("value", ["crc32c=x", "crc32c=", "md5=AAAA", "crc32c=é", "crc32c=" + "A" * 10_000])
    def test_no_checksums_at_all(self, http: Http, value: str) -> None:
        response = http.upload("a", b"abc", {"x-goog-hash": value.encode()})  # type: ignore[dict-item]
        error_of(response, 400, "invalid")

    def test_of_a_session(self, http: Http) -> None:
        session = http.start("a", {"x-goog-hash": f"md5={md5(b'abc')}"})
        error_of(http.chunk(session, b"abd", "0-2/3"), 400, "invalid")
        error_of(http.chunk(session, b"abc", "0-2/3"), 404, "notFound")
        session = http.start("a")
        headers = {"x-goog-hash": f"crc32c={crc32c(b'abd')}"}
        error_of(http.chunk(session, b"abc", "0-2/3", **headers), 400, "invalid")
        assert http.client.get(http.object("a")).status_code == 404
