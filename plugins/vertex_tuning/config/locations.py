"""Check where a job runs and where its data is stored: Google's locations and bucket names."""

from __future__ import annotations

import datetime
import re
from functools import cache
from typing import Final

import msgspec

from vertex_tuning.config.data_tables import read_table, table_path
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.text.suggestions import did_you_mean
from vertex_tuning.text.templates import template_mark

_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_ADDRESS: Final = re.compile(r"\d+\.\d+\.\d+\.\d+")
_OF_GOOGLE: Final = re.compile(r"^goog|g[o0]{2}g[l1]e")
"""Names that Google reserves, and names that look similar."""
_PART: Final = 63
"""Most characters of a bucket name without dots, or of each part between dots."""

_EXPECTED: Final = (
    "expected the name of a bucket: 3 to 63 lower-case letters, digits, dots, hyphens and underscores. It must have a "
    "letter or digit at both ends and next to each dot. It must not contain google or begin with goog."
)


class _Locations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    read: datetime.date
    regions: list[str]
    multi_regions: list[str]


@cache
def known_locations() -> tuple[str, ...]:
    """Google Cloud's regions and the multi-regions of Vertex AI, from the package's table.

    :raises ConfigurationError: the table cannot be read
    """
    table = read_table("locations", table_path("locations"), _Locations)
    return (*table.regions, *table.multi_regions)


def check_location(location: str) -> str:
    """Return a location in which Google tunes models.

    :param location: name of the location, or a template, which only a run can check
    :raises ConfigurationError: Google has no such location, or does not tune models there
    """
    if template_mark(location) or location in known_locations():
        return location
    if location == "global":
        raise ConfigurationError("Gemini models are not tuned at the global endpoint; expected a region.")
    raise ConfigurationError(f"no known location: {did_you_mean(location, known_locations())}")


def check_bucket(bucket: str) -> str:
    """Return a valid name of a bucket.

    Rules: https://docs.cloud.google.com/storage/docs/buckets#naming

    :param bucket: name of the bucket; may contain templates
    :raises ConfigurationError: it cannot be the name of a bucket
    """
    if bucket.startswith("gs://") or "/" in re.sub(r"\{\{.*?\}\}", "", bucket):
        name = bucket.removeprefix("gs://").partition("/")[0]
        raise ConfigurationError(f"expected the name of a bucket alone, as {name!r}: no gs:// and no folder.")
    if not template_mark(bucket) and not _is_bucket(bucket):
        raise ConfigurationError(_EXPECTED)
    return bucket


def check_bucket_of(uri: str) -> None:
    """Check the bucket of a `gs://` URI; a URI of another scheme passes.

    :param uri: any URI; may contain templates
    :raises ConfigurationError: no bucket can have this name
    """
    scheme, _, path = uri.partition("://")
    bucket = path.partition("/")[0]
    if scheme.lower() == "gs" and not template_mark(bucket) and not _is_bucket(bucket):
        raise ConfigurationError(f"found the bucket {bucket[:80]!r}, {_EXPECTED}")


def _is_bucket(name: str) -> bool:
    fits = bool(_BUCKET.fullmatch(name)) and not _ADDRESS.fullmatch(name) and not _OF_GOOGLE.search(name)
    parts = name.split(".")
    return fits and all(part and len(part) <= _PART and part == part.strip("-") for part in parts)
