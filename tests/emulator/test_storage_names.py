"""Names of objects and buckets: whatever they are, they are only names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.emulator.storage_support import Http, error_of, http_bucket, quoted
from tests.support.emulator import running_emulator


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "../../../etc/passwd",
            "/etc/passwd",
            "a/../b",
            "a//b/",
            "/",
            " ",
            "a\0b",
            "a\tb",
            "%2e%2e%2f",
            "compose",
            "x/compose",
            "x/rewriteTo/b/y/o/z",
            "x/copyTo/b/y/o/z",
            "o",
            "#?&=+;",
            "\u2028\u202e😀",
            "CON",
            "C:\\x",
            "x" * 1024,
            "é" * 512,
            "\x7f\x80",
            "<script>'\"; DROP TABLE resource",
        ],
    )
    def test_are_only_names(self, http: Http, name: str) -> None:
        made = http.put(name, name.encode())
        assert (made["name"], made["id"]) == (name, f"{http.bucket}/{name}/{made['generation']}")
        assert http.client.get(made["selfLink"]).json() == made
        assert http.client.get(made["mediaLink"]).content == name.encode()
        [listed] = http.client.get(http.objects, params={"prefix": name}).json()["items"]
        assert listed == made
        changed = http.client.patch(http.object(name), json={"metadata": {"k": name}}).json()
        assert changed["metadata"] == {"k": name}
        target = f"{http.object(name)}/rewriteTo/b/{http.bucket}/o/{quoted(name + '2' if len(name) < 500 else '2')}"
        assert http.client.post(target).json()["done"]
        assert http.client.delete(http.object(name)).status_code == 204

    @pytest.mark.parametrize("name", [".", "..", "a\nb", "a\rb", "x" * 1025, "é" * 513, ".well-known/acme-challenge/x"])
    def test_that_cannot_be(self, http: Http, name: str) -> None:
        error_of(http.upload(name), 400, "invalid")
        error_of(http.client.get(http.object("x") + quoted(name)), 404, "notFound")

    @pytest.mark.parametrize("path", ["%FF", "a%80", "%ED%A0%80"])
    def test_that_are_not_unicode(self, http: Http, path: str) -> None:
        error_of(http.client.get(f"{http.objects}/{path}"), 400, "invalid")

    def test_never_become_paths(self, tmp_path: Path) -> None:
        with running_emulator(tmp_path / "data") as url, http_bucket(url) as http:
            for name in ("../../escaped", "/tmp/escaped", "..\\escaped", "a/b/c"):  # noqa: S108
                http.put(name)
            files = [path for path in tmp_path.rglob("*") if path.is_file()]
            inside = {path.name for path in files if path.parent == tmp_path / "data" / "objects"}
            assert len(inside) == 4
            assert all(re.fullmatch("[0-9a-f]{32}", name) for name in inside)
            assert not any("escaped" in str(path) for path in files)

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "ab",
            "Abc",
            "a_B",
            "-abc",
            "abc-",
            "a..b",
            "1.2.3.4",
            "goog-x",
            "my-google-x",
            "x" * 64,
            "a/b",
            "a b",
            "é" * 5,
            "../x",
        ],
    )
    def test_of_buckets(self, http: Http, name: str) -> None:
        response = http.client.post("/storage/v1/b", params={"project": "p"}, json={"name": name})
        assert error_of(response, 400, "invalid") == f"Invalid bucket name: '{name}'"
        if name:
            error_of(http.client.get(f"/storage/v1/b/{quoted(name)}"), 400, "invalid")

    @pytest.mark.parametrize("name", ["abc", "a-b_c", "1ab", "x" * 63, "x.example.com", "a" * 63 + "." + "b" * 63])
    def test_that_buckets_can_have(self, http: Http, name: str) -> None:
        response = http.client.post("/storage/v1/b", params={"project": "p"}, json={"name": name})
        assert response.status_code in (200, 409)
