"""The part of Cloud Storage's XML API that uploads an object in parts, over HTTP.

https://cloud.google.com/storage/docs/multipart-uploads and …/xml-api/reference-status for the errors.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from xml.etree import ElementTree as ET

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from ..state import Resource
from .http import RawRoute, header_text, read_body
from .parts import MAX_PART_NUMBER, NamedPart, PartUploads
from .resources import ObjectFields
from .rules import RefusedError, decode, invalid, parse_int
from .uploads import Checksums

Handler = Callable[[Request], Awaitable[Response]]
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_HEADERS = {
    "cache-control": "cacheControl",
    "content-disposition": "contentDisposition",
    "content-encoding": "contentEncoding",
    "content-language": "contentLanguage",
    "content-type": "contentType",
    "x-goog-custom-time": "customTime",
    "x-goog-storage-class": "storageClass",
}
_META = "x-goog-meta-"
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # characters that XML cannot hold


class XmlRoute(RawRoute):
    """A route of the XML API, where the query selects the operation."""

    def __init__(self, method: str, query: str, name: str, handler: Handler) -> None:
        super().__init__("/{bucket}/{object:path}", _answering_xml(handler), methods=[method], name=name)
        self._method, self._query = method, query

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or scope["method"] != self._method:
            return Match.NONE, {}
        if self._query not in Request(scope).query_params:
            return Match.NONE, {}
        return super().matches(scope)


class XmlApi:
    """Handlers and routes. They match almost any path, so they come after all others."""

    def __init__(self, uploads: PartUploads) -> None:
        self._uploads = uploads

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            XmlRoute("POST", "uploads", "storage.multipartUploads.create", self.create),
            XmlRoute("PUT", "uploadId", "storage.multipartUploads.uploadPart", self.upload_part),
            XmlRoute("GET", "uploadId", "storage.multipartUploads.listParts", self.list_parts),
            XmlRoute("POST", "uploadId", "storage.multipartUploads.complete", self.complete),
            XmlRoute("DELETE", "uploadId", "storage.multipartUploads.abort", self.abort),
        ]

    async def create(self, request: Request) -> Response:
        bucket, name = _address(request)
        upload_id = self._uploads.start(bucket, name, _fields(request))
        texts = {"Bucket": bucket, "Key": name, "UploadId": upload_id}
        return _xml(_element("InitiateMultipartUploadResult", texts))

    async def upload_part(self, request: Request) -> Response:
        number = parse_int("partNumber", request.query_params.get("partNumber"))
        if number is None or not 1 <= number <= MAX_PART_NUMBER:
            raise invalid(f"Part number must be an integer between 1 and {MAX_PART_NUMBER}, inclusive.")
        sums = Checksums.of(request.headers.get("x-goog-hash"), request.headers.get("content-md5"))
        part = await self._uploads.put(self._upload_id(request), number, request.stream(), sums)
        headers = {"etag": f'"{part["etag"]}"', "x-goog-hash": f"crc32c={part['crc32c']},md5={part['md5Hash']}"}
        return Response(headers=headers)

    async def list_parts(self, request: Request) -> Response:
        upload_id = self._upload_id(request)
        limit = min(parse_int("max-parts", request.query_params.get("max-parts")) or 1000, 1000)
        marker = parse_int("part-number-marker", request.query_params.get("part-number-marker")) or 0
        if limit < 0 or marker < 0:
            raise invalid("max-parts and part-number-marker must not be negative.")
        parts = [part for part in self._uploads.parts(upload_id) if part["number"] > marker]
        bucket, name = _address(request)
        return _xml(_parts_listing({"Bucket": bucket, "Key": name, "UploadId": upload_id}, parts, limit, marker))

    async def complete(self, request: Request) -> Response:
        row = await self._uploads.complete(self._upload_id(request), _named_parts(await read_body(request)))
        texts = {
            "Location": str(request.url.replace(query="")),
            "Bucket": row["bucket"],
            "Key": row["name"],
            "ETag": f'"{row["generation"]}"',
        }
        headers = {"x-goog-generation": row["generation"], "x-goog-hash": f"crc32c={row['crc32c']}"}
        return _xml(_element("CompleteMultipartUploadResult", texts), headers)

    async def abort(self, request: Request) -> Response:
        await self._uploads.abort(self._upload_id(request))
        return Response(status_code=204)

    def _upload_id(self, request: Request) -> str:
        """The upload that a request names; it must belong to the object that it names."""
        upload_id = request.query_params["uploadId"]
        self._uploads.get(upload_id, *_address(request))
        return upload_id


def _answering_xml(handler: Handler) -> Handler:
    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except RefusedError as error:
            texts = {"Code": error.xml_code, "Message": error.message, "Details": error.message}
            return _xml(_element("Error", texts, namespace=""), error.headers, error.http_status)
        except ClientDisconnect:
            return Response(status_code=499)  # the client has gone

    return endpoint


def _address(request: Request) -> tuple[str, str]:
    return request.path_params["bucket"], request.path_params["object"]


def _fields(request: Request) -> ObjectFields:
    """The object's metadata, which the XML API reads from headers."""
    fields: Resource = {"contentType": "application/octet-stream"}
    metadata: Resource = {}
    for name, value in request.headers.items():
        text = value.encode("latin-1").decode("utf-8", "replace")
        if name in _HEADERS:
            fields[_HEADERS[name]] = text
        elif name.startswith(_META):
            metadata[name.removeprefix(_META)] = text
    return decode(fields | ({"metadata": metadata} if metadata else {}), ObjectFields)


def _named_parts(body: bytes) -> list[NamedPart]:
    """Read a CompleteMultipartUpload document.

    Declarations and comments are refused: the document does not need them, and entities could grow without limit.
    """
    malformed = invalid("The XML you provided was not well-formed or did not validate.", code="MalformedXML")
    try:
        text = body.decode()
        if "<!" in text:
            raise malformed
        parts = ET.fromstring(text).findall("{*}Part")  # noqa: S314
        return [NamedPart(int(part.findtext("{*}PartNumber", "")), part.findtext("{*}ETag", "")) for part in parts]
    except (ET.ParseError, ValueError):
        raise malformed from None


def _parts_listing(texts: dict[str, str], parts: list[Resource], limit: int, marker: int) -> ET.Element:
    shown = parts[:limit]
    last = str(shown[-1]["number"]) if shown else str(marker)
    texts |= {
        "PartNumberMarker": str(marker),
        "NextPartNumberMarker": last,
        "MaxParts": str(limit),
        "IsTruncated": "true" if len(parts) > limit else "false",
    }
    root = _element("ListPartsResult", texts)
    for part in shown:
        entry = {"PartNumber": str(part["number"]), "LastModified": part["updated"]}
        root.append(_element("Part", entry | {"ETag": f'"{part["etag"]}"', "Size": part["size"]}, namespace=""))
    return root


def _element(tag: str, texts: dict[str, str], namespace: str = NAMESPACE) -> ET.Element:
    root = ET.Element(tag, {"xmlns": namespace} if namespace else {})
    for name, text in texts.items():
        ET.SubElement(root, name).text = _UNPRINTABLE.sub("\ufffd", text)
    return root


def _xml(root: ET.Element, headers: dict[str, str] | None = None, status: int = 200) -> Response:
    body = ET.tostring(root, encoding="UTF-8", xml_declaration=True)
    sent = {name: header_text(value) for name, value in (headers or {}).items()}
    return Response(body, status, sent, media_type="application/xml; charset=UTF-8")
