"""The three kinds of upload over HTTP: media, multipart, resumable.

https://cloud.google.com/storage/docs/uploads-downloads
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from .http import answer, json_route, read_body
from .media import RelatedBody
from .resources import NewObject, header_value, object_resource
from .rules import Conditions, decode, invalid, parse_int
from .uploads import Checksums, ContentRange, Uploads


class UploadApi:
    """Handlers and routes."""

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    @property
    def routes(self) -> list[BaseRoute]:
        return self._routes("/upload") + self._routes("/resumable/upload")

    def _routes(self, prefix: str) -> list[BaseRoute]:
        path = f"{prefix}/storage/v1/b/{{bucket}}/o"
        return [
            json_route("POST", path, "storage.objects.insert", self.insert_object),
            json_route("PUT", path, "storage.objects.insert", self.put_chunk),
            json_route("DELETE", path, "storage.objects.cancelUpload", self.cancel_upload),
        ]

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
        _default_type(new, request.headers.get("content-type"))
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
        location = str(request.url.include_query_params(upload_id=upload_id))
        return Response(headers={"location": location, "x-guploader-uploadid": upload_id})

    async def put_chunk(self, request: Request) -> Response:
        span = ContentRange.of(request.headers.get("content-range"))
        upload_id = request.query_params.get("upload_id", "")
        done = await self._uploads.put(upload_id, span, request.stream(), _sums(request))
        if not isinstance(done, int):
            return answer(request, object_resource(done, str(request.base_url)))
        headers = {"range": f"bytes=0-{done - 1}"} if done else {}
        if request.headers.get("x-guploader-no-308") == "yes":  # the Go client cannot see a 308
            return Response(headers=headers | {"x-http-status-code-override": "308"})
        return Response(status_code=308, headers=headers)

    async def cancel_upload(self, request: Request) -> Response:
        await self._uploads.cancel(request.query_params.get("upload_id", ""))
        return Response(status_code=499)

    async def _store(self, request: Request, new: NewObject, blocks: AsyncIterator[bytes]) -> Response:
        conditions = Conditions.of(request.query_params)
        row = await self._uploads.store(request.path_params["bucket"], new, blocks, _sums(request), conditions)
        return answer(request, object_resource(row, str(request.base_url)))


def _named(new: NewObject, request: Request) -> NewObject:
    """The object's name, from the query or the metadata; both must agree."""
    name = request.query_params.get("name")
    if name is None and new.name is None:
        raise invalid("Required parameter: name", "required")
    if name is not None and new.name not in (None, name):
        raise invalid(f"Value '{new.name}' in content does not agree with value '{name}'.")
    new.name = name if new.name is None else new.name
    if "contentEncoding" in request.query_params:
        new.content_encoding = header_value(request.query_params["contentEncoding"])
    return new


def _default_type(new: NewObject, content_type: str | None) -> None:
    if not new.content_type:
        new.content_type = header_value(content_type or "application/octet-stream")


def _sums(request: Request) -> Checksums:
    return Checksums.of(request.headers.get("x-goog-hash"), request.headers.get("content-md5"))
