"""REST for all Vertex AI services: paths, names, paging, responses."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..errors import ApiError, InvalidArgument, NotFound, StorageError
from ..names import canonical, timestamp
from ..state import Resource, Store
from . import proto_json
from .filters import compile_filter

Handler = Callable[[Request], Awaitable[Response]]

MAX_BODY: Final = 10 * 2**20
"""Largest number of bytes of a JSON request."""
STALE_LIST: Final = "emulator.stale_list"
"""Key of a request's scope: smallest age in seconds of resources in a list. A fault sets it."""


class _Version(StringConvertor):
    regex: ClassVar[str] = "v1beta1|v1"


class _OperationsVersion(StringConvertor):
    regex: ClassVar[str] = "v1beta1|v1|ui"


class _Id(StringConvertor):
    regex: ClassVar[str] = "[^/:]+"


register_url_convertor("version", _Version())
register_url_convertor("operations", _OperationsVersion())
register_url_convertor("id", _Id())


def vertex_route(http_method: str, path: str, handler: Handler, name: str, *, version: str = "version") -> Route:
    """A route of both API versions below a project and location.

    :param path: the rest, with `{parameter:id}` for ids ("tuningJobs/{job:id}:cancel")
    :param name: the API method's name ("tuningJobs.cancel")
    :param version: "operations" for paths that also exist under `/ui/`
    """
    return location_route(http_method, f"/{path}", handler, name, version=version)


def location_route(http_method: str, path: str, handler: Handler, name: str, *, version: str = "version") -> Route:
    """A route of both API versions for a location itself.

    :param path: what follows the location's name, e.g. `:evaluateInstances`
    :param name: see :func:`vertex_route`, like `version`
    """
    full = f"/{{version:{version}}}/projects/{{project}}/locations/{{location:id}}{path}"
    return Route(full, handler, methods=[http_method], name=name)


def version_of(request: Request) -> str:
    """The API version in the path of a request, e.g. `v1`."""
    return str(request.path_params["version"])


def parent_of(request: Request) -> str:
    """`projects/NUMBER/locations/LOCATION`."""
    params = request.path_params
    return canonical(f"projects/{params['project']}/locations/{params['location']}")


def name_of(request: Request) -> str:
    """The resource name in the request's path, with the project's number and without a custom method."""
    path = request.scope["path"].split("/", 2)[2]
    return canonical(path.rsplit(":", 1)[0] if ":" in path.rsplit("/", 1)[-1] else path)


async def body_of(request: Request) -> bytes:
    """The request's body.

    :raises InvalidArgument: HTTP 413: the body is too large
    """
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > MAX_BODY:
            error = InvalidArgument(f"The request is larger than {MAX_BODY} bytes.")
            error.http = 413
            raise error
    return bytes(body)


async def read(request: Request, message: str) -> Resource:
    """The body as a message of the request's API version; see `proto_json.parse`."""
    return proto_json.parse(version_of(request), message, await body_of(request))


async def read_any(request: Request) -> Resource:
    """The body as any JSON object, for messages outside of the emulated APIs.

    :raises InvalidArgument: the body is not a JSON object
    """
    body = proto_json.decode(await body_of(request))
    if not isinstance(body, dict):
        raise InvalidArgument("Invalid JSON payload received. Root element must be a message.")
    return body


def reply(request: Request, message: str, resource: Resource) -> Response:
    """The resource as the request's API version shows it."""
    return JSONResponse(proto_json.present(version_of(request), message, resource))


def render(error: ApiError) -> Response:
    """A refusal in its API's envelope."""
    status = error.http_status if isinstance(error, StorageError) else error.http
    return JSONResponse(error.envelope(), status, headers=error.headers)


