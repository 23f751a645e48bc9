"""A minimal client of Google's REST interface for tuning jobs: the triggerer reads thousands of them."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
import requests
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import AuthorizedSession
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from vertex_tuning.exceptions import RETRYABLE_HTTP, VertexUnavailableError, error_of
from vertex_tuning.hooks.credentials import Connection, auth_error
from vertex_tuning.resources.resource_names import location_of
from vertex_tuning.text.plain_text import MESSAGE_SHOWN, plain, without_secrets

_T = TypeVar("_T")

UNREADABLE_RESPONSE: Final = (msgspec.MsgspecError, UnicodeDecodeError)
"""Errors of msgspec for text that is not JSON, has another form, or is not UTF-8."""

TIMEOUT: Final = 60.0
"""Timeout of a request in seconds."""

RETRIES: Final = 4
"""Number of retries of a request that is `patient`."""

MAX_PAGES: Final = 1000
"""Number of pages after which a list counts as endless."""


def patient() -> Retry:
    """Retries temporary errors after 0.5, 1, 2 … seconds, or after the time in the header Retry-After.

    Only for requests that may be repeated: a request whose response was lost may have had its effect.
    """
    return Retry(
        total=RETRIES,
        backoff_factor=0.5,
        backoff_max=10,
        status_forcelist=RETRYABLE_HTTP,
        allowed_methods=None,
        raise_on_status=False,
        retry_after_max=60,
    )


class RestClient:
    """Sends each request to the location in its resource name.

    :param retry: errors to retry; if not set, no request is repeated
    """

    def __init__(self, connection: Connection, retry: Retry | None = None) -> None:
        self._connection = connection
        self._session = AuthorizedSession(connection.get_credentials())
        if retry:
            for scheme in ("https://", "http://"):
                self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def read(self, name: str, **query: Any) -> bytes:
        """Read a resource and return the unparsed response.

        :param name: `projects/P/locations/L/…`
        :raises VertexRequestError: Google refused the request
        :raises VertexUnavailableError: no response, or a temporary error
        """
        return self._send("GET", name, params=query)

    def post(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a POST request and return its JSON.

        :param name: name of the resource, with the custom method
        :raises TuningError: see `read`
        """
        return decode(self._send("POST", name, json=body), dict[str, Any])

    def _send(self, method: str, name: str, **request: Any) -> bytes:
        doing = f"While {'reading' if method == 'GET' else 'changing'} {name}"
        address = f"{self._connection.endpoint(location_of(name))}/v1beta1/{name}"
        try:
            answer = self._session.request(method, address, timeout=TIMEOUT, allow_redirects=False, **request)
        except requests.RequestException as error:
            message = plain(without_secrets(f"{doing}: {type(error).__name__}: {error}"), MESSAGE_SHOWN)
            raise VertexUnavailableError(message) from None
        except GoogleAuthError as error:
            raise auth_error(error, doing) from None
        if answer.status_code != requests.codes.ok:
            message = f"{doing}: {answer.status_code} {plain(without_secrets(answer.text))}"
            raise error_of(answer.status_code, message, from_google=_is_error(answer.content))
        return bytes(answer.content)


def decode(answer: bytes, type_: type[_T]) -> _T:
    """Read the JSON of a response.

    :raises VertexUnavailableError: the response is not this kind of JSON, e.g. because it comes from a proxy
    """
    try:
        return msgspec.json.decode(answer, type=type_)
    except UNREADABLE_RESPONSE as error:
        raise VertexUnavailableError(f"Google answered {answer[:200]!r}: {error}") from error


class _Error(msgspec.Struct):
    """Error of a Google API: https://docs.cloud.google.com/apis/design/errors#http_mapping."""

    error: dict[str, Any]


def _is_error(answer: bytes) -> bool:
    try:
        msgspec.json.decode(answer, type=_Error)
    except UNREADABLE_RESPONSE:
        return False
    return True
