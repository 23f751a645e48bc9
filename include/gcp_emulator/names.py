"""Resource names, ids and times as Vertex AI writes them."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

_PROJECT = re.compile(r"^projects/([^/]+)")


def project_number(project: str) -> str:
    """The number of a project: the id itself if it is a number, else 12 digits that depend on the id alone."""
    if project.isascii() and project.isdigit():
        return project
    digest = hashlib.sha256(project.encode()).digest()
    return str(10**11 + int.from_bytes(digest[:8], "big") % (9 * 10**11))


def canonical(name: str) -> str:
    """The resource name with the project's number in place of its id."""
    return _PROJECT.sub(lambda match: f"projects/{project_number(match[1])}", name)


def location_of(name: str) -> str:
    """`us-central1` of `projects/1/locations/us-central1/tuningJobs/2`."""
    return name.split("/")[3]


def parent_of(name: str) -> str:
    """`projects/1/locations/us-central1` of any resource name below it."""
    return "/".join(name.split("/")[:4])


def timestamp(moment: datetime | None = None) -> str:
    """RFC 3339 in UTC with six digits, as the service prints it; now if no time is given."""
    return (moment or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
