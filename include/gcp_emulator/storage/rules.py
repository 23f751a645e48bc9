"""The rules of Cloud Storage: names, numbers, preconditions and the texts of its refusals.

Names: https://cloud.google.com/storage/docs/buckets#naming and https://cloud.google.com/storage/docs/objects#naming.
Preconditions: https://cloud.google.com/storage/docs/request-preconditions.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from ..errors import StorageError
from ..state import Resource

_BUCKET_LABEL = re.compile(r"[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
_INT64 = range(-(2**63), 2**63)

T = TypeVar("T")


class RefusedError(StorageError):
    """A refusal of both APIs.

    :param reason: its name in the JSON API
    :param code: its name in the XML API
    """

    def __init__(
        self,
        http: int,
        reason: str,
        message: str,
        *,
        code: str = "InvalidArgument",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(http, reason, message, headers=headers)
        self.xml_code = code


class NotModifiedError(RefusedError):
    """304, without a body: the `if…NotMatch` of a read names the stored version."""

    def __init__(self) -> None:
        super().__init__(304, "notModified", "Not Modified", code="NotModified")


class OffsetGapError(RefusedError):
    """A chunk starts beyond the bytes of a session. Only this refusal is plain text."""

    def __init__(self, offset: int, kept: int) -> None:
        message = (
            f"Invalid request.  According to the Content-Range header, the upload offset is {offset} byte(s), "
            f"which exceeds already uploaded size of {kept} byte(s)."
        )
        super().__init__(503, "backendError", message, code="ServiceUnavailable")


def invalid(message: str, reason: str = "invalid", code: str = "InvalidArgument") -> RefusedError:
    """The error for an invalid request (400)."""
    return RefusedError(400, reason, message, code=code)


def bucket_not_found() -> RefusedError:
    """The error for a bucket that does not exist (404)."""
    return RefusedError(404, "notFound", "The specified bucket does not exist.", code="NoSuchBucket")


def object_not_found(bucket: str, name: str) -> RefusedError:
    """The error for an object that does not exist (404)."""
    return RefusedError(404, "notFound", f"No such object: {bucket}/{name}", code="NoSuchKey")


def condition_not_met() -> RefusedError:
    """The error for a precondition that does not hold (412)."""
    message = "At least one of the pre-conditions you specified did not hold."
    return RefusedError(412, "conditionNotMet", message, code="PreconditionFailed")


def parse_int(name: str, text: str | None) -> int | None:
    """An int64 query parameter; None if it is missing."""
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,19}", text, re.ASCII) or int(text) not in _INT64:
        raise invalid(f"Invalid long value: '{text[:100]}'. Parameter: {name}.", "invalidParameter")
    return int(text)


def parse_bool(name: str, text: str | None) -> bool:
    """A boolean query parameter in any case (the Python client sends `True`); false if it is missing."""
    value = (text or "false").lower()
    if value in ("true", "false"):
        return value == "true"
    raise invalid(f"Invalid boolean value: '{value[:100]}'. Parameter: {name}.", "invalidParameter")


def check_bucket_name(name: str) -> str:
    """3-63 characters (222 when dotted), lower case, no IP address, not Google's own."""
    labels = name.split(".")
    well_formed = all(_BUCKET_LABEL.fullmatch(label) for label in labels)
    length_ok = 3 <= len(name) <= (222 if len(labels) > 1 else 63)
    if not well_formed or not length_ok or _is_ip(name) or name.startswith("goog") or "google" in name:
        raise invalid(f"Invalid bucket name: '{name[:300]}'", code="InvalidBucketName")
    return name


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def check_object_name(name: str) -> str:
    """1-1024 bytes of UTF-8 without line breaks; anything else, slashes and dots included, is just a name."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise invalid("Invalid object name: it is not valid Unicode.") from None
    reserved = name in (".", "..") or name.startswith(".well-known/acme-challenge/")
    if not 1 <= length <= 1024:
        raise invalid(f"The object name must be 1 to 1024 bytes long; this one has {length}.")
    if reserved or "\n" in name or "\r" in name:
        raise invalid(f"Invalid object name: {name!r}")
    return name


def decode(body: bytes | str | Resource, into: type[T]) -> T:
    """Read a JSON body into a typed structure. Unknown fields are ignored, as in the service.

    :raises StorageError: 400: names the field and the expected value
    """
    try:
        if isinstance(body, dict):
            return msgspec.convert(body, into, strict=False)
        return msgspec.json.decode(body or b"{}", type=into, strict=False)
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
        raise invalid(f"Parse Error: {error}", "parseError") from None
    except UnicodeDecodeError:
        raise invalid("Parse Error: the body is not UTF-8", "parseError") from None


class Conditions(msgspec.Struct, frozen=True, omit_defaults=True):
    """The four preconditions of a request; an object that does not exist has generation 0."""

    generation_match: int | None = None
    generation_not_match: int | None = None
    metageneration_match: int | None = None
    metageneration_not_match: int | None = None

    @classmethod
    def of(cls, params: Mapping[str, str], prefix: str = "if") -> Conditions:
        """Read them from query parameters: `ifGenerationMatch`, or `ifSource…` with that prefix."""

        def read(name: str) -> int | None:
            return parse_int(prefix + name, params.get(prefix + name))

        return cls(
            read("GenerationMatch"),
            read("GenerationNotMatch"),
            read("MetagenerationMatch"),
            read("MetagenerationNotMatch"),
        )

    def check(self, stored: Mapping[str, Any] | None, *, reading: bool = False) -> None:
        """Compare with the stored version.

        :raises NotModifiedError: a `…NotMatch` of a read names the stored version
        :raises StorageError: 412: another precondition does not hold
        """
        generation = int(stored["generation"]) if stored else 0
        metageneration = int(stored["metageneration"]) if stored else 0
        if not _matches(self.generation_match, generation):
            raise condition_not_met()
        if not _matches(self.metageneration_match, metageneration):
            raise condition_not_met()
        if generation == self.generation_not_match or metageneration == self.metageneration_not_match:
            raise NotModifiedError if reading else condition_not_met()


def _matches(expected: int | None, actual: int) -> bool:
    return expected is None or expected == actual
