"""Objects and buckets over plain HTTP: conditions, versions, names, shapes."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from tests.emulator.storage_support import (
    Http,
    check_schema,
    compose,
    copy,
    error_of,
    http_bucket,
    md5,
    resumable,
    rewrite,
)


class TestGenerations:
    def test_grow_even_across_deletion(self, http: Http) -> None:
        seen = [int(http.put("a")["generation"]) for _ in range(20)]
        http.client.delete(http.object("a"))
        seen.append(int(http.put("a")["generation"]))
        assert seen == sorted(set(seen))

    def test_without_versioning_nothing_is_kept(self, http: Http) -> None:
        first = http.put("a", b"1")["generation"]
        http.put("a", b"2")
        error_of(http.client.get(http.object("a"), params={"generation": first}), 404, "notFound")
        assert len(http.client.get(http.objects, params={"versions": "true"}).json()["items"]) == 1


class TestVersioning:
    """https://cloud.google.com/storage/docs/object-versioning"""

    @pytest.fixture
    def http(self, emulator: str) -> Iterator[Http]:
        with http_bucket(emulator, versioning={"enabled": True}) as http:
            yield http

    def test_deletion_keeps_and_deletion_of_a_generation_does_not(self, http: Http) -> None:
        first, second = (http.put("a", content)["generation"] for content in (b"1", b"2"))
        assert http.client.delete(http.object("a")).status_code == 204
        error_of(http.client.get(http.object("a")), 404, "notFound")
        assert [http.read("a", generation=g) for g in (first, second)] == [b"1", b"2"]
        assert http.client.delete(http.object("a"), params={"generation": second}).status_code == 204
        error_of(http.client.get(http.object("a"), params={"generation": second}), 404, "notFound")
        [left] = http.client.get(http.objects, params={"versions": "true"}).json()["items"]
        assert (left["generation"], "timeDeleted" in left) == (first, True)
        error_of(http.client.delete(f"/storage/v1/b/{http.bucket}"), 409, "conflict")

    def test_a_noncurrent_version_can_be_changed(self, http: Http) -> None:
        first = http.put("a", b"1")["generation"]
        http.put("a", b"2")
        address = {"generation": first}
        changed = http.client.patch(http.object("a"), params=address, json={"metadata": {"k": "v"}}).json()
        assert (changed["generation"], changed["metageneration"]) == (first, "2")
        assert http.client.get(http.object("a"), params=address).json() == changed
        assert "metadata" not in http.client.get(http.object("a")).json()

    def test_creation_is_about_the_current_version(self, http: Http) -> None:
        http.put("a", b"1")
        http.client.delete(http.object("a"))
        assert http.upload("a", ifGenerationMatch=0).status_code == 200

    def test_listing(self, http: Http) -> None:
        for name in ("b", "a", "b", "a!", "a", "a\t", "a"):
            http.put(name)
        found: list[tuple[str, str]] = []
        query = {"versions": "true", "maxResults": "2"}
        while True:
            page = http.client.get(http.objects, params=query).json()
            found += [(item["name"], item["generation"]) for item in page["items"]]
            if "nextPageToken" not in page:
                break
            query["pageToken"] = page["nextPageToken"]
        assert [name for name, _ in found] == ["a", "a", "a", "a\t", "a!", "b", "b"]
        assert found == sorted(found)


