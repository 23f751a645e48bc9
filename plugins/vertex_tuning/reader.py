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

from vertex_tuning.jobs import TuningJob
from vertex_tuning.rest import RestClient, decode

if TYPE_CHECKING:
    from vertex_tuning.light_connection import Connection

PAGE_SIZE: Final = 100
"""Jobs per page of a list; the service publishes no limit."""


class JobReader:
    """
    :param connection: in the location whose jobs are read
    """

    def __init__(self, connection: Connection) -> None:
        self._rest = RestClient(connection)
        self._parent = f"projects/{connection.project}/locations/{connection.location}"

    def get(self, name: str) -> bytes:
        """The job as the service answers it.

        :raises TuningError: it could not be read
        """
        return self._rest.read(name)

    def recent(self, filter_: str = "", page_size: int = PAGE_SIZE) -> Iterator[tuple[str, bytes]]:
        """Names and jobs as the service answers them, newest first, page by page as they are asked for."""
        page_token = ""
        while True:
            query = {"filter": filter_} if filter_ else {}
            answer = self._rest.read(f"{self._parent}/tuningJobs", pageSize=page_size, pageToken=page_token, **query)
            page = decode(answer, _Page)
            for job in page.tuning_jobs:
                answered = bytes(job)
                yield decode(answered, _Named).name, answered
            page_token = page.next_page_token
            if not page_token:
                return


class _Page(msgspec.Struct, rename="camel"):
    """Jobs are taken apart one by one, and most of them not at all."""

    tuning_jobs: list[msgspec.Raw] = []
    next_page_token: str = ""


class _Named(msgspec.Struct):
    name: str


def parse(answer: bytes) -> TuningJob:
    """A job of the REST interface as ours."""
    return TuningJob.parse(_snake_case(decode(answer, dict[str, Any])))


def _snake_case(value: Any) -> Any:
    if isinstance(value, dict):
        return {_snake_key(key): _snake_case(item) for key, item in value.items()}
    return [_snake_case(item) for item in value] if isinstance(value, list) else value


@lru_cache(maxsize=1000)
def _snake_key(key: str) -> str:
    return re.sub("([A-Z])", r"_\1", key).lower()
