"""Requests generated from Google's description of the API, with values nobody should send: none may get a 500."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.emulator.storage_support import Http, discovery, http_bucket

MANY = settings(
    max_examples=250,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

METHODS = [
    (kind, name)
    for kind, names in {
        "buckets": ("get", "insert", "list", "patch", "delete"),
        "objects": ("get", "insert", "list", "patch", "delete", "copy", "rewrite", "compose"),
    }.items()
    for name in names
]
BODIES = {"insert": "Object", "patch": "Object", "copy": "Object", "rewrite": "Object", "compose": "ComposeRequest"}

odd_text = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "0", "-1", "1", str(2**63), "9" * 400, "true", "null", "../..", "%2e%2e%2f", "\0", "a\r\nb: c"]
    ),
    st.sampled_from(["\u202e", "é" * 600, "NaN", "1e9", "*", "*/*", "bytes=0-", "[]", "{}", "a" * 2000, "there"]),
)
odd_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | odd_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_text, inner, max_size=3),
    max_leaves=8,
)
header_names = ["range", "content-range", "x-goog-hash", "content-md5", "content-type", "x-upload-content-length"]
header_values = odd_text.map(lambda text: re.sub(r"[\x00-\x20\x7f]", "", text).encode()[:200])
headers = st.dictionaries(st.sampled_from(header_names), header_values, max_size=2)


@pytest.fixture(scope="module")
def http(emulator: str) -> Iterator[Http]:
    with http_bucket(emulator) as http:
        http.put("there")
        yield http


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Method, path, query and body of a call, after the discovery document."""
    kind, name = draw(st.sampled_from(METHODS))
    method = discovery()["resources"][kind]["methods"][name]
    path, query = method["path"], {}
    for parameter, described in method["parameters"].items():
        if described["location"] == "path":
            value = draw(st.sampled_from(["BUCKET", "there"]) | odd_text) or "x"
            path = path.replace(f"{{{parameter}}}", quote(value, safe="") if value != "BUCKET" else value)
        elif draw(st.integers(0, 4)) == 0:
            query[parameter] = draw(odd_text)
    schema = discovery()["schemas"]["Bucket" if kind == "buckets" else BODIES.get(name, "Object")]
    fields = st.dictionaries(st.sampled_from(sorted(schema["properties"])), odd_json, max_size=4)
    query |= draw(st.sampled_from([{}, {"alt": "media"}, {"fields": "a("}, {"project": "p"}, {"uploadType": "media"}]))
    prefix = draw(st.sampled_from(["/storage/v1/", "/upload/storage/v1/", "/download/storage/v1/"]))
    return {"method": method["httpMethod"], "path": prefix + path, "query": query, "json": draw(fields | odd_json)}


def send(http: Http, method: str, url: str, **options: Any) -> httpx.Response:
    response = http.client.request(method, url.replace("BUCKET", http.bucket), **options)
    if response.status_code == 503:  # an upload with a gap, see there
        assert response.headers["content-type"].startswith("text/plain")
    else:
        assert response.status_code < 500, (method, url, options, response.text)
    return response


@MANY
@given(request=requests(), extra=headers)
def test_calls(http: Http, request: dict[str, Any], extra: dict[str, bytes]) -> None:
    if request["method"] == "DELETE" and request["path"].endswith("/b/BUCKET"):
        return
    content = json.dumps(request["json"]).encode()
    query = urlencode(request["query"], errors="surrogatepass")
    send(http, request["method"], f"{request['path']}?{query}", content=content, headers=extra)


@MANY
@given(upload_type=st.sampled_from(["media", "multipart", "resumable"]), body=st.binary(max_size=60), extra=headers)
def test_uploads(http: Http, upload_type: str, body: bytes, extra: dict[str, bytes]) -> None:
    query = {"uploadType": upload_type, "name": "x"}
    response = send(http, "POST", http.uploads, params=query, content=body, headers=extra)
    if response.headers.get("location"):
        session = response.headers["location"]
        send(http, "PUT", session, content=body, headers=extra)
        send(http, "DELETE", session)


@MANY
@given(
    method=st.sampled_from(["POST", "PUT", "GET", "DELETE"]),
    query=st.dictionaries(st.sampled_from(["uploads", "uploadId", "partNumber", "max-parts"]), odd_text, max_size=3),
    body=st.binary(max_size=60) | odd_text.map(lambda text: text.encode(errors="replace")),
    extra=headers,
)
def test_xml(http: Http, method: str, query: dict[str, str], body: bytes, extra: dict[str, bytes]) -> None:
    send(http, method, f"/BUCKET/x?{urlencode(query)}", content=body, headers=extra)


@MANY
@given(body=st.lists(st.binary(max_size=20) | st.sampled_from(
    [b"--b\r\n", b"--b--", b"\r\n\r\n", b"Content-Type: application/http\r\n", b"GET /storage/v1/b HTTP/1.1\r\n", b"{}",
     b"DELETE /storage/v1/b/x/o/y\r\n", b"POST //storage/v1/[", b"Content-Length: -1\r\n", b"GET /storage/v1/\xff\r\n"]
), max_size=9).map(b"".join))  # fmt: skip
def test_batches(http: Http, body: bytes) -> None:
    head = {"content-type": "multipart/mixed; boundary=b"}
    send(http, "POST", "/batch/storage/v1", content=body, headers=head)


@pytest.mark.parametrize("body_type", ["", "multipart/mixed", "text/plain", "multipart/mixed; boundary=é"])
def test_batches_that_are_none(http: Http, body_type: str) -> None:
    response = http.client.post("/batch/storage/v1", content=b"x", headers={b"content-type": body_type.encode()})
    assert response.status_code == 400


def test_a_huge_body_is_refused(http: Http) -> None:
    def blocks() -> Iterator[bytes]:
        for _ in range(64):
            yield b" " * 2**20

    for method, url in (
        ("PATCH", http.object("there")),
        ("POST", "/storage/v1/b?project=p"),
        ("POST", "/batch/storage/v1"),
    ):
        response = http.client.request(method, url, content=blocks())
        assert response.status_code == 413
