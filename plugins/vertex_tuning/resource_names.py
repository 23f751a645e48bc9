"""Names of Google Cloud resources, read strictly: a name decides which host gets the access token. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from vertex_tuning.exceptions import ConfigurationError

ResourceKind = Literal["tuningJobs", "models", "endpoints", "contexts", "tensorboards", "timeSeries"]

_PROJECT: Final = r"[a-z0-9](?:[a-z0-9.:-]{0,61}[a-z0-9])?"
_LOCATION: Final = r"(?=.{1,40}(?:/|\Z))[a-z]+(?:-[a-z]+)*[0-9]{0,2}"
_ID: Final = r"[A-Za-z0-9_-]{1,256}"
_KINDS: Final[dict[ResourceKind, str]] = {
    "tuningJobs": rf"tuningJobs/{_ID}",
    "models": rf"models/{_ID}(?:@[A-Za-z0-9_-]{{1,128}})?",
    "endpoints": rf"endpoints/{_ID}",
    "contexts": rf"metadataStores/{_ID}/contexts/{_ID}",
    "tensorboards": rf"tensorboards/{_ID}",
    "timeSeries": rf"tensorboards/{_ID}/experiments/{_ID}/runs/{_ID}/timeSeries/{_ID}",
}
_ANY: Final = re.compile(rf"projects/({_PROJECT})/locations/({_LOCATION})(?:/[A-Za-z0-9@._-]{{1,512}})+(?::[A-Za-z]+)?")


@dataclass(frozen=True)
class ResourceName:
    """The parts of `projects/PROJECT/locations/LOCATION/…`. The service writes the project's number, people its id."""

    project: str
    location: str
    path: str

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/{self.path}"

    @property
    def id(self) -> str:
        """The last part: the resource's own id, with a model's version."""
        return self.path.rpartition("/")[2]

    @classmethod
    def parse(cls, name: str, kind: ResourceKind) -> ResourceName:
        """Read the name of a resource of one kind.

        :param name: `projects/PROJECT/locations/LOCATION/KIND/ID`; a model's may end in `@VERSION`
        :raises ConfigurationError: when it is anything else
        """
        found = re.fullmatch(rf"projects/({_PROJECT})/locations/({_LOCATION})/({_KINDS[kind]})", str(name))
        if not found:
            expected = f"projects/PROJECT/locations/LOCATION/{kind}/ID"
            raise ConfigurationError(f"Found {str(name)[:200]!r} as a resource name, expected {expected}.")
        return cls(*found.groups())


def check_location_form(location: str) -> str:
    """Return a location that has the form of one, e.g. `us-central1` or `eu`.

    :raises ConfigurationError: when it has not
    """
    if not re.fullmatch(_LOCATION, location):
        raise ConfigurationError(f"location: found {location[:100]!r}, expected one such as 'us-central1'.")
    return location


def check_project(project: str) -> str:
    """Return a project id or number that has the form of one.

    :raises ConfigurationError: when it has not
    """
    if not re.fullmatch(_PROJECT, project):
        raise ConfigurationError(f"project_id: found {project[:100]!r}, expected a project's id or number.")
    return project


def location_of(name: str) -> str:
    """The location in the name of a resource of any kind, with or without a custom method behind it.

    :raises ConfigurationError: when it is no such name, or has characters that end a path
    """
    return _parts(name)[1]


def project_of(name: str) -> str:
    """The project in the name of a resource of any kind; returned names hold its number.

    :raises ConfigurationError: as `location_of`
    """
    return _parts(name)[0]


def _parts(name: str) -> tuple[str, str]:
    found = _ANY.fullmatch(name)
    if not found or ".." in name:
        raise ConfigurationError(f"Found {name[:200]!r} as a resource name, expected projects/…/locations/…/….")
    return found[1], found[2]