class TestRanges:
    @pytest.mark.parametrize(
        ("header", "start", "stop"),
        [("0-0", 0, 1), ("2-", 2, 10), ("2-5", 2, 6), ("2-99", 2, 10), ("-3", 7, 10), ("-99", 0, 10)],
    )
    def test_parts(self, http: Http, header: str, start: int, stop: int) -> None:
        http.put("a", b"0123456789")
        response = http.client.get(http.object("a"), params={"alt": "media"}, headers={"range": f"bytes={header}"})
        assert (response.status_code, response.content) == (206, b"0123456789"[start:stop])
        assert response.headers["content-range"] == f"bytes {start}-{stop - 1}/10"

    @pytest.mark.parametrize("header", ["10-", "10-11", "-0", "99999999999999999-"])
    def test_beyond(self, http: Http, header: str) -> None:
        http.put("a", b"0123456789")
        response = http.client.get(http.object("a"), params={"alt": "media"}, headers={"range": f"bytes={header}"})
        error_of(response, 416, "requestedRangeNotSatisfiable")
        assert response.headers["content-range"] == "bytes */10"

    @pytest.mark.parametrize("header", ["bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "lines=0-1", "bytes=0-1,3-4"])
    def test_that_say_nothing_are_ignored(self, http: Http, header: str) -> None:
        http.put("a", b"0123456789")
        response = http.client.get(http.object("a"), params={"alt": "media"}, headers={"range": header})
        assert (response.status_code, response.content) == (200, b"0123456789")


class TestDownloads:
    def test_headers(self, http: Http) -> None:
        made = http.put("a", b"abc")
        body = {"cacheControl": "no-cache", "contentDisposition": 'inline; filename="é"', "contentLanguage": "de"}
        http.client.patch(http.object("a"), json=body)
        response = http.client.get(http.object("a"), params={"alt": "media"})
        headers = response.headers
        assert headers["x-goog-generation"] == made["generation"]
        assert headers["x-goog-metageneration"] == "2"
        assert headers["x-goog-hash"] == f"crc32c={made['crc32c']},md5={md5(b'abc')}"
        assert headers["x-goog-stored-content-length"] == headers["content-length"] == "3"
        assert headers["content-language"] == "de"
        assert dict(response.headers.raw)[b"content-disposition"] == 'inline; filename="é"'.encode()
        assert http.client.head(http.object("a"), params={"alt": "media"}).headers["content-length"] == "3"

    def test_content_stored_as_gzip(self, http: Http) -> None:
        plain = b"plain" * 100_000
        http.put("a", gzip.compress(plain), contentEncoding="gzip")
        as_stored = http.client.get(http.object("a"), params={"alt": "media"})
        assert (as_stored.headers["content-encoding"], as_stored.content) == ("gzip", plain)
        with http.client.stream(
            "GET",
            http.object("a"),
            params={"alt": "media"},
            headers={"accept-encoding": "identity", "range": "bytes=3-"},
        ) as response:
            raw = b"".join(response.iter_raw())
        assert (response.status_code, "content-encoding" in response.headers, raw) == (200, False, plain)
        assert response.headers["x-goog-stored-content-encoding"] == "gzip"

    def test_content_that_only_claims_to_be_gzip(self, http: Http) -> None:
        http.put("a", b"no gzip", contentEncoding="gzip")
        response = http.client.get(http.object("a"), params={"alt": "media"}, headers={"accept-encoding": "identity"})
        assert response.status_code == 200

    def test_replaced_while_it_is_read(self, http: Http) -> None:
        http.put("a", b"old" * 1_000_000)
        with http.client.stream("GET", http.object("a"), params={"alt": "media"}) as response:
            blocks = response.iter_bytes()
            first = next(blocks)
            http.put("a", b"new")
            http.client.delete(http.object("a"))
            assert first + b"".join(blocks) == b"old" * 1_000_000


class TestShapes:
    """Every answer is what Google's description of the API says."""

    def test_of_objects(self, http: Http) -> None:
        body = {"metadata": {"k": "v"}, "customTime": "2026-01-02T03:04:05.678Z", "cacheControl": "no-store"}
        check_schema(http.put("a"), "Object")
        check_schema(http.client.patch(http.object("a"), json=body).json(), "Object")
        check_schema(http.client.get(http.object("a")).json(), "Object")
        check_schema(compose(http, {}).json() if http.put("other") else None, "Object")
        check_schema(copy(http, {}).json(), "Object")
        check_schema(rewrite(http, {}).json(), "RewriteResponse")
        check_schema(resumable(http, {}).json(), "Object")
        query = {"maxResults": "1", "delimiter": "/"}
        http.put("0/b")
        check_schema(http.client.get(http.objects, params=query).json(), "Objects")

    def test_of_buckets(self, http: Http) -> None:
        fields = {
            "labels": {"a": "b"},
            "versioning": {"enabled": True},
            "storageClass": "NEARLINE",
            "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": True}},
        }
        made = http.client.patch(f"/storage/v1/b/{http.bucket}", json=fields).json()
        check_schema(made, "Bucket")
        assert {name: made[name] for name in ("labels", "versioning", "storageClass")} == {
            name: fields[name] for name in ("labels", "versioning", "storageClass")
        }
        assert made["iamConfiguration"]["publicAccessPrevention"] == "inherited"
        check_schema(http.client.get("/storage/v1/b", params={"project": "p", "maxResults": "1"}).json(), "Buckets")

    def test_are_really_compared(self, http: Http) -> None:
        made = http.put("a")
        for wrong in ({"size": 7}, {"unknown": "x"}, {"metadata": {"k": 1}}):
            with pytest.raises(jsonschema.ValidationError):
                check_schema(made | wrong, "Object")

    def test_an_etag_is_generation_and_metageneration(self, http: Http) -> None:
        first = http.put("a")
        second = http.client.patch(http.object("a"), json={}).json()
        assert first["etag"].endswith("EAE=")
        assert second["etag"].endswith("EAI=")


