"""Multipart uploads of the XML API over plain HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import os
from xml.etree import ElementTree as ET

import httpx
import pytest

from tests.emulator.storage_support import Http, crc32c, md5, quoted

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"
PART = 5 * 2**20


def parsed(response: httpx.Response) -> ET.Element:
    return ET.fromstring(response.text)  # noqa: S314


class Multipart:
    """One multipart upload."""

    def __init__(self, http: Http, name: str = "a/b c", headers: dict[str, str] | None = None) -> None:
        self.http, self.path = http, f"/{http.bucket}/{quoted(name)}"
        response = http.client.post(f"{self.path}?uploads", headers=headers)
        assert response.status_code == 200, response.text
        root = parsed(response)
        assert root.findtext(f"{NAMESPACE}Key") == name
        self.id = root.findtext(f"{NAMESPACE}UploadId") or ""

    def put(self, number: int | str, content: bytes, **headers: str) -> httpx.Response:
        query = {"partNumber": str(number), "uploadId": self.id}
        return self.http.client.put(self.path, params=query, content=content, headers=headers)

    def complete(self, *parts: tuple[int, str]) -> httpx.Response:
        entries = [f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag in parts]
        return self.send(f"<CompleteMultipartUpload>{''.join(entries)}</CompleteMultipartUpload>")

    def send(self, body: str | bytes) -> httpx.Response:
        content = body.encode() if isinstance(body, str) else body
        return self.http.client.post(self.path, params={"uploadId": self.id}, content=content)

    def list(self, **params: str) -> ET.Element:
        response = self.http.client.get(self.path, params={"uploadId": self.id} | params)
        assert response.status_code == 200, response.text
        return parsed(response)


def refused(response: httpx.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/xml; charset=UTF-8"
    root = parsed(response)
    assert (root.tag, root.findtext("Code")) == ("Error", code)
    assert root.findtext("Message")
    assert root.findtext("Details")


def etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def test_an_object_in_parts(http: Http) -> None:
    headers = {"content-type": "x/y", "x-goog-meta-Owner": "Ünal".encode(), "cache-control": "no-store"}
    upload = Multipart(http, headers=headers)  # type: ignore[arg-type]
    parts = [os.urandom(PART), os.urandom(PART + 1), b"end"]
    etags = {}
    for number in (3, 1, 2):
        response = upload.put(number, parts[number - 1])
        assert response.status_code == 200
        assert response.headers["x-goog-hash"] == f"crc32c={crc32c(parts[number - 1])},md5={md5(parts[number - 1])}"
        etags[number] = response.headers["etag"]
        assert etags[number] == etag(parts[number - 1])
    assert "items" not in http.client.get(http.objects).json()
    response = upload.complete(*sorted(etags.items()))
    assert response.status_code == 200, response.text
    content = b"".join(parts)
    made = http.client.get(http.object("a/b c")).json()
    assert (made["size"], made["crc32c"], "md5Hash" in made) == (str(len(content)), crc32c(content), False)
    assert (made["contentType"], made["metadata"], made["cacheControl"]) == ("x/y", {"owner": "Ünal"}, "no-store")
    assert http.read("a/b c") == content
    refused(upload.complete((1, etags[1])), 404, "NoSuchUpload")


def test_a_part_sent_again_replaces_the_first(http: Http) -> None:
    upload = Multipart(http)
    upload.put(1, b"old")
    upload.put(1, b"new")
    refused(upload.complete((1, etag(b"old"))), 400, "InvalidPart")
    assert upload.complete((1, etag(b"new").strip('"'))).status_code == 200
    assert http.read("a/b c") == b"new"


def test_parts_that_are_not_named_are_left_out(http: Http) -> None:
    upload = Multipart(http)
    for number in (1, 2):
        upload.put(number, b"x" * number)
    assert upload.complete((2, etag(b"xx"))).status_code == 200
    assert http.read("a/b c") == b"xx"


def test_listing(http: Http) -> None:
    upload = Multipart(http)
    for number in (1, 2, 10_000):
        upload.put(number, b"x" * number)
    root = upload.list(**{"max-parts": "2"})
    parts = root.findall(f"{NAMESPACE}Part")
    assert [(p.findtext(f"{NAMESPACE}PartNumber"), p.findtext(f"{NAMESPACE}Size")) for p in parts] == [
        ("1", "1"),
        ("2", "2"),
    ]
    assert (root.findtext(f"{NAMESPACE}IsTruncated"), root.findtext(f"{NAMESPACE}NextPartNumberMarker")) == (
        "true",
        "2",
    )
    rest = upload.list(**{"part-number-marker": "2"})
    assert [p.findtext(f"{NAMESPACE}ETag") for p in rest.findall(f"{NAMESPACE}Part")] == [etag(b"x" * 10_000)]
    assert rest.findtext(f"{NAMESPACE}IsTruncated") == "false"


def test_abort(http: Http) -> None:
    upload = Multipart(http)
    upload.put(1, b"x")
    for status in (204, 404):
        response = http.client.delete(upload.path, params={"uploadId": upload.id})
        assert response.status_code == status
    refused(upload.put(2, b"x"), 404, "NoSuchUpload")
    refused(http.client.get(upload.path, params={"uploadId": upload.id}), 404, "NoSuchUpload")


def test_completed_by_two_at_once_is_one_object(http: Http) -> None:
    upload = Multipart(http)
    upload.put(1, b"x" * PART)
    body = f"<C><Part><PartNumber>1</PartNumber><ETag>{etag(b'x' * PART)}</ETag></Part></C>"

    async def finish() -> list[int]:
        async with httpx.AsyncClient(base_url=http.client.base_url) as client:
            query = {"uploadId": upload.id}
            answers = await asyncio.gather(*[client.post(upload.path, params=query, content=body) for _ in range(4)])
            return sorted(answer.status_code for answer in answers)

    assert asyncio.run(finish()) == [200, 404, 404, 404]


class TestRefusals:
    def test_wrong_checksums(self, http: Http) -> None:
        upload = Multipart(http)
        refused(upload.put(1, b"abc", **{"x-goog-hash": f"crc32c={crc32c(b'x')}"}), 400, "BadDigest")
        refused(upload.put(1, b"abc", **{"content-md5": md5(b"x")}), 400, "BadDigest")
        refused(upload.put(1, b"abc", **{"content-md5": "x"}), 400, "InvalidDigest")
        assert not upload.list().findall(f"{NAMESPACE}Part")

    @pytest.mark.parametrize("number", ["0", "10001", "-1", "x", "", "1.5"])
    def test_part_numbers(self, http: Http, number: str) -> None:
        refused(Multipart(http).put(number, b"x"), 400, "InvalidArgument")

    def test_small_parts(self, http: Http) -> None:
        upload = Multipart(http)
        for number in (1, 2):
            upload.put(number, b"x")
        refused(upload.complete((1, etag(b"x")), (2, etag(b"x"))), 400, "EntityTooSmall")
        assert len(upload.list().findall(f"{NAMESPACE}Part")) == 2

    def test_order(self, http: Http) -> None:
        upload = Multipart(http)
        upload.put(1, b"x")
        refused(upload.complete((2, etag(b"x")), (1, etag(b"x"))), 400, "InvalidPartOrder")
        refused(upload.complete((1, etag(b"x")), (1, etag(b"x"))), 400, "InvalidPartOrder")
        refused(upload.complete((2, etag(b"x"))), 400, "InvalidPart")
        refused(upload.complete(), 400, "InvalidPartOrder")

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "x",
            "<a>",
            "<a><Part/></a>",
            "<a><Part><PartNumber>x</PartNumber><ETag>e</ETag></Part></a>",
            b"\xff\xfe<\x00a\x00/\x00>\x00",
            '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
            '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
            "<a>" * 50_000,
            "<a>\0</a>",
            f"<a><Part><PartNumber>{'9' * 5000}</PartNumber><ETag>e</ETag></Part></a>",
        ],
    )
    def test_documents(self, http: Http, body: str | bytes) -> None:
        refused(Multipart(http).send(body), 400, "MalformedXML")

    def test_places(self, http: Http) -> None:
        refused(http.client.post("/not-there-at-all/a?uploads"), 404, "NoSuchBucket")
        refused(http.client.post("/BAD/a?uploads"), 400, "InvalidBucketName")
        refused(http.client.post(f"/{http.bucket}/a%0Ab?uploads"), 400, "InvalidArgument")
        upload = Multipart(http)
        other = f"/{http.bucket}/other"
        refused(http.client.put(other, params={"uploadId": upload.id, "partNumber": "1"}), 404, "NoSuchUpload")

    def test_metadata(self, http: Http) -> None:
        for headers in ({"x-goog-storage-class": "GOLD"}, {"x-goog-custom-time": "today"}):
            refused(http.client.post(f"/{http.bucket}/a?uploads", headers=headers), 400, "InvalidArgument")

    def test_names_that_xml_cannot_hold(self, http: Http) -> None:
        response = http.client.post(f"/{http.bucket}/a%01b?uploads")
        assert response.status_code == 200
        assert parsed(response).findtext(f"{NAMESPACE}Key") == "a\ufffdb"