def integer(request: Request, name: str, default: int, low: int, high: int) -> int:
    """A query parameter as a number. 0 or a missing value is the default; more than `high` is `high`.

    :raises InvalidArgument: the value is not a 32-bit number, or below `low`
    """
    text = request.query_params.get(name, request.query_params.get(proto_json.snake(name), "0"))
    if not re.fullmatch(r"-?[0-9]{1,10}", text) or abs(int(text)) >= 2**31:
        raise InvalidArgument(f"Invalid value at '{proto_json.snake(name)}' (TYPE_INT32), \"{text[:50]}\"")
    value = int(text) or default
    if value < low:
        raise InvalidArgument(f"{name} must be at least {low}, but was {value}.")
    return min(value, high)


def query(request: Request, name: str) -> str:
    """A query parameter by its camelCase name, or in snake_case; empty if it is missing."""
    return request.query_params.get(name) or request.query_params.get(proto_json.snake(name), "")


def page(
    request: Request,
    rows: Iterable[tuple[int, Resource]],
    key: str,
    *,
    show: Callable[[Resource], Resource] = dict,
    default: int = 100,
    high: int = 100,
) -> Resource:
    """One page of resources, newest first, with `nextPageToken` if there are more.

    :param rows: filtered resources with their numbers, highest first
    :param show: converts a stored resource for the response
    """
    size = integer(request, "pageSize", default, 1, high)
    before = token_position(query(request, "pageToken"))
    newest = timestamp(datetime.now(UTC) - timedelta(seconds=request.scope.get(STALE_LIST, 0.0)))
    chosen = [row for row in rows if row[0] < before and row[1].get("createTime", "") <= newest][: size + 1]
    result: Resource = {key: [show(resource) for _, resource in chosen[:size]]} if chosen else {}
    if len(chosen) > size:
        result["nextPageToken"] = position_token(chosen[size - 1][0])
    return result


def position_token(position: int) -> str:
    """An opaque page token."""
    return base64.urlsafe_b64encode(b"p%d" % position).decode().rstrip("=")


def token_position(token: str) -> int:
    """The position in a list that a page token stands for.

    :raises InvalidArgument: `position_token` did not make the token
    """
    if not token:
        return 2**62
    try:
        text = base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4)).decode()
    except (binascii.Error, ValueError):
        text = ""
    if not text.startswith("p") or not text[1:].isdecimal() or len(text) > 20:
        raise InvalidArgument("Invalid page token.")
    return int(text[1:])


def found(resource: Resource | None, name: str) -> Resource:
    """Return a resource that exists.

    :raises NotFound: the resource does not exist
    """
    if resource is None:
        collection = ("resources/" + name).split("/")[-2]
        kind = proto_json.camel(collection).removesuffix("s")
        raise NotFound(f"The {kind[:1].upper()}{kind[1:]} does not exist: {name}")
    return resource


def get_route(store: Store, kind: str, path: str, message: str, method: str) -> Route:
    """GET of one stored resource."""

    async def get(request: Request) -> Response:
        name = name_of(request)
        return reply(request, message, found(store.get(kind, name), name))

    return vertex_route("GET", path, get, method)


def list_route(
    store: Store, kind: str, path: str, message: str, method: str, *, fields: Iterable[str], default: int, high: int
) -> Route:
    """GET of a collection of stored resources, filtered and paged.

    :param message: the response message; its list field belongs to `kind`
    :param fields: fields that the filter may name
    """
    key = path.rsplit("/", 1)[-1] if not message.startswith("ListTensorboard") else _tensorboard_key(message)

    async def list_resources(request: Request) -> Response:
        matches = compile_filter(query(request, "filter"), fields)
        rows = (row for row in store.numbered(kind, name_of(request) + "/") if matches(row[1]))
        return reply(request, message, page(request, rows, key, default=default, high=high))

    return vertex_route("GET", path, list_resources, method)


def _tensorboard_key(message: str) -> str:
    """`tensorboardRuns` of `ListTensorboardRunsResponse`."""
    name = message.removeprefix("List").removesuffix("Response")
    return name[0].lower() + name[1:]
