"""Cloud Storage: buckets and objects, as far as the official clients use them.

The parts, from the bottom up: rules; resources (shapes); files (bytes on disk); objects (versions and their changes);
listing; copies; uploads and parts (incoming content); and the APIs that speak HTTP.

Not emulated: access control (everyone may do everything), lifecycle rules, holds and retention, soft deletion,
notifications, encryption keys, folders. `matchGlob` and `filter` of listings are refused. Other unknown fields and
parameters are ignored. Resumable sessions do not expire.
"""

from __future__ import annotations

from pathlib import Path

from starlette.routing import BaseRoute

from ..state import Resource, Store
from .batch import batch_route
from .copies import Copies
from .files import Files
from .json_api import JsonApi
from .objects import Buckets, Objects
from .parts import PartUploads
from .rules import invalid
from .upload_api import UploadApi
from .uploads import Uploads
from .xml_api import XmlApi


class StorageService:
    """All of Cloud Storage over one store.

    :param store: storage of the resources; bytes are files in its `data_dir`
    """

    def __init__(self, store: Store) -> None:
        self._files = Files(store.data_dir / "objects")
        self._buckets = Buckets(store)
        self._objects = Objects(store, self._buckets, self._files)
        self._uploads = Uploads(store, self._objects, self._files)
        self._parts = PartUploads(store, self._objects, self._files)
        self._files.keep_only(self._objects.files() | self._uploads.files() | self._parts.files())

    @property
    def routes(self) -> list[BaseRoute]:
        """The JSON API, and last the XML API, which matches almost any path."""
        copies = Copies(self._buckets, self._objects, self._files)
        api = JsonApi(self._buckets, self._objects, copies, self._files)
        return [*api.routes, *UploadApi(self._uploads).routes, batch_route(), *XmlApi(self._parts).routes]

    def path_of(self, uri: str) -> Path:
        """The local file with the current content of `gs://bucket/name`. Open or copy it at once.

        :raises StorageError: 404: the bucket or object does not exist; 400: the URI is wrong
        """
        return self._files.path(self._objects.get(*_parse(uri))["file"])

    def read_metadata(self, uri: str) -> Resource:
        """The stored fields of the object at `gs://bucket/name`.

        :raises StorageError: see `path_of`
        """
        row = self._objects.get(*_parse(uri))
        return {name: value for name, value in row.items() if name != "file"}


def _parse(uri: str) -> tuple[str, str]:
    bucket, slash, name = uri.removeprefix("gs://").partition("/")
    if not uri.startswith("gs://") or not slash or not name:
        raise invalid(f"Invalid Cloud Storage URI: '{uri[:200]}'. Expected gs://BUCKET/OBJECT.")
    return bucket, name
