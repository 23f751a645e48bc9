"""Cloud Storage's JSON API over HTTP: each handler reads a request, calls the service and returns the resource.

https://cloud.google.com/storage/docs/json_api/v1; uploads are in upload_api.py.
"""

from __future__ import annotations

from typing import NoReturn

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from ..state import Resource
from .copies import Address, Copies
from .files import Files
from .http import address, answer, json_route, read_body
from .listing import ListQuery, list_objects, page_of
from .media import media_response
from .objects import Buckets, Objects
from .resources import (
    BucketFields,
    ComposeRequest,
    NewBucket,
    NewObject,
    ObjectFields,
    bucket_resource,
    object_resource,
)
from .rules import Conditions, decode, invalid, parse_int

BUCKET = "/storage/v1/b/{bucket}"
OBJECT = "/storage/v1/b/{bucket}/o/{object}"
TARGET = "b/{targetBucket}/o/{targetObject}"


class JsonApi:
    """Handlers and routes."""

    def __init__(self, buckets: Buckets, objects: Objects, copies: Copies, files: Files) -> None:
        self._buckets, self._objects, self._copies, self._files = buckets, objects, copies, files

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            json_route("GET", "/storage/v1/b", "storage.buckets.list", self.list_buckets),
            json_route("POST", "/storage/v1/b", "storage.buckets.insert", self.insert_bucket),
            json_route("GET", BUCKET, "storage.buckets.get", self.get_bucket),
            json_route("PATCH", BUCKET, "storage.buckets.patch", self.patch_bucket),
            json_route("DELETE", BUCKET, "storage.buckets.delete", self.delete_bucket),
            json_route("GET", f"{BUCKET}/o", "storage.objects.list", self.list_objects),
            json_route("POST", f"{BUCKET}/o", "storage.objects.insert", self.insert_without_upload),
            json_route("GET", OBJECT, "storage.objects.get", self.get_object),
            json_route("GET", f"/download{OBJECT}", "storage.objects.get", self.download_object),
            json_route("PATCH", OBJECT, "storage.objects.patch", self.patch_object),
            json_route("DELETE", OBJECT, "storage.objects.delete", self.delete_object),
            json_route("POST", f"{OBJECT}/copyTo/{TARGET}", "storage.objects.copy", self.copy_object),
            json_route("POST", f"{OBJECT}/rewriteTo/{TARGET}", "storage.objects.rewrite", self.rewrite_object),
            json_route("POST", f"{OBJECT}/compose", "storage.objects.compose", self.compose_object),
        ]

    async def list_buckets(self, request: Request) -> Response:
        params = request.query_params
        buckets = self._buckets.list(_project(request), params.get("prefix", ""))
        page, token = page_of(buckets, params)
        items = {"items": [bucket_resource(row, str(request.base_url)) for row in page]} if page else {}
        return answer(request, {"kind": "storage#buckets"} | items | token)

    async def insert_bucket(self, request: Request) -> Response:
        project = _project(request)
        row = self._buckets.insert(project, decode(await read_body(request), NewBucket))
        return answer(request, bucket_resource(row, str(request.base_url)))

    async def get_bucket(self, request: Request) -> Response:
        row = self._buckets.get(request.path_params["bucket"])
        Conditions.of(request.query_params).check(row, reading=True)
        return answer(request, bucket_resource(row, str(request.base_url)))

    async def patch_bucket(self, request: Request) -> Response:
        fields = decode(await read_body(request), BucketFields)
        row = self._buckets.patch(request.path_params["bucket"], fields, Conditions.of(request.query_params))
        return answer(request, bucket_resource(row, str(request.base_url)))

    async def delete_bucket(self, request: Request) -> Response:
        self._buckets.delete(request.path_params["bucket"], Conditions.of(request.query_params))
        return Response(status_code=204)

    async def list_objects(self, request: Request) -> Response:
        query = ListQuery.of(request.query_params)
        page = list_objects(self._objects, request.path_params["bucket"], query)
        if "items" in page:
            page["items"] = [object_resource(row, str(request.base_url)) for row in page["items"]]
        return answer(request, {"kind": "storage#objects"} | page)

    async def get_object(self, request: Request) -> Response:
        if request.query_params.get("alt") == "media":
            return await self.download_object(request)
        return answer(request, object_resource(self._read(request), str(request.base_url)))

    async def download_object(self, request: Request) -> Response:
        return media_response(self._read(request), self._files, request)

    async def patch_object(self, request: Request) -> Response:
        fields = decode(await read_body(request), ObjectFields)
        conditions = Conditions.of(request.query_params)
        row = self._objects.patch(*address(request), fields, conditions)
        return answer(request, object_resource(row, str(request.base_url)))

    async def delete_object(self, request: Request) -> Response:
        self._objects.delete(*address(request), Conditions.of(request.query_params))
        return Response(status_code=204)

    async def insert_without_upload(self, _request: Request) -> NoReturn:
        message = "Upload requests must include an uploadType URL parameter and a URL path beginning with /upload/"
        raise invalid(message, "wrongUrlForUpload")

    async def copy_object(self, request: Request) -> Response:
        new = decode(await read_body(request), NewObject)
        row = self._copies.copy(_source(request), _target(request), new, *_conditions(request))
        return answer(request, object_resource(row, str(request.base_url)))

    async def rewrite_object(self, request: Request) -> Response:
        new, params = decode(await read_body(request), NewObject), request.query_params
        step = parse_int("maxBytesRewrittenPerCall", params.get("maxBytesRewrittenPerCall"))
        token = params.get("rewriteToken")
        result = self._copies.rewrite(_source(request), _target(request), new, *_conditions(request), token, step)
        if "resource" in result:
            result["resource"] = object_resource(result["resource"], str(request.base_url))
        return answer(request, result)

    async def compose_object(self, request: Request) -> Response:
        composition = decode(await read_body(request), ComposeRequest)
        target = Address(request.path_params["bucket"], request.path_params["object"])
        row = await self._copies.compose(target, composition, Conditions.of(request.query_params))
        return answer(request, object_resource(row, str(request.base_url)))

    def _read(self, request: Request) -> Resource:
        row = self._objects.get(*address(request))
        Conditions.of(request.query_params).check(row, reading=True)
        return row


def _source(request: Request) -> Address:
    generation = parse_int("sourceGeneration", request.query_params.get("sourceGeneration"))
    return Address(request.path_params["bucket"], request.path_params["object"], generation)


def _target(request: Request) -> Address:
    return Address(request.path_params["targetBucket"], request.path_params["targetObject"])


def _conditions(request: Request) -> tuple[Conditions, Conditions]:
    """The preconditions of the new object and of its source."""
    return Conditions.of(request.query_params), Conditions.of(request.query_params, "ifSource")


def _project(request: Request) -> str:
    project = request.query_params.get("project")
    if not project:
        raise invalid("Required parameter: project", "required")
    return project
