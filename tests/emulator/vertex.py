"""Plain HTTP calls to a running emulator."""

from __future__ import annotations

from typing import Any, Self

import httpx

from tests.emulator.discovery import check_response
from tests.support.emulator import upload

LOCATION = "projects/my-project/locations/us-central1"


class Vertex:
    """Plain HTTP calls to an emulator; every answer is checked against the discovery documents.

    :param url: its base URL
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=30, event_hooks={"response": [check_response]})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

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