class TestPatch:
    def test_null_removes(self, http: Http) -> None:
        http.put("a")
        url = http.object("a")
        http.client.patch(url, json={"metadata": {"a": "1", "b": "2"}, "contentLanguage": "de", "contentType": "x/y"})
        changed = http.client.patch(url, json={"metadata": {"a": None, "c": "3"}, "contentLanguage": None}).json()
        assert changed["metadata"] == {"b": "2", "c": "3"}
        assert ("contentLanguage" in changed, changed["contentType"]) == (False, "x/y")
        assert "metadata" not in http.client.patch(url, json={"metadata": None}).json()

    def test_what_cannot_be_changed_is_left(self, http: Http) -> None:
        made = http.put("a")
        body = {"size": "7", "md5Hash": "x", "generation": "1", "timeCreated": "x", "name": "a", "unknown": 1}
        changed = http.client.patch(http.object("a"), json=body | {"storageClass": "COLDLINE"}).json()
        for name in ("size", "md5Hash", "generation", "timeCreated", "name", "storageClass"):
            assert changed[name] == made[name]

    def test_custom_time_only_grows(self, http: Http) -> None:
        http.put("a")
        url = http.object("a")
        late, early = {"customTime": "2026-02-01T00:00:00Z"}, {"customTime": "2026-01-01T00:00:00+01:00"}
        assert http.client.patch(url, json=late).json()["customTime"] == "2026-02-01T00:00:00.000Z"
        error_of(http.client.patch(url, json=early), 400, "invalid")
        assert http.client.patch(url, json={"customTime": None}).json()["customTime"] == "2026-02-01T00:00:00.000Z"

    @pytest.mark.parametrize(
        "body",
        ["", "[]", "null", "1", '"x"', "{", '{"metadata":[]}', '{"metadata":{"k":{}}}', '{"contentType":7}', "\0"],
    )
    def test_bodies_that_are_none(self, http: Http, body: str) -> None:
        http.put("a")
        response = http.client.patch(http.object("a"), content=body.encode())
        assert response.status_code == (200 if body == "" else 400), response.text


