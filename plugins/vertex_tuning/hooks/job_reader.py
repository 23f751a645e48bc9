"""Read, list and cancel tuning jobs over plain REST, with little memory, in the triggerer and in tasks.

The Gen AI client needs 31 MB more memory. Building its objects for a page of jobs blocks the event loop for more than
0.1 s (measured by `make bench-triggerer`).
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import msgspec

from vertex_tuning.exceptions import (
    ConfigurationError,
    NotFoundError,
    TuningError,
    VertexRequestError,
    VertexUnavailableError,
)
from vertex_tuning.hooks.rest import MAX_PAGES, UNREADABLE_RESPONSE, RestClient, decode
from vertex_tuning.jobs.job import TuningJob
from vertex_tuning.resources.resource_names import ResourceName

if TYPE_CHECKING:
    from urllib3 import Retry

    from vertex_tuning.hooks.credentials import Connection

JOBS_PER_PAGE: Final = 100
"""Jobs per page of a list; the service publishes no limit."""

CANCEL_PAUSES: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each attempt to cancel; in total much less than the 30 s that Airflow gives a killed trigger."""

log = logging.getLogger(__name__)


class JobReader:
    """Reads, lists and cancels tuning jobs.

    :param connection: connection in the location whose jobs are listed; other jobs may be in other locations
    :param retry: errors to retry; if not set, no request is repeated
    """

    def __init__(self, connection: Connection, retry: Retry | None = None) -> None:
        self._connection = connection
        self._rest = RestClient(connection, retry)

    def get(self, name: str) -> bytes:
        """The JSON of a job, as the service returns it.

        :raises TuningError: the job could not be read
        """
        return self._rest.read(str(ResourceName.parse(name, "tuningJobs")))

    def read_job(self, name: str) -> TuningJob:
        """A job in any location.

        :raises TuningError: the job could not be read
        """
        return parse(self.get(name))

    def recent(self, filter_: str = "", page_size: int = JOBS_PER_PAGE) -> Iterator[tuple[str, bytes]]:
        """Names and JSON of the jobs, newest first. Each page is requested when it is needed.

        Jobs without a name are left out.

        :raises VertexUnavailableError: a response is not a list, or the list does not end
        """
        parent = f"projects/{self._connection.project}/locations/{self._connection.location}"
        query: dict[str, Any] = {"filter": filter_} if filter_ else {}
        tokens = {""}
        page_token = ""
        for _ in range(MAX_PAGES):
            page = self._page(parent, pageSize=page_size, pageToken=page_token, **query)
            for job in page.tuning_jobs or ():
                if name := _name_of(job):
                    yield name, bytes(job)
            page_token = page.next_page_token
            if page_token in tokens:
                break
            tokens.add(page_token)
        if page_token:
            raise VertexUnavailableError(f"The list of tuning jobs of {parent} does not end.")

    def cancel(self, name: str) -> TuningJob:
        """Cancel a job and check that it is cancelled. A job that has ended does not change.

        Tries again while the request fails, is refused or shows no effect.

        :returns: the job, which is being cancelled or has ended
        :raises ConfigurationError: the name is not the name of a tuning job
        :raises NotFoundError: there is no such job
        :raises VertexUnavailableError: the job still runs after the last attempt
        """
        ResourceName.parse(name, "tuningJobs")
        failure: TuningError | None = None
        for pause in CANCEL_PAUSES:
            time.sleep(pause)
            try:
                job = self._cancel_once(name)
            except NotFoundError:
                raise
            except TuningError as error:
                failure = error
                log.warning("Cancelling %s: %s", name, error)
            else:
                if job.is_cancelled or not job.is_live:
                    return job
        raise VertexUnavailableError(
            f"{name} could not be cancelled and may still run. Cancel it by hand."
        ) from failure

    def _cancel_once(self, name: str) -> TuningJob:
        try:
            self._rest.post(f"{name}:cancel", {})
        except VertexRequestError as error:
            # The response of the API for a job that has ended is not known; the state of the job shows it.
            log.warning("Cancelling %s was refused: %s", name, error)
        return self.read_job(name)

    def _page(self, parent: str, **query: Any) -> _Page:
        answer = self._rest.read(f"{parent}/tuningJobs", **query)
        page = decode(answer, _Page)
        # An object with other fields is an error or a job, not a list. An empty object is an empty list.
        is_list = page.tuning_jobs is not None or page.next_page_token or decode(answer, dict[str, Any]) == {}
        if page.error is not None or not is_list:
            raise VertexUnavailableError(f"Google answered {answer[:200]!r}, expected a list of tuning jobs.")
        return page


class _Page(msgspec.Struct, rename="camel"):
    """A page of jobs as raw JSON: most jobs of a page need not be parsed."""

    tuning_jobs: list[msgspec.Raw] | None = None
    next_page_token: str = ""
    error: Any = None


class _Named(msgspec.Struct):
    name: str


def _name_of(job: msgspec.Raw) -> str:
    """The job's name; empty, with a warning, if it is missing."""
    try:
        return msgspec.json.decode(job, type=_Named).name
    except UNREADABLE_RESPONSE as error:
        log.warning("Leaving %.200r out of the list of tuning jobs: %s", bytes(job), error)
        return ""


def parse(answer: bytes) -> TuningJob:
    """Parse a job of the REST interface.

    :raises VertexUnavailableError: the response is not a job, e.g. because it comes from a proxy
    """
    try:
        job = TuningJob.parse(_snake_case(decode(answer, dict[str, Any])))
        ResourceName.parse(job.name, "tuningJobs")
    except (msgspec.ValidationError, RecursionError, ConfigurationError) as error:
        raise VertexUnavailableError(f"Google answered {answer[:200]!r}, expected a tuning job: {error}") from error
    return job


def _snake_case(value: Any) -> Any:
    if isinstance(value, dict):
        return {_snake_key(key): _snake_case(item) for key, item in value.items()}
    return [_snake_case(item) for item in value] if isinstance(value, list) else value


@lru_cache(maxsize=1000)
def _snake_key(key: str) -> str:
    return re.sub("([A-Z])", r"_\1", key).lower()
