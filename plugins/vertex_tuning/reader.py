"""Reads tuning jobs over plain REST, for the triggerer.

Not with the Gen AI client: that keeps 31 MB more in memory, and building its objects for a page of jobs holds up the
event loop for longer than a tenth of a second (measured by `make bench-triggerer`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from vertex_tuning.exceptions import VertexUnavailableError, error_of
from vertex_tuning.jobs import TuningJob

if TYPE_CHECKING:
    from vertex_tuning.connection import GoogleConnection

PAGE_SIZE: Final = 100
"""Jobs per page of a list; the service publishes no limit."""

TIMEOUT: Final = 60.0
"""Seconds one request may take."""


class JobReader:
    """
    :param connection: in the location whose jobs are read
    """

    def __init__(self, connection: GoogleConnection) -> None:
        self._session = AuthorizedSession(connection.get_credentials())
        self._address = f"{connection.endpoint(connection.location)}/v1beta1"
        self._parent = f"projects/{connection.project}/locations/{connection.location}"

    def get(self, name: str) -> TuningJob:
        """:raises TuningError: it could not be read"""
        return parse(self._read(name))

    def recent(self) -> Iterator[dict[str, Any]]:
        """Jobs as the service answers them, newest first, page by page as they are asked for."""
        page_token = ""
        while True:
            page = self._read(f"{self._parent}/tuningJobs", pageSize=PAGE_SIZE, pageToken=page_token)
            yield from page.get("tuningJobs", [])
            page_token = page.get("nextPageToken", "")
            if not page_token:
                return

    def _read(self, path: str, **query: Any) -> dict[str, Any]:
        try:
            answer = self._session.get(f"{self._address}/{path}", params=query, timeout=TIMEOUT)
        except (requests.RequestException, GoogleAuthError) as error:
            raise VertexUnavailableError(f"While reading {path}: {type(error).__name__}: {error}") from error
        if answer.status_code != requests.codes.ok:
            raise error_of(answer.status_code, f"While reading {path}: {answer.status_code} {answer.text[:500]}")
        try:
            return msgspec.json.decode(answer.content, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise VertexUnavailableError(f"While reading {path}: no JSON: {error}") from error


def parse(answer: dict[str, Any]) -> TuningJob:
    """A job of the REST interface as ours."""
    return TuningJob.parse(_snake_case(answer))


def _snake_case(value: Any) -> Any:
    if isinstance(value, dict):
        return {_snake_key(key): _snake_case(item) for key, item in value.items()}
    return [_snake_case(item) for item in value] if isinstance(value, list) else value


@lru_cache(maxsize=1000)
def _snake_key(key: str) -> str:
    return re.sub("([A-Z])", r"_\1", key).lower()
