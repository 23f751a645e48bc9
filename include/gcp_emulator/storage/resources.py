"""The `storage#bucket` and `storage#object` resources: the fields that a caller may set, and their form in responses.

Field names and types: the discovery document of storage v1.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..state import Resource
from .rules import invalid

# Sent back as HTTP headers, so they must not break out of one.
_HEADER_TEXT = r"^[^\x00-\x1f\x7f]*\Z"
HeaderText = Annotated[str, Meta(pattern=_HEADER_TEXT)]
Instant = Annotated[datetime, Meta(tz=True)]
StorageClass = Literal[
    "STANDARD", "NEARLINE", "COLDLINE", "ARCHIVE", "MULTI_REGIONAL", "REGIONAL", "DURABLE_REDUCED_AVAILABILITY"
]  # fmt: skip

_MULTI_REGIONS = {"US", "EU", "ASIA"}
_DUAL_REGIONS = {"NAM4", "EUR4", "EUR5", "EUR7", "EUR8", "ASIA1"}


class ObjectFields(msgspec.Struct, rename="camel"):
    """Fields of an object that a caller may set. In a patch, null clears a field, and a missing field stays."""

    cache_control: HeaderText | UnsetType | None = UNSET
    content_disposition: HeaderText | UnsetType | None = UNSET
    content_encoding: HeaderText | UnsetType | None = UNSET
    content_language: HeaderText | UnsetType | None = UNSET
    content_type: HeaderText | UnsetType | None = UNSET
    custom_time: Instant | UnsetType | None = UNSET
    metadata: dict[str, str | None] | UnsetType | None = UNSET
    storage_class: StorageClass | UnsetType | None = UNSET


class NewObject(ObjectFields):
    """The metadata of an upload: also the name, and checksums that must match the content."""

    name: str | None = None
    bucket: str | None = None
    crc32c: str | None = None
    md5_hash: str | None = None


class Versioning(msgspec.Struct):
    """`versioning` of a bucket: whether it keeps noncurrent versions of objects."""

    enabled: bool = False


class UniformAccess(msgspec.Struct):
    """`uniformBucketLevelAccess` of a bucket: whether access lists of objects are disabled."""

    enabled: bool = False


class IamConfiguration(msgspec.Struct, rename="camel"):
    """`iamConfiguration` of a bucket."""

    uniform_bucket_level_access: UniformAccess | UnsetType = UNSET
    public_access_prevention: Literal["inherited", "enforced", "unspecified"] | UnsetType = UNSET


class BucketFields(msgspec.Struct, rename="camel"):
    """Fields of a bucket that a caller may set at any time."""

    iam_configuration: IamConfiguration | UnsetType | None = UNSET
    labels: dict[str, str | None] | UnsetType | None = UNSET
    storage_class: StorageClass | UnsetType | None = UNSET
    versioning: Versioning | UnsetType | None = UNSET


class NewBucket(BucketFields):
    """Fields of a new bucket. Its location cannot change later."""

    name: str = ""
    location: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{0,40}\Z")] | None = None


class ObjectPreconditions(msgspec.Struct, rename="camel"):
    """Preconditions on a source object of a compose request."""

    if_generation_match: int | None = None


class ComposeSource(msgspec.Struct, rename="camel"):
    """A source object of a compose request."""

    name: str
    generation: int | None = None
    object_preconditions: ObjectPreconditions | None = None


class ComposeRequest(msgspec.Struct, rename="camel"):
    """The body of a compose request, which joins objects."""

    source_objects: list[ComposeSource] = []
    destination: NewObject = msgspec.field(default_factory=NewObject)
    delete_source_objects: bool = False


def header_value(text: str) -> str:
    """A text from outside a JSON body, which is sent back as a header.

    :raises StorageError: 400: the text has control characters
    """
    if not re.match(_HEADER_TEXT, text):
        raise invalid(f"Invalid value: {text[:100]!r} has control characters.")
    return text


def settable(fields: ObjectFields | BucketFields, of: type[ObjectFields | BucketFields]) -> Resource:
    """The fields that the caller set, as JSON values (None for null)."""
    sent: Resource = msgspec.to_builtins(fields)
    if sent.get("customTime"):
        sent["customTime"] = _utc(sent["customTime"])
    return {name: sent[name] for name in of.__struct_encode_fields__ if name in sent}


def _utc(text: str) -> str:
    try:
        return timestamp(datetime.fromisoformat(text).astimezone(UTC))
    except OverflowError:
        raise invalid(f"Invalid custom time: {text}") from None


def merge(resource: Mapping[str, Any], changes: Mapping[str, Any]) -> Resource:
    """JSON merge patch (RFC 7396): null removes a field, and an object is merged into the existing object."""
    merged = dict(resource)
    for name, value in changes.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            merged[name] = merge(merged.get(name, {}), value)
        else:
            merged[name] = value
    return merged


def now() -> datetime:
    """The current time, UTC."""
    return datetime.now(UTC)


def timestamp(moment: datetime) -> str:
    """A time as Cloud Storage writes it: RFC 3339, milliseconds, UTC."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def etag(*numbers: int) -> str:
    """The service's own form: the numbers as protobuf fields 1, 2 … in base64, such as `CJqzxN2a1/kCEAE=`."""
    message = b""
    for field, number in enumerate(numbers, start=1):
        message += bytes([field << 3]) + _varint(number)
    return base64.b64encode(message).decode()


def _varint(number: int) -> bytes:
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(high) if high else bytes([low])


def location_type(location: str) -> str:
    """The type of a bucket's location: `region`, `dual-region` or `multi-region`."""
    if location in _MULTI_REGIONS:
        return "multi-region"
    return "dual-region" if location in _DUAL_REGIONS else "region"


def bucket_resource(row: Resource, base_url: str) -> Resource:
    """A stored bucket as the response shows it; `base_url` is the address the caller used, with a final slash."""
    return {
        "kind": "storage#bucket",
        "id": row["name"],
        "selfLink": f"{base_url}storage/v1/b/{row['name']}",
        "etag": etag(int(row["metageneration"])),
        **row,
    }


def object_resource(row: Resource, base_url: str) -> Resource:
    """A stored object as the response shows it, without the emulator's internal fields."""
    path = f"storage/v1/b/{row['bucket']}/o/{quote(row['name'], safe='')}"
    generation = row["generation"]
    return {
        "kind": "storage#object",
        "id": f"{row['bucket']}/{row['name']}/{generation}",
        "selfLink": f"{base_url}{path}",
        "mediaLink": f"{base_url}download/{path}?generation={generation}&alt=media",
        "etag": etag(int(generation), int(row["metageneration"])),
        **{name: value for name, value in row.items() if name != "file"},
    }
