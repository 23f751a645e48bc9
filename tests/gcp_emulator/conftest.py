from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.emulator_fixture import running_emulator, upload

LOCATION = "projects/my-project/locations/us-central1"


class Vertex:
    """Plain HTTP calls to an emulator.

    :param url: its base URL
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=30)

    def call(
        self, method: str, path: str, body: Any = None, *, version: str = "v1beta1", **params: Any
    ) -> httpx.Response:
        """Send a request below `/{version}/`; a list as `params` value repeats the parameter."""
        return self.client.request(method, f"/{version}/{path}", json=body, params=params)

    def ok(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        response = self.call(method, path, body, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """The error of a request that must fail."""
        response = self.call(method, path, body, **options)
        assert response.status_code >= 400, response.text
        error = response.json()["error"]
        assert error["code"] == response.status_code
        return error

    def upload(self, uri: str, rows: Any) -> str:
        return upload(self.url, uri, rows)


@pytest.fixture(scope="session")
def emulator() -> Iterator[str]:
    """Base URL of a live emulator, shared by the tests."""
    with running_emulator(concurrent_tuning_jobs=4) as url:
        yield url


@pytest.fixture(scope="session")
def vertex(emulator: str) -> Iterator[Vertex]:
    made = Vertex(emulator)
    yield made
    made.client.close()
