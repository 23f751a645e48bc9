"""Cloud Storage: where datasets lie."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cached_property
from typing import IO, TYPE_CHECKING

from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import PreconditionFailed

from vertex_tuning.connection import GoogleConnection
from vertex_tuning.google_errors import google_errors
from vertex_tuning.rest import TIMEOUT

if TYPE_CHECKING:
    from google.cloud import storage


class StorageHook(GoogleConnection):
    """Puts files into buckets and reads them; parameters as its base's."""

    @cached_property
    def storage(self) -> storage.Client:
        """The official client, with the connection's credentials."""
        from google.cloud import storage

        endpoint = self._get_field("storage_api_endpoint")
        options = ClientOptions(api_endpoint=endpoint) if endpoint else ClientOptions()
        return storage.Client(project=self.project, credentials=self.get_credentials(), client_options=options)

    def upload_once(self, path: str, bucket: str, name: str) -> str:
        """Upload a file unless an object of that name is there; names are made from the content, so equal is same.

        :returns: the object's URI
        """
        with google_errors(f"uploading to gs://{bucket}/{name}"):
            blob = self.storage.bucket(bucket).blob(name)
            try:
                blob.upload_from_filename(
                    path, if_generation_match=0, checksum="crc32c", content_type="application/jsonl", timeout=TIMEOUT
                )
            except PreconditionFailed:
                self.log.info("gs://%s/%s is there already; nothing to upload.", bucket, name)
        return f"gs://{bucket}/{name}"

    @contextlib.contextmanager
    def open_object(self, uri: str) -> Iterator[IO[bytes]]:
        """Read an object as it streams in.

        :raises VertexRequestError: when there is no such object
        """
        from google.cloud.storage import Blob

        with google_errors(f"reading {uri}"), Blob.from_uri(uri, client=self.storage).open("rb") as file:
            yield file
