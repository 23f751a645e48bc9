"""The upload protocols over plain HTTP: what clients do when all goes well, and when it does not."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest

from tests.emulator.storage_support import QUANTUM, Http, error_of, md5
from tests.support.waiting import wait_until


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

    def look() -> httpx.Response | None:
        response = http.chunk(session, b"", "*/*")
        return response if "range" in response.headers else None

    return wait_until(look, pause=0.01)
