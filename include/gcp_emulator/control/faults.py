"""Faults on request: only those that were set through `/_internal/faults`."""

from __future__ import annotations

import random
import re
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal

import msgspec

from ..errors import ApiError, InvalidArgument, StorageError
from ..expressions import MAX_LENGTH, check_expression, search

_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
MAX_DELAY: Final = 600.0

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE: Final = re.compile(r"([!-~]([\t -~]*[!-~])?)?")
"""https://www.rfc-editor.org/rfc/rfc9110#name-fields, less what is not ASCII: no HTTP server sends others."""
_OF_THE_SERVER: Final = ("content-length", "transfer-encoding")
"""Headers that say how long the body is; wrong ones end the connection."""


class FaultyAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """An error as the response.

    :param code: HTTP status, 400 to 599
    :param status: canonical name; if empty, the usual name for the code
    :param details: google.rpc details, each with its `@type`; for Cloud Storage only `message` counts
    """

    code: int = 503
    status: str = ""
    message: str = "The service is currently unavailable."
    details: list[dict[str, Any]] = []
    headers: dict[str, str] = {}


class Fault(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """One fault.

    :param method: API method, with `*` and `?` ("tuningJobs.*")
    :param resource: regular expression (see expressions.py) to find in the request's path
    :param count: number of requests that it hits; None for all
    :param probability: probability of hitting a request that it matches
    :param delay: seconds to wait first
    :param drop: close the connection without a response, before or after the request took effect
    :param truncate: bytes of the response body to send before the connection closes
    :param stale_list: leave resources out of a list that are younger than this, in seconds
    :param body: send this with status 200 in place of the response: a JSON value, or text as it is
    """

    method: str = "*"
    resource: str = ""
    count: Annotated[int, msgspec.Meta(ge=0)] | None = None
    probability: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    error: FaultyAnswer | None = None
    delay: Annotated[float, msgspec.Meta(ge=0, le=MAX_DELAY)] = 0.0
    drop: Literal["before", "after"] | None = None
    truncate: Annotated[int, msgspec.Meta(ge=0)] | None = None
    stale_list: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    body: Any = msgspec.UNSET


class Faults:
    """The faults that are set. Randomness is seeded, so that a test repeats."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self._random = random.Random(0)  # noqa: S311 - not a secret

    def clear(self) -> None:
        self.rules = []
        self._random.seed(0)

    def add(self, body: Any) -> list[Fault]:
        """Add rules for faults.

        :param body: one fault or a list of them, as JSON values
        :raises InvalidArgument: a field is unknown, or has a wrong type, a bad expression or a value out of bounds
        """
        try:
            rules = msgspec.convert(body if isinstance(body, list) else [body], list[Fault])
            for rule in rules:
                _check(rule)
        except (msgspec.ValidationError, ValueError) as error:
            raise InvalidArgument(f"Invalid fault: {error}") from None
        self.rules += rules
        return rules

    def hit(self, method: str, path: str) -> Fault | None:
        """The first fault that hits this request; it is counted as used."""
        for rule in self.rules:
            if rule.count != 0 and _matches(rule, method, path) and self._random.random() < rule.probability:
                if rule.count is not None:
                    rule.count -= 1
                return rule
        return None


def _matches(rule: Fault, method: str, path: str) -> bool:
    return fnmatchcase(method, rule.method) and search(rule.resource, path)


def _check(rule: Fault) -> None:
    check_expression("resource", rule.resource)
    if len(rule.method) > MAX_LENGTH:
        raise InvalidArgument(f"Invalid fault: method must have at most {MAX_LENGTH} characters.")
    if rule.error and not 400 <= rule.error.code <= 599:
        raise InvalidArgument(f"Invalid fault: code must be from 400 to 599, but was {rule.error.code}.")
    if rule.error:
        _check_headers(rule.error.headers)
    if not _does_something(rule):
        raise InvalidArgument("Invalid fault: one of error, delay, drop, truncate, staleList and body must be given.")
    if rule.error and rule.body is not msgspec.UNSET:
        raise InvalidArgument("Invalid fault: error and body exclude each other.")


def _does_something(rule: Fault) -> bool:
    has_response = rule.error or rule.body is not msgspec.UNSET
    return bool(has_response or rule.delay or rule.drop or rule.truncate is not None or rule.stale_list)


def _check_headers(headers: dict[str, str]) -> None:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise InvalidArgument(
                f"Invalid fault: found the header {name[:40]!r}: {value[:40]!r}, expected ASCII on one line."
            )
        if name.lower() in _OF_THE_SERVER:
            raise InvalidArgument(f"Invalid fault: found the header {name}, expected others: the server sets it.")


def answer_of(method: str, answer: FaultyAnswer) -> ApiError:
    """The error in the envelope of the API the method belongs to."""
    if method.startswith("storage."):
        return StorageError(answer.code, "backendError", answer.message, headers=answer.headers)
    error = ApiError(answer.message, details=answer.details, headers=answer.headers)
    error.http = answer.code
    error.status = answer.status or _STATUSES.get(answer.code, "UNKNOWN")
    return error
