"""Model Registry and endpoints of tuned models.

Versions are stored one by one under `…/models/ID@VERSION`; an alias is on one version at a time. Rules:
https://docs.cloud.google.com/gemini-enterprise-agent-platform/machine-learning/model-registry/model-alias and the
discovery document (models.delete, models.deleteVersion, endpoints.undeployModel).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ..base_models import BaseModel
from ..errors import FailedPrecondition, InvalidArgument, NotFound
from ..names import location_of, parent_of, timestamp
from ..state import Resource, Store, new_id

DEFAULT_ALIAS: Final = "default"


class RegistryService:
    """Models with their versions and checkpoints, and the endpoints they are deployed to."""

    def __init__(self, store: Store) -> None:
        self.store = store

    # Models

    def publish_model(
        self, parent: str, display_name: str, base: BaseModel, labels: dict[str, str], *, description: str = "",
        version_of: str | None = None,
    ) -> str:  # fmt: skip
        """Add a model, or a version of a model. A first version is the default.

        :param parent: `projects/NUMBER/locations/LOCATION`
        :param version_of: name of a model without a version
        :return: `…/models/ID@VERSION`
        """
        model = version_of or f"{parent}/models/{new_id()}"
        number = 1 + max((int(version["versionId"]) for version in self.versions(model)), default=0)
        now = timestamp()
        first = next(self.versions(model), None)
        version: Resource = {
            "name": model,
            "versionId": str(number),
            "versionAliases": [] if first else [DEFAULT_ALIAS],
            "displayName": display_name,
            "description": description,
            "labels": labels,
            "createTime": first["createTime"] if first else now,
            "updateTime": now,
            "versionCreateTime": now,
            "versionUpdateTime": now,
            "modelSourceInfo": {"sourceType": "GENIE"},
            "baseModelSource": {"genieSource": {"baseModelUri": f"publishers/google/models/{base.name}"}},
            "supportedDeploymentResourcesTypes": ["SHARED_RESOURCES"],
            "etag": new_id(),
            "checkpoints": [],
            "weights": {},
        }
        self.save(version)
        return f"{model}@{number}"

    def save(self, version: Resource) -> None:
        """Store the current state of a version."""
        self.store.put("models", f"{version['name']}@{version['versionId']}", version)

    def add_checkpoint(self, version_name: str, checkpoint: Resource, weights: Path) -> None:
        """Add a checkpoint (checkpointId, epoch, step) and the path of its weights. The latest is the default."""
        version = self.version(version_name)
        version["checkpoints"].append(checkpoint)
        version["defaultCheckpointId"] = checkpoint["checkpointId"]
        version["weights"][checkpoint["checkpointId"]] = str(weights)
        self.save(version)

    def make_default(self, version_name: str) -> None:
        """Move the alias `default` to a version."""
        self.merge_aliases(version_name, [DEFAULT_ALIAS])

    def merge_aliases(self, version_name: str, aliases: list[str]) -> Resource:
        """Add aliases, and remove those that begin with `-`. An alias of another version moves.

        :raises InvalidArgument: the change would remove the alias `default`
        """
        chosen = self.version(version_name)
        added = [alias for alias in aliases if not alias.startswith("-")]
        removed = {alias[1:] for alias in aliases if alias.startswith("-")}
        if DEFAULT_ALIAS in removed:
            raise InvalidArgument("The alias 'default' cannot be removed; assign it to another version instead.")
        for version in list(self.versions(chosen["name"])):
            merged = [alias for alias in version["versionAliases"] if alias not in added]
            if version["versionId"] == chosen["versionId"]:
                merged = [alias for alias in merged if alias not in removed] + added
            if merged != version["versionAliases"]:
                self.save(version | {"versionAliases": merged, "versionUpdateTime": timestamp()})
        return self.version(version_name)

    def versions(self, model: str) -> Iterator[Resource]:
        """All versions of a model, newest first."""
        return self.store.list("models", model + "@")

    def version(self, name: str) -> Resource:
        """A version by `…/models/ID`, `…/ID@VERSION` or `…/ID@ALIAS`.

        :raises NotFound: the version does not exist
        """
        model, _, tag = name.partition("@")
        tag = tag or DEFAULT_ALIAS
        for version in self.versions(model):
            if tag in (version["versionId"], *version["versionAliases"]):
                return version
        raise NotFound(f"The Model does not exist: {name}")

    def delete_version(self, name: str) -> None:
        """Delete a version of a model.

        :raises FailedPrecondition: the version is the only one, the default, or deployed
        """
        version = self.version(name)
        if len(list(self.versions(version["name"]))) == 1:
            raise FailedPrecondition(f"{name} is the only version of its model; delete the model instead.")
        if DEFAULT_ALIAS in version["versionAliases"]:
            raise FailedPrecondition(f"{name} is the default version; move the alias 'default' first.")
        self._check_not_deployed(version["name"], version["versionId"])
        self.store.delete("models", f"{version['name']}@{version['versionId']}")

    def delete_model(self, model: str) -> None:
        """Delete a model with all its versions.

        :raises FailedPrecondition: a version of it is deployed
        """
        versions = [version["versionId"] for version in self.versions(model)]
        if not versions:
            raise NotFound(f"The Model does not exist: {model}")
        self._check_not_deployed(model, *versions)
        for version in versions:
            self.store.delete("models", f"{model}@{version}")

    def _check_not_deployed(self, model: str, *versions: str) -> None:
        deployments = self.deployments(model)
        places = [place for version in versions for place in deployments.get(f"{model}@{version}", [])]
        endpoints = sorted({place["endpoint"] for place in places})
        if endpoints:
            raise FailedPrecondition(
                f"The Model {model} is deployed to {', '.join(endpoints[:5])}. Undeploy it before deleting it."
            )

    def deployments(self, name: str) -> dict[str, list[Resource]]:
        """The deployments of a project's model versions: `endpoint` and `deployedModelId` by the version's name.

        :param name: any resource name of the project
        """
        deployments: dict[str, list[Resource]] = {}
        for endpoint in self.store.list("endpoints", name.split("/locations/")[0] + "/"):
            for deployed in endpoint["deployedModels"]:
                place = {"endpoint": endpoint["name"], "deployedModelId": deployed["id"]}
                deployments.setdefault(deployed["model"], []).append(place)
        return deployments

    # Endpoints

    def create_endpoint(self, version_name: str, base: BaseModel, checkpoint_id: str | None = None) -> str:
        """Deploy a version's checkpoint to a new endpoint, in the location where models of that base serve.

        :return: the endpoint's name
        """
        version = self.version(version_name)
        project = parent_of(version_name).split("/locations/")[0]
        location = base.serving_location(location_of(version_name))
        name, now = f"{project}/locations/{location}/endpoints/{new_id()}", timestamp()
        endpoint: Resource = {
            "name": name,
            "displayName": version["displayName"],
            "labels": version["labels"],
            "createTime": now,
            "updateTime": now,
            "etag": new_id(),
            "deployedModels": [],
            "trafficSplit": {},
        }
        self.store.put("endpoints", name, endpoint)
        self.deploy(name, version_name, checkpoint_id)
        return name

    def deploy(self, endpoint_name: str, version_name: str, checkpoint_id: str | None = None) -> None:
        """Make a version's checkpoint the only model of an endpoint."""
        endpoint, version = self.endpoint(endpoint_name), self.version(version_name)
        deployed = {
            "id": new_id(),
            "model": f"{version['name']}@{version['versionId']}",
            "modelVersionId": version["versionId"],
            "displayName": version["displayName"],
            "createTime": timestamp(),
        } | ({"checkpointId": checkpoint_id} if checkpoint_id else {})
        split = {deployed["id"]: 100}
        changed = {"deployedModels": [deployed], "trafficSplit": split, "updateTime": timestamp()}
        self.store.put("endpoints", endpoint_name, endpoint | changed)

    def endpoint(self, name: str) -> Resource:
        """Find an endpoint by its name.

        :raises NotFound: the endpoint does not exist
        """
        endpoint = self.store.get("endpoints", name)
        if endpoint is None:
            raise NotFound(f"The Endpoint does not exist: {name}{self._elsewhere(name)}")
        return endpoint

    def _elsewhere(self, name: str) -> str:
        """A hint if the endpoint is in another location: models of the 3.x generation serve only in us or eu."""
        project, endpoint_id = name.split("/locations/")[0], name.rsplit("/", 1)[-1]
        names = (endpoint["name"] for endpoint in self.store.list("endpoints", project + "/"))
        elsewhere = [other for other in names if other.endswith(f"/{endpoint_id}")]
        return f". Its model can serve only from location {location_of(elsewhere[0])}." if elsewhere else ""

    def undeploy(self, name: str, deployed_model_id: str) -> None:
        """Remove a deployed model from an endpoint.

        :raises NotFound: the model is not deployed there
        """
        endpoint = self.endpoint(name)
        left = [deployed for deployed in endpoint["deployedModels"] if deployed["id"] != deployed_model_id]
        if len(left) == len(endpoint["deployedModels"]):
            raise NotFound(f"The DeployedModel {deployed_model_id} does not exist in {name}")
        split = {key: share for key, share in endpoint["trafficSplit"].items() if key != deployed_model_id}
        changed = {"deployedModels": left, "trafficSplit": split, "updateTime": timestamp()}
        self.store.put("endpoints", name, endpoint | changed)

    def delete_endpoint(self, name: str) -> None:
        """Delete an endpoint.

        :raises FailedPrecondition: a model is deployed to it
        """
        if self.endpoint(name)["deployedModels"]:
            raise FailedPrecondition(f"The Endpoint {name} has deployed models. Undeploy them before deleting it.")
        self.store.delete("endpoints", name)

    def withdraw(self, version_name: str) -> None:
        """Remove an unfinished version with its endpoints, because its job was cancelled or starts again."""
        for place in self.deployments(version_name).get(version_name, []):
            self.store.delete("endpoints", place["endpoint"])
        self.store.delete("models", version_name)

    def weights_of_endpoint(self, endpoint_name: str) -> Path:
        """The weights that an endpoint serves.

        :raises NotFound: the endpoint does not exist in this location
        :raises FailedPrecondition: nothing is deployed to it
        """
        endpoint = self.endpoint(endpoint_name)
        serving = [item for item in endpoint["deployedModels"] if endpoint["trafficSplit"].get(item["id"])]
        if not serving:
            raise FailedPrecondition(f"Endpoint {endpoint_name} doesn't have traffic_split.")
        return self.weights(serving[0]["model"], serving[0].get("checkpointId"))

    def weights(self, version_name: str, checkpoint_id: str | None = None) -> Path:
        """The weights of a version's checkpoint, by default of its default checkpoint.

        :raises NotFound: the checkpoint does not exist
        :raises FailedPrecondition: the version was not trained, because its job was scripted
        """
        version = self.version(version_name)
        if not version["weights"]:
            raise FailedPrecondition(f"{version_name} has no weights: its tuning job followed a script.")
        weights = version["weights"].get(checkpoint_id or version.get("defaultCheckpointId", ""))
        if weights is None:
            raise NotFound(f"The checkpoint {checkpoint_id} does not exist in {version_name}.")
        return Path(weights)
