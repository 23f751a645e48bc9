"""Cloud Storage's JSON API over HTTP: each handler reads a request, calls the service, answers the resource.

https://cloud.google.com/storage/docs/json_api/v1
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

from include.gcp_emulator.state import Resource
from include.gcp_emulator.storage_files import Files
from include.gcp_emulator.storage_http import RawRoute, RelatedBody, media_response, read_body
from include.gcp_emulator.storage_listing import ListQuery, list_objects, page_of
from include.gcp_emulator.storage_objects import Buckets, Objects
from include.gcp_emulator.storage_resources import (
    BucketFields,
    NewBucket,
    NewObject,
    ObjectFields,
    bucket_resource,
    object_resource,
)
from include.gcp_emulator.storage_rules import Conditions, NotModifiedError, decode, invalid, parse_int
from include.gcp_emulator.storage_uploads import Checksums, ContentRange, Uploads

Handler = Callable[[Request], Awaitable[Response]]
BUCKET, OBJECT = "/storage/v1/b/{bucket}", "/storage/v1/b/{bucket}/o/{object}"


class JsonApi:
    """Handlers and routes.

    :param uploads: takes content in
    """

    def __init__(self, buckets: Buckets, objects: Objects, uploads: Uploads, files: Files) -> None:
        self._buckets, self._objects, self._uploads, self._files = buckets, objects, uploads, files

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            _route("GET", "/storage/v1/b", "storage.buckets.list", self.list_buckets),
            _route("POST", "/storage/v1/b", "storage.buckets.insert", self.insert_bucket),
            _route("GET", BUCKET, "storage.buckets.get", self.get_bucket),
            _route("PATCH", BUCKET, "storage.buckets.patch", self.patch_bucket),
            _route("DELETE", BUCKET, "storage.buckets.delete", self.delete_bucket),
            _route("GET", f"{BUCKET}/o", "storage.objects.list", self.list_objects),
            _route("POST", f"{BUCKET}/o", "storage.objects.insert", self.insert_without_upload),
            _route("GET", OBJECT, "storage.objects.get", self.get_object),
            _route("GET", f"/download{OBJECT}", "storage.objects.get", self.download_object),
            _route("PATCH", OBJECT, "storage.objects.patch", self.patch_object),
            _route("DELETE", OBJECT, "storage.objects.delete", self.delete_object),
            *self._upload_routes("/upload"),
            *self._upload_routes("/resumable/upload"),
        ]

    def _upload_routes(self, prefix: str) -> list[BaseRoute]:
        path = f"{prefix}{BUCKET}/o"
        return [
            _route("POST", path, "storage.objects.insert", self.insert_object),
            _route("PUT", path, "storage.objects.insert", self.put_chunk),
            _route("DELETE", path, "storage.objects.insert", self.cancel_upload),
        ]

    async def list_buckets(self, request: Request) -> Response:
        params = request.query_params
        buckets = self._buckets.list(_project(request), params.get("prefix", ""))
        page, token = page_of(buckets, params)
        items = [bucket_resource(row, str(request.base_url)) for row in page]
        return JSONResponse({"kind": "storage#buckets", "items": items} | token)

    async def insert_bucket(self, request: Request) -> Response:
        project = _project(request)
        row = self._buckets.insert(project, decode(await read_body(request), NewBucket))
        return JSONResponse(bucket_resource(row, str(request.base_url)))

    async def get_bucket(self, request: Request) -> Response:
        row = self._buckets.get(request.path_params["bucket"])
        Conditions.of(request.query_params).check(row, reading=True)
        return JSONResponse(bucket_resource(row, str(request.base_url)))

    async def patch_bucket(self, request: Request) -> Response:
        fields = decode(await read_body(request), BucketFields)
        row = self._buckets.patch(request.path_params["bucket"], fields, Conditions.of(request.query_params))
        return JSONResponse(bucket_resource(row, str(request.base_url)))

    async def delete_bucket(self, request: Request) -> Response:
        self._buckets.delete(request.path_params["bucket"], Conditions.of(request.query_params))
        return Response(status_code=204)

    async def list_objects(self, request: Request) -> Response:
        query = ListQuery.of(request.query_params)
        page = list_objects(self._objects, request.path_params["bucket"], query)
        page["items"] = [object_resource(row, str(request.base_url)) for row in page.get("items", [])]
        return JSONResponse({"kind": "storage#objects"} | page)

    async def get_object(self, request: Request) -> Response:
        if request.query_params.get("alt") == "media":
            return await self.download_object(request)
        return JSONResponse(object_resource(self._read(request), str(request.base_url)))

    async def download_object(self, request: Request) -> Response:
        return media_response(self._read(request), self._files, request)

    async def patch_object(self, request: Request) -> Response:
        fields = decode(await read_body(request), ObjectFields)
        conditions = Conditions.of(request.query_params)
        row = self._objects.patch(*_address(request), fields, conditions)
        return JSONResponse(object_resource(row, str(request.base_url)))

    async def delete_object(self, request: Request) -> Response:
        self._objects.delete(*_address(request), Conditions.of(request.query_params))
        return Response(status_code=204)

    async def insert_without_upload(self, _request: Request) -> Response:
        message = "Upload requests must include an uploadType URL parameter and a URL path beginning with /upload/"
        raise invalid(message, "wrongUrlForUpload")

    async def insert_object(self, request: Request) -> Response:
        if "upload_id" in request.query_params:  # some clients send chunks with POST
            return await self.put_chunk(request)
        kinds = {"media": self._insert_media, "multipart": self._insert_multipart, "resumable": self._start_session}
        kind = request.query_params.get("uploadType", "")
        if kind not in kinds:
            raise invalid(f"Invalid upload type: '{kind[:100]}'. Expected media, multipart or resumable.")
        return await kinds[kind](request)

    async def _insert_media(self, request: Request) -> Response:
        new = _named(NewObject(), request)
        new.content_type = request.headers.get("content-type", "application/octet-stream")
        return await self._store(request, new, request.stream())

    async def _insert_multipart(self, request: Request) -> Response:
        body = RelatedBody(request)
        new = _named(decode(await body.metadata(), NewObject), request)
        _default_type(new, await body.content_type())
        return await self._store(request, new, body.content())

    async def _start_session(self, request: Request) -> Response:
        new = _named(decode(await read_body(request), NewObject), request)
        _default_type(new, request.headers.get("x-upload-content-type"))
        total = parse_int("X-Upload-Content-Length", request.headers.get("x-upload-content-length"))
        bucket = request.path_params["bucket"]
        upload_id = self._uploads.start(bucket, new, total, _sums(request), Conditions.of(request.query_params))
        location = f"{request.url.replace(query='')}?uploadType=resumable&upload_id={upload_id}"
        return Response(headers={"location": location, "x-guploader-uploadid": upload_id})

    async def put_chunk(self, request: Request) -> Response:
        span = ContentRange.of(request.headers.get("content-range"))
        upload_id = request.query_params.get("upload_id", "")
        done = await self._uploads.put(upload_id, span, request.stream(), _sums(request))
        if not isinstance(done, int):
            return JSONResponse(object_resource(done, str(request.base_url)))
        return Response(status_code=308, headers={"range": f"bytes=0-{done - 1}"} if done else {})

    async def cancel_upload(self, request: Request) -> Response:
        self._uploads.cancel(request.query_params.get("upload_id", ""))
        return Response(status_code=499)

    async def _store(self, request: Request, new: NewObject, blocks: AsyncIterator[bytes]) -> Response:
        conditions = Conditions.of(request.query_params)
        row = await self._uploads.store(request.path_params["bucket"], new, blocks, _sums(request), conditions)
        return JSONResponse(object_resource(row, str(request.base_url)))

    def _read(self, request: Request) -> Resource:
        row = self._objects.get(*_address(request))
        Conditions.of(request.query_params).check(row, reading=True)
        return row


def _route(method: str, path: str, name: str, handler: Handler) -> BaseRoute:
    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except NotModifiedError:
            return Response(status_code=304)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it

    return RawRoute(path, endpoint, methods=[method], name=name)


def _address(request: Request) -> tuple[str, str, int | None]:
    """Bucket, object and generation that a request names."""
    generation = parse_int("generation", request.query_params.get("generation"))
    return request.path_params["bucket"], request.path_params["object"], generation


def _project(request: Request) -> str:
    project = request.query_params.get("project")
    if not project:
        raise invalid("Required parameter: project", "required")
    return project


def _named(new: NewObject, request: Request) -> NewObject:
    """The object's name, from the query or the metadata, which must not contradict each other."""
    name = request.query_params.get("name")
    if name is None and new.name is None:
        raise invalid("Required parameter: name", "required")
    if name is not None and new.name not in (None, name):
        raise invalid(f"Value '{new.name}' in content does not agree with value '{name}'.")
    new.name = name if new.name is None else new.name
    if "contentEncoding" in request.query_params:
        new.content_encoding = request.query_params["contentEncoding"]
    return new


def _default_type(new: NewObject, content_type: str | None) -> None:
    if not new.content_type:
        new.content_type = content_type or "application/octet-stream"


def _sums(request: Request) -> Checksums:
    return Checksums.of(request.headers.get("x-goog-hash"), request.headers.get("content-md5"))
