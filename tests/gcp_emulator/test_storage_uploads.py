"""The upload protocols over plain HTTP: what clients do when all goes well, and when it does not."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.gcp_emulator.storage_support import QUANTUM, Http, crc32c, error_of, http_bucket, md5


@pytest.fixture
def http(emulator: str) -> Iterator[Http]:
    with http_bucket(emulator) as http:
        yield http


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


class TestResumable:
    """https://cloud.google.com/storage/docs/performing-resumable-uploads"""

    content = os.urandom(2 * QUANTUM + 100)
    size = len(content)

    def test_chunk_by_chunk(self, http: Http) -> None:
        headers = {"x-upload-content-type": "text/x", "x-upload-content-length": str(self.size)}
        session = http.start("a", headers, ifGenerationMatch=0)
        assert "ifGenerationMatch=0" in session
        for first in (0, QUANTUM):
            span = f"{first}-{first + QUANTUM - 1}/{self.size}"
            response = http.chunk(session, self.content[first : first + QUANTUM], span)
            assert (response.status_code, response.headers["range"]) == (308, f"bytes=0-{first + QUANTUM - 1}")
            assert http.client.get(http.object("a")).status_code == 404
        made = http.chunk(session, self.content[-100:], f"{2 * QUANTUM}-{self.size - 1}/{self.size}")
        assert made.status_code == 200
        assert (made.json()["contentType"], made.json()["md5Hash"]) == ("text/x", md5(self.content))
        assert http.read("a") == self.content

    def test_questions(self, http: Http) -> None:
        session = http.start("a")
        fresh = http.chunk(session, b"", "*/*")
        assert (fresh.status_code, "range" in fresh.headers) == (308, False)
        http.chunk(session, self.content[:QUANTUM], f"0-{QUANTUM - 1}/*")
        for span in ("*/*", f"*/{self.size}", f"*/{QUANTUM - 1}"):
            response = http.chunk(session, b"", span)
            assert (response.status_code, response.headers["range"]) == (308, f"bytes=0-{QUANTUM - 1}")
        made = http.chunk(session, b"", f"*/{QUANTUM}")
        assert made.status_code == 200
        for content, span in ((b"", "*/*"), (b"", "*/7"), (self.content[:QUANTUM], f"0-{QUANTUM - 1}/*")):
            assert http.chunk(session, content, span).json() == made.json()
        assert http.read("a") == self.content[:QUANTUM]

    @pytest.mark.parametrize("span", [None, "0-*/*", "*/0"])
    def test_nothing_at_all(self, http: Http, span: str | None) -> None:
        headers = {"content-range": f"bytes {span}"} if span else {}
        response = http.client.put(http.start("a"), content=b"", headers=headers)
        assert (response.status_code, response.json()["size"]) == (200, "0")

    def test_all_at_once(self, http: Http) -> None:
        assert http.client.put(http.start("a"), content=self.content).json()["size"] == str(self.size)
        assert http.chunk(http.start("b"), self.content, "0-*/*").json()["size"] == str(self.size)
        assert http.client.post(http.start("c"), content=self.content).json()["size"] == str(self.size)
        assert http.read("a") == http.read("b") == http.read("c") == self.content

    def test_a_chunk_sent_again(self, http: Http) -> None:
        session = http.start("a")
        for _ in range(2):
            response = http.chunk(session, self.content[:QUANTUM], f"0-{QUANTUM - 1}/*")
            assert (response.status_code, response.headers["range"]) == (308, f"bytes=0-{QUANTUM - 1}")
        made = http.chunk(session, self.content[100:], f"100-{self.size - 1}/{self.size}")
        assert made.status_code == 200
        assert http.read("a") == self.content

    def test_only_whole_quanta_are_kept(self, http: Http) -> None:
        session = http.start("a")
        response = http.chunk(session, self.content[: QUANTUM + 5], f"0-{QUANTUM + 4}/*")
        assert (response.status_code, response.headers["range"]) == (308, f"bytes=0-{QUANTUM - 1}")
        response = http.chunk(session, self.content[QUANTUM:], f"{QUANTUM}-{self.size - 1}/{self.size}")
        assert response.status_code == 200
        assert http.read("a") == self.content

    def test_a_gap(self, http: Http) -> None:
        response = http.chunk(http.start("a"), b"abcd", "4-7/8")
        assert (response.status_code, response.headers["content-type"]) == (503, "text/plain; charset=utf-8")
        assert response.text == (
            "Invalid request.  According to the Content-Range header, the upload offset is 4 byte(s), "
            "which exceeds already uploaded size of 0 byte(s)."
        )

    @pytest.mark.parametrize(
        ("content", "span"),
        [
            (b"abc", "0-2/*"),  # less than a quantum, and not the end
            (b"abc", "0-3/4"),  # fewer bytes than announced
            (b"abcde", "0-3/4"),  # more
            (b"abc", "0-*/4"),
            (b"abc", "2-1/4"),
            (b"abc", "0-4/4"),
            (b"abc", "0-2"),
            (b"abc", "a-b/c"),
            (b"abc", "-1-2/3"),
            (b"abc", "0-2/" + "9" * 40),
            (b"abc", "*"),
        ],
    )
    def test_refused_chunks_change_nothing(self, http: Http, content: bytes, span: str) -> None:
        session = http.start("a")
        error_of(http.chunk(session, content, span), 400, "invalid")
        assert "range" not in http.chunk(session, b"", "*/*").headers
        assert http.chunk(session, b"abcd", "0-3/4").status_code == 200
        assert http.read("a") == b"abcd"

    def test_the_declared_length_binds(self, http: Http) -> None:
        session = http.start("a", {"x-upload-content-length": "4"})
        assert "declared to have 4" in error_of(http.chunk(session, b"abc", "0-2/3"), 400, "invalid")
        error_of(http.client.put(session, content=b"abc"), 400, "invalid")
        assert http.client.put(session, content=b"abcd").status_code == 200

    def test_less_than_what_is_kept_is_no_end(self, http: Http) -> None:
        session = http.start("a")
        http.chunk(session, self.content[:QUANTUM], f"0-{QUANTUM - 1}/*")
        error_of(http.chunk(session, b"abc", "0-2/3"), 400, "invalid")
        assert http.chunk(session, b"", f"*/{QUANTUM}").json()["md5Hash"] == md5(self.content[:QUANTUM])

    def test_preconditions_count_at_the_end(self, http: Http) -> None:
        session = http.start("a", ifGenerationMatch=0)
        http.put("a", b"earlier")
        error_of(http.chunk(session, b"late", "0-3/4"), 412, "conditionNotMet")
        assert http.read("a") == b"earlier"

    def test_cancel(self, http: Http) -> None:
        session = http.start("a")
        http.chunk(session, self.content[:QUANTUM], f"0-{QUANTUM - 1}/*")
        assert http.client.delete(session).status_code == 499
        error_of(http.chunk(session, b"", "*/*"), 404, "notFound")
        error_of(http.client.delete(session), 404, "notFound")

    def test_for_clients_that_cannot_see_a_308(self, http: Http) -> None:
        response = http.chunk(
            http.start("a"), self.content[:QUANTUM], f"0-{QUANTUM - 1}/*", **{"x-guploader-no-308": "yes"}
        )
        assert (response.status_code, response.headers["x-http-status-code-override"]) == (200, "308")
        assert response.headers["range"] == f"bytes=0-{QUANTUM - 1}"

    def test_a_bucket_that_goes_away(self, http: Http) -> None:
        session = http.start("a")
        http.client.delete(f"/storage/v1/b/{http.bucket}")
        message = error_of(http.chunk(session, b"abc", "0-2/3"), 404, "notFound")
        assert message == "The specified bucket does not exist."

    def test_a_broken_connection(self, http: Http) -> None:
        session = http.start("a")
        with _sending(session, self.content, QUANTUM + 5000):
            pass
        response = _wait_for_range(http, session)
        assert response.headers["range"] == f"bytes=0-{QUANTUM - 1}"
        assert http.client.get(http.object("a")).status_code == 404
        rest = http.chunk(session, self.content[QUANTUM:], f"{QUANTUM}-{self.size - 1}/{self.size}")
        assert rest.status_code == 200
        assert http.read("a") == self.content

    def test_a_connection_that_hangs_is_overtaken(self, http: Http) -> None:
        session = http.start("a")
        with _sending(session, b"\0" * self.size, QUANTUM + 5000) as hanging:
            _wait_for_range(http, session)
            made = http.chunk(session, self.content[QUANTUM:], f"{QUANTUM}-{self.size - 1}/{self.size}")
            assert made.status_code == 200
            hanging.sendall(b"\0" * (self.size - QUANTUM - 5000))
            assert hanging.recv(100).startswith(b"HTTP/1.1 503")
        assert http.read("a") == b"\0" * QUANTUM + self.content[QUANTUM:]

    def test_finished_by_two_at_once_is_one_object(self, http: Http) -> None:
        session = http.start("a")
        http.chunk(session, self.content[:QUANTUM], f"0-{QUANTUM - 1}/*")

        async def finish() -> list[httpx.Response]:
            async with httpx.AsyncClient() as client:
                span = {"content-range": f"bytes */{QUANTUM}"}
                return await asyncio.gather(*[client.put(session, headers=span) for _ in range(6)])

        answers = asyncio.run(finish())
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.json()["generation"] for answer in answers}) == 1


