"""Reads, lists and cancels tuning jobs over plain REST, light enough for the triggerer. Tasks read them so, too.

Not with the Gen AI client: that keeps 31 MB more in memory, and building its objects for a page of jobs holds up the
event loop for longer than a tenth of a second (measured by `make bench-triggerer`).
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
from vertex_tuning.resource_names import ResourceName

if TYPE_CHECKING:
    from urllib3 import Retry

    from vertex_tuning.hooks.credentials import Connection

JOBS_PER_PAGE: Final = 100
"""Jobs per page of a list; the service publishes no limit."""

CANCEL_PAUSES: Final = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each try to cancel; together well within the 30 s a killed trigger is given."""

log = logging.getLogger(__name__)


class JobReader:
    """
    :param connection: in the location whose jobs are listed; a job that is read or cancelled may be in another
    :param retry: what is tried again; nothing when not set
    """

    def __init__(self, connection: Connection, retry: Retry | None = None) -> None:
        self._connection = connection
        self._rest = RestClient(connection, retry)

    def get(self, name: str) -> bytes:
        """The job as the service answers it.

        :raises TuningError: it could not be read
        """
        return self._rest.read(str(ResourceName.parse(name, "tuningJobs")))

    def read_job(self, name: str) -> TuningJob:
        """A job, wherever it runs.

        :raises TuningError: it could not be read
        """
        return parse(self.get(name))

    def recent(self, filter_: str = "", page_size: int = JOBS_PER_PAGE) -> Iterator[tuple[str, bytes]]:
        """Names and jobs as the service answers them, newest first, page by page as they are asked for.

        A job without a name is left out.

        :raises VertexUnavailableError: an answer is no list, or the list does not end
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
        """Cancel a job and make sure of it; one that has ended stays as it is.

        Tries again while the request fails, is refused or shows no effect.

        :returns: the job, being cancelled or ended
        :raises ConfigurationError: the name is not a tuning job's
        :raises NotFoundError: there is no such job
        :raises VertexUnavailableError: it still runs after the last try
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
            # How the API answers for a job that has ended is not known; the job itself says whether it has.
            log.warning("Cancelling %s was refused: %s", name, error)
        return self.read_job(name)

    def _page(self, parent: str, **query: Any) -> _Page:
        answer = self._rest.read(f"{parent}/tuningJobs", **query)
        page = decode(answer, _Page)
        # An object with other fields is no list: an error, or one job. An empty one is an empty list.
        is_list = page.tuning_jobs is not None or page.next_page_token or decode(answer, dict[str, Any]) == {}
        if page.error is not None or not is_list:
            raise VertexUnavailableError(f"Google answered {answer[:200]!r}, expected a list of tuning jobs.")
        return page


class _Page(msgspec.Struct, rename="camel"):
    """Jobs are taken apart one by one, and most of them not at all."""

    tuning_jobs: list[msgspec.Raw] | None = None
    next_page_token: str = ""
    error: Any = None


class _Named(msgspec.Struct):
    name: str


def _name_of(job: msgspec.Raw) -> str:
    """The job's name; empty, with a warning, when it has none."""
    try:
        return msgspec.json.decode(job, type=_Named).name
    except UNREADABLE_RESPONSE as error:
        log.warning("Leaving %.200r out of the list of tuning jobs: %s", bytes(job), error)
        return ""


def parse(answer: bytes) -> TuningJob:
    """A job of the REST interface as ours.

    :raises VertexUnavailableError: the answer is none, as when something else answered in Google's place
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
