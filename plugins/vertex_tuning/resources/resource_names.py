"""Parse names of Google Cloud resources strictly: a name decides which host gets the access token. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from vertex_tuning.exceptions import ConfigurationError

ResourceKind = Literal["tuningJobs", "models", "endpoints", "contexts", "tensorboards", "timeSeries", "publishers"]

_PROJECT: Final = r"[a-z0-9](?:[a-z0-9.:-]{0,61}[a-z0-9])?"
_LOCATION: Final = r"(?=.{1,40}(?:/|\Z))[a-z]+(?:-[a-z]+)*[0-9]{0,2}"
_ID: Final = r"[A-Za-z0-9_-]{1,256}"
_KINDS: Final[dict[ResourceKind, str]] = {
    "tuningJobs": rf"tuningJobs/{_ID}",
    "models": rf"models/{_ID}(?:@[A-Za-z0-9_-]{{1,128}})?",
    "endpoints": rf"endpoints/{_ID}",
    "publishers": r"publishers/google/models/[A-Za-z0-9._-]{1,256}(?:@[A-Za-z0-9_-]{1,128})?",
    "contexts": rf"metadataStores/{_ID}/contexts/{_ID}",
    "tensorboards": rf"tensorboards/{_ID}",
    "timeSeries": rf"tensorboards/{_ID}/experiments/{_ID}/runs/{_ID}/timeSeries/{_ID}",
}
_ANY: Final = re.compile(rf"projects/({_PROJECT})/locations/({_LOCATION})(?:/[A-Za-z0-9@._-]{{1,512}})+(?::[A-Za-z]+)?")


@dataclass(frozen=True)
class ResourceName:
    """The parts of `projects/PROJECT/locations/LOCATION/PATH`.

    :param project: id of the project, or its number, which the service returns
    :param location: e.g. `us-central1`
    :param path: collection and id, e.g. `models/123@2`
    """

    project: str
    location: str
    path: str

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/{self.path}"

    @property
    def id(self) -> str:
        """The id of the resource: the last part of its name, e.g. `123@2`."""
        return self.path.rpartition("/")[2]

    @classmethod
    def parse(cls, name: str, kind: ResourceKind) -> ResourceName:
        """Parse the name of a resource.

        :param name: `projects/PROJECT/locations/LOCATION/KIND/ID`; the name of a model may end in `@VERSION`
        :param kind: expected kind of the resource
        :raises ConfigurationError: the name has another form or kind
        """
        parts = re.fullmatch(rf"projects/({_PROJECT})/locations/({_LOCATION})/({_KINDS[kind]})", str(name))
        if not parts:
            expected = f"projects/PROJECT/locations/LOCATION/{kind}/ID"
            raise ConfigurationError(f"Found {str(name)[:200]!r} as a resource name, expected {expected}.")
        return cls(*parts.groups())


def check_location_form(location: str) -> str:
    """Return a location if it has the form of a location, e.g. `us-central1` or `eu`.

    :raises ConfigurationError: the location has another form
    """
    if not re.fullmatch(_LOCATION, location):
        raise ConfigurationError(f"location: found {location[:100]!r}, expected a location such as 'us-central1'.")
    return location


def check_project(project: str) -> str:
    """Return a project if it has the form of a project's id or number.

    :raises ConfigurationError: the project has another form
    """
    if not re.fullmatch(_PROJECT, project):
        raise ConfigurationError(f"project_id: found {project[:100]!r}, expected a project's id or number.")
    return project


def location_of(name: str) -> str:
    """The location in the name of a resource of any kind.

    :param name: `projects/PROJECT/locations/LOCATION/…`, with or without a method such as `:cancel` at its end
    :raises ConfigurationError: the name has another form, or characters that end a path
    """
    return _parts(name)[1]


def project_of(name: str) -> str:
    """The project in the name of a resource of any kind: its id, or its number in names that the service returns.

    :param name: `projects/PROJECT/locations/LOCATION/…`, with or without a method such as `:cancel` at its end
    :raises ConfigurationError: the name has another form, or characters that end a path
    """
    return _parts(name)[0]


def _parts(name: str) -> tuple[str, str]:
    parts = _ANY.fullmatch(name)
    if not parts or ".." in name:
        raise ConfigurationError(f"Found {name[:200]!r} as a resource name, expected projects/…/locations/…/….")
    return parts[1], parts[2]
