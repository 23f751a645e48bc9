"""The Airflow connection to Google Cloud for tasks; the triggerer uses `light_connection`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from airflow.providers.google.common.hooks.base_google import GoogleBaseHook

from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.hooks.credentials import base_url, credential_errors, endpoint_of, lookup_errors
from vertex_tuning.resources.resource_names import check_location_form, check_project

if TYPE_CHECKING:
    import google.auth.credentials


class GoogleConnection(GoogleBaseHook):
    """Project, credentials and URLs, without clients.

    In addition to the fields of any Google Cloud connection, the extra may have `vertex_api_endpoint` and
    `storage_api_endpoint`. These base URLs replace Google's, for a private endpoint or the local Google Cloud.

    :param location: location of the tuning jobs, e.g. `us-central1`
    :param gcp_conn_id: the Google Cloud connection
    :param impersonation_chain: service account to impersonate, or a chain of accounts
    :param project_id: the project; if empty, the project of the connection
    :raises ConnectionNotFoundError: there is no such connection
    :raises ConfigurationError: the location is not the name of a location
    """

    def __init__(
        self,
        *,
        location: str,
        gcp_conn_id: str = GoogleBaseHook.default_conn_name,
        impersonation_chain: str | Sequence[str] | None = None,
        project_id: str | None = None,
    ) -> None:
        with lookup_errors(gcp_conn_id):
            super().__init__(gcp_conn_id=gcp_conn_id, impersonation_chain=impersonation_chain)
        self.location = check_location_form(location)
        self._project = project_id

    @cached_property
    def project(self) -> str:
        """The Google Cloud project.

        :raises ConfigurationError: neither the task nor the connection nor the credentials have a project
        """
        project = self._project or (self.get_credentials() and self.project_id)
        if not project:
            raise ConfigurationError(
                f"project_id: not given, and connection {self.gcp_conn_id!r} names none; set it in either."
            )
        return check_project(str(project))

    def get_credentials(self) -> google.auth.credentials.Credentials:
        """The credentials of the connection.

        :raises ConfigurationError: the settings of the connection contradict each other or cannot be read
        """
        with credential_errors(self.gcp_conn_id):
            return super().get_credentials()

    @property
    def is_local(self) -> bool:
        """Whether the connection leads to a local Google Cloud: Google's does not accept plain HTTP."""
        return self._base_url("vertex_api_endpoint").startswith("http://")

    @property
    def local_url(self) -> str:
        """Base URL of the local Google Cloud; empty for Google's."""
        return self.endpoint(self.location) if self.is_local else ""

    def endpoint(self, location: str) -> str:
        """Base URL of Vertex AI for a location."""
        return endpoint_of(location, self._base_url("vertex_api_endpoint"))

    @property
    def storage_endpoint(self) -> str:
        """Base URL of Cloud Storage if it is not Google's; else empty."""
        return self._base_url("storage_api_endpoint")

    def _base_url(self, field: str) -> str:
        return base_url(self._get_field(field), self.gcp_conn_id, field)
