"""The Airflow connection to Google Cloud. Light enough for the triggerer, where the clients are not wanted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
from google.auth.exceptions import GoogleAuthError, MalformedError

from vertex_tuning.exceptions import ConfigurationError, ConnectionNotFoundError, VertexUnavailableError
from vertex_tuning.plain_text import MESSAGE_SHOWN, plain, without_secrets
from vertex_tuning.resource_names import check_location, check_project

if TYPE_CHECKING:
    import google.auth.credentials

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
"""What a token server refuses for good: RFC 6749, section 5.2."""


class GoogleConnection(GoogleBaseHook):
    """Project, credentials and addresses, without any of the clients.

    On top of what every Google Cloud connection takes, the connection's extra may hold `vertex_api_endpoint` and
    `storage_api_endpoint`: base URLs that replace Google's own, for a private endpoint or the local Google Cloud.

    :param location: where tuning jobs run, e.g. `us-central1`
    :param gcp_conn_id: the Google Cloud connection
    :param impersonation_chain: service account to act as, or a chain of them
    :param project_id: the project; the connection's when empty
    :raises ConnectionNotFoundError: when there is no such connection
    :raises ConfigurationError: when the location has not the form of one
    """

    def __init__(
        self,
        *,
        location: str,
        gcp_conn_id: str = GoogleBaseHook.default_conn_name,
        impersonation_chain: str | Sequence[str] | None = None,
        project_id: str | None = None,
    ) -> None:
        try:
            super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
        except AirflowNotFoundException as error:
            raise ConnectionNotFoundError(
                f"gcp_conn_id: found {gcp_conn_id!r}, which is not defined, expected a Google Cloud connection. "
                "Add it under Admin > Connections or as AIRFLOW_CONN_… in the environment. "
                "(If it is there, Airflow could not look it up just now.)"
            ) from error
        self.location = check_location(location)
        self._project = project_id

    @cached_property
    def project(self) -> str:
        """The project to work in.

        :raises ConfigurationError: when neither the task nor the connection nor the credentials name one
        """
        project = self._project or (self.get_credentials() and self.project_id)
        if not project:
            raise ConfigurationError(
                f"project_id: not given, and connection {self.gcp_conn_id!r} names none; set it in either."
            )
        return check_project(str(project))

    def get_credentials(self) -> google.auth.credentials.Credentials:
        """The connection's credentials.

        :raises ConfigurationError: when the connection's settings cannot work together or cannot be read
        """
        try:
            return super().get_credentials()
        except GoogleAuthError as error:
            raise auth_error(error, f"Connection {self.gcp_conn_id!r}") from None
        except (AirflowException, ValueError) as error:
            raise ConfigurationError(plain(f"Connection {self.gcp_conn_id!r}: {error}", MESSAGE_SHOWN)) from error

    @property
    def is_local(self) -> bool:
        """Whether it leads to a local Google Cloud: Google's own speaks no plain HTTP."""
        return str(self._get_field("vertex_api_endpoint") or "").startswith("http://")

    def endpoint(self, location: str) -> str:
        """Base URL of Vertex AI for a location; multi-regions have a host of their own."""
        if override := self._base_url("vertex_api_endpoint"):
            return override
        if location in MULTI_REGIONS:
            return f"https://aiplatform.{location}.rep.googleapis.com"
        return f"https://{location}-aiplatform.googleapis.com"

    @property
    def storage_endpoint(self) -> str:
        """Base URL of Cloud Storage when it is not Google's own; else empty."""
        return self._base_url("storage_api_endpoint")

    def _base_url(self, field: str) -> str:
        """A base URL of the connection's extra; empty when not set.

        :raises ConfigurationError: it is none, or has a password in it: logs and links show it
        """
        url = str(self._get_field(field) or "")
        if url and not _BASE_URL.fullmatch(url):
            raise ConfigurationError(
                f"Connection {self.gcp_conn_id!r}, {field}: found a text that is not quoted, as it may hold a "
                "password, expected http(s)://HOST[:PORT][/PATH] without user, password and query. "
                "Put credentials into the connection's keyfile."
            )
        return url


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
