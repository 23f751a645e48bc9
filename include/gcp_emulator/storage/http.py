"""HTTP for the storage handlers: routes on the undecoded path, bounded bodies, responses and refusals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

from ..state import Resource
from .fields import select
from .rules import NotModifiedError, OffsetGapError, RefusedError, invalid, parse_int

Handler = Callable[[Request], Awaitable[Response]]
MAX_JSON = 4 * 1024 * 1024  # bytes


class RawRoute(Route):
    """A route that matches the undecoded path: `%2F` in an object's name does not separate."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http":
            return Match.NONE, {}
        match, child = super().matches({**scope, "path": scope["raw_path"].decode("latin-1"), "root_path": ""})
        if match is not Match.NONE:
            child["path_params"] = {name: _unquote(value) for name, value in child["path_params"].items()}
        return match, child


def _unquote(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise invalid("The path is not valid UTF-8.") from None


async def read_body(request: Request) -> bytes:
    """A body of metadata.

    :raises StorageError: 413: the body is too large
    """
    body = b""
    async for block in request.stream():
        body += block
        if len(body) > MAX_JSON:
            raise RefusedError(413, "uploadTooLarge", f"The request is larger than {MAX_JSON} bytes.")
    return body


def json_route(method: str, path: str, name: str, handler: Handler) -> BaseRoute:
    """A route of the JSON API, and the form of its refusals that are not JSON."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except NotModifiedError:
            return Response(status_code=304)
        except OffsetGapError as error:
            return PlainTextResponse(error.message, error.http_status)
        except ClientDisconnect:
            return Response(status_code=499)  # the client has gone

    return RawRoute(path, endpoint, methods=[method], name=name)


def answer(request: Request, resource: Resource) -> Response:
    """A resource as JSON, or the part that the parameter `fields` selects."""
    return JSONResponse(select(resource, request.query_params.get("fields")))


def address(request: Request) -> tuple[str, str, int | None]:
    """Bucket, object and generation that a request names."""
    generation = parse_int("generation", request.query_params.get("generation"))
    return request.path_params["bucket"], request.path_params["object"], generation


def header_text(value: str) -> str:
    """Any text as a header can carry it: UTF-8 bytes, which HTTP libraries write as Latin-1."""
    return value.encode().decode("latin-1")