class TestCopies:
    def test_metadata_sent_along_replaces_all(self, http: Http) -> None:
        http.put("a")
        http.client.patch(
            http.object("a"), json={"metadata": {"k": "v"}, "contentType": "x/y", "contentLanguage": "de"}
        )
        path = f"{http.object('a')}/copyTo/b/{http.bucket}/o"
        kept = http.client.post(f"{path}/b").json()
        assert (kept["metadata"], kept["contentType"], kept["contentLanguage"]) == ({"k": "v"}, "x/y", "de")
        replaced = http.client.post(f"{path}/c", json={"contentType": "z/z"}).json()
        assert ("metadata" in replaced, replaced["contentType"]) == (False, "z/z")

    def test_onto_itself(self, http: Http) -> None:
        made = http.put("a", b"content")
        again = copy(http, {}, "a", "a").json()
        assert int(again["generation"]) > int(made["generation"])
        assert http.read("a") == b"content"

    @pytest.mark.parametrize("token", ["x", "e30=", "WzEsMl0=", "WzEsMiwzXQ==", "é", "WyItMSIsLTJd", "A" * 4000])
    def test_tokens_that_are_none(self, http: Http, token: str) -> None:
        http.put("other")
        assert rewrite(http, {"rewriteToken": token}).status_code in (400, 404)

    @pytest.mark.parametrize("step", ["0", "-1", "1", "1048577", "x"])
    def test_steps_that_are_none(self, http: Http, step: str) -> None:
        http.put("other")
        assert rewrite(http, {"maxBytesRewrittenPerCall": step}).status_code == 400

    @pytest.mark.parametrize(
        "body", [{}, {"sourceObjects": []}, {"sourceObjects": [{}]}, {"sourceObjects": ["a"]}, {"sourceObjects": None}]
    )
    def test_nothing_to_compose(self, http: Http, body: Any) -> None:
        assert http.client.post(f"{http.object('x')}/compose", json=body).status_code == 400

    def test_compose_onto_a_source(self, http: Http) -> None:
        http.put("a", b"1")
        http.put("b", b"2")
        body = {"sourceObjects": [{"name": "a"}, {"name": "b"}, {"name": "a"}], "deleteSourceObjects": True}
        made = http.client.post(f"{http.object('a')}/compose", json=body).json()
        assert (made["componentCount"], http.read("a")) == (3, b"121")
        assert http.client.get(http.object("b")).status_code == 404


class TestQueries:
    @pytest.mark.parametrize(
        "query",
        [
            "maxResults=x",
            "maxResults=-1",
            "maxResults=" + "9" * 30,
            "versions=maybe",
            "pageToken=x",
            "pageToken=YTpi",
            "matchGlob=*",
            "filter=x",
            "softDeleted=True",
        ],
    )
    def test_of_listings(self, http: Http, query: str) -> None:
        assert http.client.get(f"{http.objects}?{query}").status_code == 400

    @pytest.mark.parametrize(
        "fields", ["a(", "a)", ",", "a,", "(a)", "a/", "/a", "a()", "é", "a b", "(" * 5000, "a(" * 5000]
    )
    def test_of_fields(self, http: Http, fields: str) -> None:
        error_of(http.client.get(http.objects, params={"fields": fields}), 400, "invalidParameter")

    @pytest.mark.parametrize(
        ("fields", "expected"),
        [
            ("kind", {"kind": "storage#objects"}),
            ("items/name", {"items": [{"name": "a"}, {"name": "b"}]}),
            ("items(name,size),kind", {"kind": "storage#objects", "items": [{"name": n, "size": "7"} for n in "ab"]}),
            ("*/name", {"kind": "storage#objects", "items": [{"name": "a"}, {"name": "b"}]}),
            ("nothing", {}),
        ],
    )
    def test_of_parts(self, http: Http, fields: str, expected: Any) -> None:
        http.put("a")
        http.put("b")
        assert http.client.get(http.objects, params={"fields": fields}).json() == expected

    def test_a_project_is_needed(self, http: Http) -> None:
        assert error_of(http.client.get("/storage/v1/b"), 400, "required") == "Required parameter: project"
        error_of(http.client.post("/storage/v1/b", json={"name": "abc"}), 400, "required")

    def test_what_is_not_there(self, http: Http) -> None:
        for path in ("/storage/v1/b/not-there", "/storage/v1/b/not-there/o", "/storage/v1/b/not-there/o/a"):
            response = http.client.get(path)
            assert error_of(response, 404, "notFound") == "The specified bucket does not exist."
