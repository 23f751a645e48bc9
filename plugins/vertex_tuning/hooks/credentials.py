"""Credentials of a Google connection and the meaning of their errors, shared by tasks and the triggerer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, MalformedError
from google.oauth2.credentials import Credentials as TokenCredentials

from vertex_tuning.exceptions import ConfigurationError, ConnectionNotFoundError, VertexUnavailableError
from vertex_tuning.text.plain_text import MESSAGE_SHOWN, plain, without_secrets

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

MULTI_REGIONS: Final = ("us", "eu")

_BASE_URL: Final = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d+)?(/[\w./~-]*)?", re.ASCII)

REFUSALS: Final = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
    }
)
"""Errors of a token server that a retry cannot fix: RFC 6749, section 5.2."""


class Connection(Protocol):
    """The parts of a connection that requests to Vertex AI need."""

    @property
    def location(self) -> str: ...

    @property
    def project(self) -> str: ...

    def get_credentials(self) -> Credentials: ...

    def endpoint(self, location: str) -> str: ...


def base_url(value: object, gcp_conn_id: str, field: str) -> str:
    """A base URL from the connection's extra; empty if not set.

    :raises ConfigurationError: it is not a base URL, or it contains a password: logs and links show it
    """
    url = str(value or "")
    if url and not _BASE_URL.fullmatch(url):
        raise ConfigurationError(
            f"Connection {gcp_conn_id!r}, {field}: found a text that is not quoted, as it may hold a password, "
            "expected http(s)://HOST[:PORT][/PATH] without user, password and query. Put credentials into the "
            "connection's keyfile."
        )
    return url


def endpoint_of(location: str, override: str) -> str:
    """Base URL of Vertex AI for a location; multi-regions have different hosts.

    :param override: `vertex_api_endpoint` of the connection; empty if not set
    """
    if override:
        return override
    if location in MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def with_token(credentials: Credentials) -> Credentials:
    """Credentials for the Gen AI client, which requires a token: anonymous credentials have none."""
    return TokenCredentials(token="anonymous") if isinstance(credentials, AnonymousCredentials) else credentials  # noqa: S106


@contextlib.contextmanager
def lookup_errors(gcp_conn_id: str) -> Iterator[None]:
    """Translate Airflow's error for a missing connection.

    :raises ConnectionNotFoundError: there is no such connection
    """
    try:
        yield
    except AirflowNotFoundException as error:
        raise ConnectionNotFoundError(
            f"gcp_conn_id: found {gcp_conn_id!r}, which is not defined, expected a Google Cloud connection. "
            "Add it under Admin > Connections or as AIRFLOW_CONN_… in the environment. "
            "(If it is there, Airflow could not look it up just now.)"
        ) from error


@contextlib.contextmanager
def credential_errors(gcp_conn_id: str) -> Iterator[None]:
    """Translate the errors of loading credentials.

    :raises ConfigurationError: the settings of the connection contradict each other or cannot be read
    :raises VertexUnavailableError: the credentials cannot be loaded at the moment
    """
    try:
        yield
    except GoogleAuthError as error:
        raise auth_error(error, f"Connection {gcp_conn_id!r}") from None
    except (AirflowException, ValueError) as error:
        raise ConfigurationError(plain(f"Connection {gcp_conn_id!r}: {error}", MESSAGE_SHOWN)) from error


def auth_error(error: GoogleAuthError, where: str) -> ConfigurationError | VertexUnavailableError:
    """Translate an error of google-auth into an error that says whether a retry can help.

    google-auth's `retryable` does not help: it is also false for a token server that cannot be reached. A person must
    fix invalid credentials and requests that the token server refuses. Missing credentials may be temporary:
    google-auth reports them, too, when the metadata server does not respond.
    """
    answer = error.args[1] if len(error.args) > 1 else None
    refused = isinstance(answer, Mapping) and answer.get("error") in REFUSALS
    wrong = isinstance(error, MalformedError)
    kind = ConfigurationError if wrong or refused else VertexUnavailableError
    message = f"{where}: {type(error).__name__}: {error.args[0] if error.args else error}"
    return kind(plain(without_secrets(message), MESSAGE_SHOWN))
