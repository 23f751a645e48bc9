"""Errors of Google's services: one class per canonical code, one envelope per API family.

Codes and their HTTP equivalents: https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
"""

# ruff: noqa: N818 - these are the names of google.rpc.Code

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Detail = Mapping[str, Any]


class ApiError(Exception):
    """Base of all refusals. A service raises it, and app.py renders it.

    :param message: the service's message, in its own words where they are known
    :param details: typed `google.rpc` details, each with its `@type`
    :param headers: extra response headers
    """

    code: int = 2
    status: str = "UNKNOWN"
    http: int = 500

    def __init__(
        self, message: str, *, details: Sequence[Detail] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = list(details)
        self.headers = dict(headers or {})

    def envelope(self) -> dict[str, Any]:
        """The JSON body: google.rpc.Status in Google's REST envelope."""
        error: dict[str, Any] = {"code": self.http, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = self.details
        return {"error": error}

    def rpc_status(self) -> dict[str, Any]:
        """The error for a resource's `error` field, with the canonical code instead of HTTP's."""
        return {"code": self.code, "message": self.message}


class Cancelled(ApiError):
    """`CANCELLED`: the caller cancelled the operation."""

    code, status, http = 1, "CANCELLED", 499


class InvalidArgument(ApiError):
    """`INVALID_ARGUMENT`: the request is wrong, in any state of the service."""

    code, status, http = 3, "INVALID_ARGUMENT", 400


class DeadlineExceeded(ApiError):
    """`DEADLINE_EXCEEDED`: the operation took too long."""

    code, status, http = 4, "DEADLINE_EXCEEDED", 504


class NotFound(ApiError):
    """`NOT_FOUND`: the resource does not exist."""

    code, status, http = 5, "NOT_FOUND", 404


class AlreadyExists(ApiError):
    """`ALREADY_EXISTS`: a resource with this name exists."""

    code, status, http = 6, "ALREADY_EXISTS", 409


class PermissionDenied(ApiError):
    """`PERMISSION_DENIED`: the caller may not do this."""

    code, status, http = 7, "PERMISSION_DENIED", 403


class ResourceExhausted(ApiError):
    """`RESOURCE_EXHAUSTED`: a quota is used up."""

    code, status, http = 8, "RESOURCE_EXHAUSTED", 429


class FailedPrecondition(ApiError):
    """`FAILED_PRECONDITION`: the state of the resource does not allow the operation."""

    code, status, http = 9, "FAILED_PRECONDITION", 400


class Aborted(ApiError):
    """`ABORTED`: another operation changed the resource at the same time."""

    code, status, http = 10, "ABORTED", 409


class OutOfRange(ApiError):
    """`OUT_OF_RANGE`: the request goes beyond the end of a valid range."""

    code, status, http = 11, "OUT_OF_RANGE", 400


class Unimplemented(ApiError):
    """`UNIMPLEMENTED`: the service does not support the operation."""

    code, status, http = 12, "UNIMPLEMENTED", 501


class Internal(ApiError):
    """`INTERNAL`: an error inside the service."""

    code, status, http = 13, "INTERNAL", 500


class Unavailable(ApiError):
    """`UNAVAILABLE`: the service is temporarily unavailable. A retry can succeed."""

    code, status, http = 14, "UNAVAILABLE", 503


class Unauthenticated(ApiError):
    """`UNAUTHENTICATED`: the request has no valid credentials."""

    code, status, http = 16, "UNAUTHENTICATED", 401


class StorageError(ApiError):
    """The envelope of Cloud Storage's JSON API, with a `reason` per error.

    https://cloud.google.com/storage/docs/json_api/v1/status-codes
    """

    def __init__(self, http: int, reason: str, message: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, headers=headers)
        self.reason = reason
        self.http_status = http

    def envelope(self) -> dict[str, Any]:
        error = {"message": self.message, "domain": "global", "reason": self.reason}
        return {"error": {"code": self.http_status, "message": self.message, "errors": [error]}}


def bad_request(field: str, description: str) -> Detail:
    """A google.rpc.BadRequest detail that names one field."""
    return bad_fields([(field, description)])


def bad_fields(violations: Iterable[tuple[str, str]]) -> Detail:
    """A google.rpc.BadRequest detail of pairs of field and problem."""
    return {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"field": field, "description": description} for field, description in violations],
    }
