"""Preconditions of every call, over plain HTTP."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from tests.emulator.storage_support import (
    Http,
    compose,
    copy,
    error_of,
    resumable,
    rewrite,
)

NO_CONDITION = "At least one of the pre-conditions you specified did not hold."


def get(http: Http, params: dict[str, Any]) -> httpx.Response:
    return http.client.get(http.object("a"), params=params)


def download(http: Http, params: dict[str, Any]) -> httpx.Response:
    return http.client.get(f"/download{http.object('a')}", params=params | {"alt": "media"})


def patch(http: Http, params: dict[str, Any]) -> httpx.Response:
    return http.client.patch(http.object("a"), params=params, json={"metadata": {"k": "new"}})


def delete(http: Http, params: dict[str, Any]) -> httpx.Response:
    return http.client.delete(http.object("a"), params=params)


def upload(http: Http, params: dict[str, Any]) -> httpx.Response:
    return http.upload("a", b"new", **params)


def copy_from(http: Http, params: dict[str, Any]) -> httpx.Response:
    return copy(http, {re.sub("^if", "ifSource", name): value for name, value in params.items()}, "a", "other")


def rewrite_from(http: Http, params: dict[str, Any]) -> httpx.Response:
    return rewrite(http, {re.sub("^if", "ifSource", name): value for name, value in params.items()}, "a", "other")


READS = [get, download]


WRITES = [patch, delete, upload, resumable, copy, copy_from, rewrite, rewrite_from, compose]


class TestPreconditions:
    """https://cloud.google.com/storage/docs/request-preconditions"""

    @pytest.fixture
    def generation(self, http: Http) -> int:
        """The generation of an object `a` whose metageneration is 2."""
        http.put("other")
        generation = int(http.put("a", b"old")["generation"])
        assert http.client.patch(http.object("a"), json={}).json()["metageneration"] == "2"
        return generation

    @pytest.mark.parametrize("call", [*READS, *WRITES])
    @pytest.mark.parametrize("holds", [True, False])
    @pytest.mark.parametrize("name", ["Generation", "Metageneration"])
    @pytest.mark.parametrize("match", ["Match", "NotMatch"])
    def test_every_call(self, http: Http, generation: int, call: Any, holds: bool, name: str, match: str) -> None:
        actual = generation if name == "Generation" else 2
        value = actual if holds == (match == "Match") else actual + 1
        response = call(http, {f"if{name}{match}": value})
        if holds:
            assert response.status_code in (200, 204), response.text
        elif call in READS and match == "NotMatch":
            assert (response.status_code, response.content) == (304, b"")
        else:
            assert error_of(response, 412, "conditionNotMet") == NO_CONDITION
            assert http.read("a") == b"old"
            assert http.client.get(http.object("a")).json()["metageneration"] == "2"

    @pytest.mark.parametrize("call", [upload, resumable, copy, rewrite, compose])
    def test_creation(self, http: Http, call: Any) -> None:
        http.put("other")
        error_of(call(http, {"ifGenerationNotMatch": 0}), 412, "conditionNotMet")
        assert call(http, {"ifGenerationMatch": 0}).status_code == 200
        error_of(call(http, {"ifGenerationMatch": 0}), 412, "conditionNotMet")
        assert call(http, {"ifGenerationNotMatch": 0}).status_code == 200

    @pytest.mark.parametrize("call", [get, download, patch, delete, copy_from, rewrite_from])
    def test_of_what_is_not_there(self, http: Http, call: Any) -> None:
        message = error_of(call(http, {"ifGenerationMatch": 0}), 404, "notFound")
        assert message == f"No such object: {http.bucket}/a"

    @pytest.mark.usefixtures("generation")
    @pytest.mark.parametrize("call", [call for call in (*READS, *WRITES) if call is not resumable])
    @pytest.mark.parametrize("value", ["", "x", "1.5", "9" * 19, "9" * 5000, "\u0661", "0x1", "1 ", "-"])
    def test_that_are_no_numbers(self, http: Http, call: Any, value: str) -> None:
        error_of(call(http, {"ifGenerationMatch": value}), 400, "invalidParameter")

    def test_of_a_source_that_is_composed(self, http: Http, generation: int) -> None:
        def sources(**fields: Any) -> httpx.Response:
            body = {"sourceObjects": [{"name": "a"} | fields], "destination": {"contentType": "x/y"}}
            return http.client.post(f"{http.object('whole')}/compose", json=body)

        for value in (generation, str(generation)):
            condition = {"objectPreconditions": {"ifGenerationMatch": value}}
            assert sources(**condition).json()["contentType"] == "x/y"
            assert sources(generation=value).status_code == 200
        error_of(sources(objectPreconditions={"ifGenerationMatch": generation + 1}), 412, "conditionNotMet")
        error_of(sources(generation=generation + 1), 404, "notFound")
