"""Create and call the generated clients of Vertex AI: URL, credentials, retries and finite lists.

The hooks pass the classes and import them inside methods, because the import takes three seconds and 60 MB.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import requests
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import GoogleAPICallError
from google.api_core.retry import Retry
from google.protobuf.json_format import MessageToDict

from vertex_tuning.exceptions import RETRYABLE_HTTP, VertexUnavailableError
from vertex_tuning.hooks.errors import vertex_errors
from vertex_tuning.hooks.rest import MAX_PAGES, TIMEOUT, UNREADABLE_RESPONSE
from vertex_tuning.resources.resource_names import location_of

if TYPE_CHECKING:
    from vertex_tuning.hooks.credentials import Connection

_C = TypeVar("_C")

SHOWN: Final = 200
"""Characters of an unusable response in an error message."""

RETRY_SECONDS: Final = 15.0
"""Seconds in which a request is retried after temporary errors. For longer outages, Airflow retries the task."""


class VertexClients:
    """One client per service and location, created at its first use. Threads may share it.

    :param connection: connection with the credentials and the URL of each location
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._made: dict[tuple[Callable[..., Any], str], Any] = {}
        self._lock = threading.Lock()

    def client(self, service: Callable[..., _C], resource_name: str) -> _C:
        """The client for the location of a resource.

        :param service: class of the client
        :raises ConfigurationError: the resource's name has no location
        """
        key = (service, location_of(resource_name))
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(*key)
            client: _C = self._made[key]
        return client

    def _make(self, service: Callable[..., Any], location: str) -> Any:
        credentials = self._connection.get_credentials()
        options = ClientOptions(
            api_endpoint=self._connection.endpoint(location), universe_domain=credentials.universe_domain
        )
        client = service(transport="rest", credentials=credentials, client_options=options)
        # The client follows redirects and accepts `[]` as an empty list of models. It has no option against either.
        client.transport._session.hooks["response"].append(_require_resource)
        return client


def call(doing: str, method: Callable[..., _C], **request: Any) -> _C:
    """Call a client's method; the request may be sent more than once.

    :param doing: name of the action, for error messages
    :param request: fields of the method's request
    :raises VertexRequestError: Google refused the request
    :raises VertexUnavailableError: no response, or a temporary error
    """
    with vertex_errors(doing):
        return method(request=request, retry=_retry(), timeout=TIMEOUT)


def pages(doing: str, method: Callable[..., Any], **request: Any) -> Iterator[Any]:
    """The pages of a list, each requested when it is needed; for parameters and errors see `call`."""
    listed = iter(call(doing, method, **request).pages)
    tokens = set[str]()
    while (page := _next_page(doing, listed)) is not None:
        yield page
        if page.next_page_token in tokens or len(tokens) > MAX_PAGES:
            raise VertexUnavailableError(f"While {doing}: the list does not end.")
        tokens.add(page.next_page_token)


def json_fields(message: Any) -> dict[str, Any]:
    """A message of a client as JSON."""
    return MessageToDict(type(message).pb(message))


def _next_page(doing: str, listed: Iterator[Any]) -> Any:
    with vertex_errors(doing):
        return next(listed, None)


def _require_resource(response: requests.Response, **_: Any) -> None:
    """Check that a successful response has a resource.

    :raises InvalidJSONError: it has none, so that it does not come from Google
    """
    if response.status_code < HTTPStatus.BAD_REQUEST and not _is_resource(response.content):
        found = f"{response.status_code} {response.content[:SHOWN]!r}"
        raise requests.exceptions.InvalidJSONError(f"found {found}, expected a resource in JSON")


class _Resource(msgspec.Struct):
    """Reads one field and skips the others, which takes milliseconds for 100,000 points."""

    error: Any = None


def _is_resource(body: bytes) -> bool:
    try:
        return msgspec.json.decode(body, type=_Resource).error is None
    except (*UNREADABLE_RESPONSE, RecursionError):
        return False


def _retry() -> Retry:
    return Retry(predicate=_may_pass, initial=0.25, maximum=4.0, timeout=RETRY_SECONDS)


def _may_pass(error: Exception) -> bool:
    if isinstance(error, GoogleAPICallError):
        return error.code in RETRYABLE_HTTP
    return isinstance(error, (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError))
