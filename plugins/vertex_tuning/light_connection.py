"""The Airflow connection to Google Cloud, for the triggerer.

`GoogleBaseHook` takes 30 MB to import: Secret Manager's client, gRPC, the API discovery client. The usual connections
need google-auth alone. All others are left to the hook.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import google.auth
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError, MalformedError
from google.auth.impersonated_credentials import Credentials as ImpersonatedCredentials
from google.oauth2.service_account import Credentials as ServiceAccountCredentials

from vertex_tuning.exceptions import ConfigurationError, ConnectionNotFoundError, VertexUnavailableError
from vertex_tuning.plain_text import MESSAGE_SHOWN, plain, without_secrets
from vertex_tuning.resource_names import check_location, check_project

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

MULTI_REGIONS: Final = ("us", "eu")

_BASE_URL: Final = re.compile(r"https?://(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d+)?(/[\w./~-]*)?", re.ASCII)

DEFAULT_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"

USUAL_FIELDS: Final = frozenset(
    {
        "project",
        "scope",
        "num_retries",
        "is_anonymous",
        "key_path",
        "keyfile_dict",
        "impersonation_chain",
        "vertex_api_endpoint",
        "storage_api_endpoint",
    }
)
"""Fields of a connection that need no `GoogleBaseHook`."""

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
"""What a token server refuses for good: RFC 6749, section 5.2."""


class Connection(Protocol):
    """What requests to Vertex AI need."""

    @property
    def location(self) -> str: ...

    @property
    def project(self) -> str: ...

    def get_credentials(self) -> Credentials: ...

    def endpoint(self, location: str) -> str: ...


class LightConnection:
    """Gives the same credentials and addresses as `GoogleConnection`, and raises the same errors.

    :param location: where tuning jobs run, e.g. `us-central1`
    :param project_id: the project
    :param gcp_conn_id: the Google Cloud connection
    :param impersonation_chain: service account to act as, or a chain of them; the connection's when not given
    :raises ConnectionNotFoundError: when there is no such connection
    """

    def __init__(
        self,
        *,
        location: str,
        project_id: str,
        gcp_conn_id: str,
        impersonation_chain: str | Sequence[str] | None = None,
    ) -> None:
        with lookup_errors(gcp_conn_id):
            extra: dict[str, Any] = BaseHook.get_connection(gcp_conn_id).extra_dejson
        self.location = check_location(location)
        self.project = check_project(project_id)
        self._gcp_conn_id = gcp_conn_id
        self._impersonation_chain = impersonation_chain
        self._fields = {name: value for name, value in extra.items() if value not in (None, "", False)}

    def get_credentials(self) -> Credentials:
        """The connection's credentials.

        :raises ConfigurationError: when the connection's settings cannot work together or cannot be read
        """
        with credential_errors(self._gcp_conn_id):
            credentials = self._sign_in()
        return credentials or self._hook_credentials()

    def endpoint(self, location: str) -> str:
        """Base URL of Vertex AI for a location."""
        field = "vertex_api_endpoint"
        return endpoint_of(location, base_url(self._fields.get(field), self._gcp_conn_id, field))

    def _hook_credentials(self) -> Credentials:
        from vertex_tuning.connection import GoogleConnection

        hook = GoogleConnection(
            location=self.location, gcp_conn_id=self._gcp_conn_id, impersonation_chain=self._impersonation_chain
        )
        return hook.get_credentials()

    def _sign_in(self) -> Credentials | None:
        """Credentials; None for unusual settings, and for faulty ones, about which the hook says what is wrong."""
        principal, delegates = self._principal_and_delegates()
        usual = self._fields.keys() <= USUAL_FIELDS and "@" in (principal or "@")
        credentials = self._source_credentials() if usual else None
        if principal is None or credentials is None or isinstance(credentials, AnonymousCredentials):
            return credentials
        return ImpersonatedCredentials(credentials, principal, self._scopes(), delegates)

    def _source_credentials(self) -> Credentials | None:
        """The account that signs in, before it acts as another."""
        scopes = self._scopes()
        credentials: Credentials | None = None
        match [self._fields.get(name) for name in ("is_anonymous", "key_path", "keyfile_dict")]:
            case [None, None, None]:
                credentials, _ = google.auth.default(scopes=scopes)
            case [_, None, None]:
                credentials = AnonymousCredentials()
            case [None, str(path), None] if path.endswith(".json"):
                credentials = ServiceAccountCredentials.from_service_account_file(path, scopes=scopes)
            case [None, None, str() | dict() as key] if info := _key_info(key):
                credentials = ServiceAccountCredentials.from_service_account_info(info, scopes=scopes)
        return credentials

    def _scopes(self) -> list[str]:
        scopes: str = self._fields.get("scope", DEFAULT_SCOPE)
        return [scope.strip() for scope in scopes.split(",")]

    def _principal_and_delegates(self) -> tuple[str | None, list[str] | None]:
        """The account to act as, and those on the way to it."""
        chain = self._impersonation_chain or self._fields.get("impersonation_chain")
        if isinstance(chain, str) and not self._impersonation_chain and "," in chain:
            chain = [account.strip() for account in chain.split(",")]
        if not chain or isinstance(chain, str):
            return chain or None, None
        *delegates, principal = chain
        return principal, delegates


def _key_info(key: str | dict[str, Any]) -> dict[str, Any] | None:
    """A service account's key; None when it is not one. Some ways of pasting it escape its line breaks twice."""
    try:
        info = json.loads(key) if isinstance(key, str) else key
        return {**info, "private_key": info["private_key"].replace("\\n", "\n")}
    except (ValueError, TypeError, LookupError, AttributeError):
        return None


def base_url(value: object, gcp_conn_id: str, field: str) -> str:
    """A base URL of the connection's extra; empty when not set.

    :raises ConfigurationError: it is none, or has a password in it: logs and links show it
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
    """Base URL of Vertex AI for a location; multi-regions have a host of their own.

    :param override: the connection's `vertex_api_endpoint`; empty when not set
    """
    if override:
        return override
    if location in MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


@contextlib.contextmanager
def lookup_errors(gcp_conn_id: str) -> Iterator[None]:
    """
    :raises ConnectionNotFoundError: when there is no such connection
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
    """
    :raises ConfigurationError: when the connection's settings cannot work together or cannot be read
    :raises VertexUnavailableError: when the credentials cannot be had just now
    """
    try:
        yield
    except GoogleAuthError as error:
        raise auth_error(error, f"Connection {gcp_conn_id!r}") from None
    except (AirflowException, ValueError) as error:
        raise ConfigurationError(plain(f"Connection {gcp_conn_id!r}: {error}", MESSAGE_SHOWN)) from error


def auth_error(error: GoogleAuthError, where: str) -> ConfigurationError | VertexUnavailableError:
    """What google-auth raises, as this package's error, which says whether a retry can help.

    Its own `retryable` is no help: it is false for a token server that cannot be reached, too. Only credentials that
    are wrong in themselves, and a refusal in the token server's own words, are for a person to change. That there are
    none may pass: it is said of a metadata server that does not answer just now, too.
    """
    answer = error.args[1] if len(error.args) > 1 else None
    refused = isinstance(answer, Mapping) and answer.get("error") in REFUSALS
    wrong = isinstance(error, MalformedError)
    kind = ConfigurationError if wrong or refused else VertexUnavailableError
    message = f"{where}: {type(error).__name__}: {error.args[0] if error.args else error}"
    return kind(plain(without_secrets(message), MESSAGE_SHOWN))
