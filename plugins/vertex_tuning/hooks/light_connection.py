"""The Airflow connection to Google Cloud for the triggerer.

The import of `GoogleBaseHook` needs 30 MB: Secret Manager's client, gRPC, the API discovery client. Common connections
need only google-auth. For all other connections, this module uses the hook.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import google.auth
from airflow.sdk import BaseHook
from google.auth.credentials import AnonymousCredentials
from google.auth.impersonated_credentials import Credentials as ImpersonatedCredentials
from google.oauth2.service_account import Credentials as ServiceAccountCredentials

from vertex_tuning.hooks.credentials import base_url, credential_errors, endpoint_of, lookup_errors
from vertex_tuning.resources.resource_names import check_location_form, check_project

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

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
        "pubsub_api_endpoint",
    }
)
"""Fields of a connection that need no `GoogleBaseHook`."""


class LightConnection:
    """The same credentials, URLs and errors as `GoogleConnection`, with less memory.

    :param location: location of the tuning jobs, e.g. `us-central1`
    :param project_id: the project
    :param gcp_conn_id: the Google Cloud connection
    :param impersonation_chain: service account to impersonate, or a chain of accounts; defaults to the connection's
    :raises ConnectionNotFoundError: there is no such connection
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
        self.location = check_location_form(location)
        self.project = check_project(project_id)
        self._gcp_conn_id = gcp_conn_id
        self._impersonation_chain = impersonation_chain
        self._fields = {name: value for name, value in extra.items() if value not in (None, "", False)}

    def get_credentials(self) -> Credentials:
        """The credentials of the connection.

        :raises ConfigurationError: the settings of the connection contradict each other or cannot be read
        """
        with credential_errors(self._gcp_conn_id):
            credentials = self._sign_in()
        return credentials or self._hook_credentials()

    def endpoint(self, location: str) -> str:
        """Base URL of Vertex AI for a location."""
        return endpoint_of(location, self._base_url("vertex_api_endpoint"))

    @property
    def pubsub_endpoint(self) -> str:
        """Base URL of Pub/Sub if it is not Google's; else empty."""
        return self._base_url("pubsub_api_endpoint")

    def _base_url(self, field: str) -> str:
        return base_url(self._fields.get(field), self._gcp_conn_id, field)

    def _hook_credentials(self) -> Credentials:
        from vertex_tuning.hooks.connection import GoogleConnection

        hook = GoogleConnection(
            location=self.location, gcp_conn_id=self._gcp_conn_id, impersonation_chain=self._impersonation_chain
        )
        return hook.get_credentials()

    def _sign_in(self) -> Credentials | None:
        """Credentials; None for uncommon settings and for invalid settings, for which the hook raises the error."""
        principal, delegates = self._principal_and_delegates()
        usual = self._fields.keys() <= USUAL_FIELDS and "@" in (principal or "@")
        credentials = self._source_credentials() if usual else None
        if principal is None or credentials is None or isinstance(credentials, AnonymousCredentials):
            return credentials
        return ImpersonatedCredentials(credentials, principal, self._scopes(), delegates)

    def _source_credentials(self) -> Credentials | None:
        """Credentials of the account that signs in, before impersonation."""
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
        """The account to impersonate, and the accounts between."""
        chain = self._impersonation_chain or self._fields.get("impersonation_chain")
        if isinstance(chain, str) and not self._impersonation_chain and "," in chain:
            chain = [account.strip() for account in chain.split(",")]
        if not chain or isinstance(chain, str):
            return chain or None, None
        *delegates, principal = chain
        return principal, delegates


def _key_info(key: str | dict[str, Any]) -> dict[str, Any] | None:
    """Parse the key of a service account; None if it is not a key. Pasted keys may have line breaks escaped twice."""
    try:
        info = json.loads(key) if isinstance(key, str) else key
        return {**info, "private_key": info["private_key"].replace("\\n", "\n")}
    except (ValueError, TypeError, LookupError, AttributeError):
        return None
