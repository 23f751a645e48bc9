"""Delete models with their endpoints. Each step can be repeated: what is gone already counts as deleted.

Order: undeploy, delete the endpoints, delete the version. A Model whose only versions are deleted is deleted itself.
The service has no etag for these requests, so the caller reads the registry right before it deletes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseHook

from vertex_tuning.exceptions import NotFoundError
from vertex_tuning.hooks.errors import vertex_errors
from vertex_tuning.hooks.vertex_clients import VertexClients, call
from vertex_tuning.jobs.clean_up import ServingEndpoint
from vertex_tuning.resources.resource_names import ResourceName

if TYPE_CHECKING:
    from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient
    from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

    from vertex_tuning.hooks.credentials import Connection

OPERATION_SECONDS: Final = 300.0
"""Longest wait for a deletion; the service publishes no duration."""


class ModelDeletionHook(BaseHook):
    """Reads endpoints, and deletes endpoints, versions and Models.

    :param connection: connection with the credentials and the URL of each location
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._clients = VertexClients(connection)

    def find_endpoint(self, name: str) -> ServingEndpoint | None:
        """Read an endpoint; None if it does not exist.

        :param name: `projects/…/locations/…/endpoints/ID`
        """
        name = str(ResourceName.parse(name, "endpoints"))
        try:
            endpoint = call(f"reading {name}", self._endpoints(name).get_endpoint, name=name)
        except NotFoundError:
            return None
        deployed = {each.id: f"{each.model.partition('@')[0]}@{_version_of(each)}" for each in endpoint.deployed_models}
        return ServingEndpoint(name, dict(endpoint.labels), deployed)

    def delete_endpoint(self, endpoint: ServingEndpoint) -> None:
        """Undeploy all models of an endpoint, and delete it."""
        client = self._endpoints(endpoint.name)
        last = list(endpoint.deployed)[-1] if endpoint.deployed else ""
        for deployed_id in endpoint.deployed:
            self._delete(
                f"undeploying {deployed_id} from {endpoint.name}",
                client.undeploy_model,
                endpoint=endpoint.name,
                deployed_model_id=deployed_id,
                # The service undeploys a model only without traffic, or as the last one.
                traffic_split={} if deployed_id == last else {last: 100},
            )
        self._delete(f"deleting {endpoint.name}", client.delete_endpoint, name=endpoint.name)

    def delete_version(self, name: str) -> None:
        """Delete a version of a Model that has other versions.

        :param name: `projects/…/models/ID@VERSION`
        """
        self._delete(f"deleting {name}", self._models(name).delete_model_version, name=name)

    def delete_model(self, name: str) -> None:
        """Delete a Model with all its versions.

        :param name: `projects/…/models/ID`
        """
        self._delete(f"deleting {name}", self._models(name).delete_model, name=name)

    def _delete(self, doing: str, method: Callable[..., Any], **request: Any) -> None:
        """Call a method and wait for its operation. A missing resource counts as deleted."""
        self.log.info("%s%s.", doing[0].upper(), doing[1:])
        try:
            operation = call(doing, method, **request)
            with vertex_errors(doing):
                operation.result(timeout=OPERATION_SECONDS)
        except NotFoundError:
            self.log.info("It was gone already.")

    def _models(self, resource_name: str) -> ModelServiceClient:
        from google.cloud.aiplatform_v1.services.model_service import ModelServiceClient

        return self._clients.client(ModelServiceClient, resource_name)

    def _endpoints(self, resource_name: str) -> EndpointServiceClient:
        from google.cloud.aiplatform_v1.services.endpoint_service import EndpointServiceClient

        return self._clients.client(EndpointServiceClient, resource_name)


def _version_of(deployed: Any) -> str:
    return str(deployed.model_version_id or deployed.model.partition("@")[2])