class TestBrokenSingleRequests:
    def test_leave_nothing(self, http: Http) -> None:
        url = f"{str(http.client.base_url).rstrip('/')}{http.uploads}?uploadType=media&name=a"
        with _sending(url, b"x" * 100_000, 50_000, method="POST"):
            pass
        time.sleep(0.1)
        assert http.client.get(http.objects).json() == {"kind": "storage#objects"}


class TestRefusals:
    def test_no_upload_address(self, http: Http) -> None:
        response = http.client.post(http.objects, params={"name": "a"}, json={})
        assert "URL path beginning with /upload/" in error_of(response, 400, "wrongUrlForUpload")

    @pytest.mark.parametrize("kind", ["", "both", "é"])
    def test_upload_type(self, http: Http, kind: str) -> None:
        error_of(http.upload("a", uploadType=kind), 400, "invalid")

    def test_names_that_disagree(self, http: Http) -> None:
        query = {"uploadType": "resumable", "name": "a"}
        response = http.client.post(http.uploads, params=query, json={"name": "b"})
        assert "Value 'b' in content does not agree with value 'a'" in error_of(response, 400, "invalid")

    @pytest.mark.parametrize("value", ["gzip\r\nx: y", "\0", "a\n"])
    def test_values_that_would_break_out_of_a_header(self, http: Http, value: str) -> None:
        error_of(http.upload("a", contentEncoding=value), 400, "invalid")

    def test_no_name(self, http: Http) -> None:
        response = http.client.post(http.uploads, params={"uploadType": "media"}, content=b"x")
        assert error_of(response, 400, "required") == "Required parameter: name"

    def test_an_unknown_session(self, http: Http) -> None:
        for method in ("PUT", "DELETE", "POST"):
            error_of(http.client.request(method, http.uploads, params={"upload_id": "x"}), 404, "notFound")
        error_of(http.client.put(http.uploads), 404, "notFound")


class _sending:  # noqa: N801
    """A raw connection that has sent only the first bytes of a request's body; closed abruptly at the end."""

    def __init__(self, url: str, content: bytes, sent: int, method: str = "PUT") -> None:
        parts = urlsplit(url)
        self.connection = socket.create_connection((parts.hostname or "", parts.port or 80))
        lines = [f"{method} {parts.path}?{parts.query} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"Content-Length: {len(content)}"]
        if method == "PUT":
            lines += [f"Content-Range: bytes 0-{len(content) - 1}/{len(content)}"]
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode() + content[:sent])

    def __enter__(self) -> socket.socket:
        return self.connection

    def __exit__(self, *_: object) -> None:
        self.connection.close()


def _wait_for_range(http: Http, session: str) -> httpx.Response:
    """Ask how far a session is until something has arrived."""
    deadline = time.monotonic() + 10
    while "range" not in (response := http.chunk(session, b"", "*/*")).headers:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return response
