"""Hook for Cloud Storage, which stores the datasets."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from airflow.sdk import BaseHook
from google.api_core.client_options import ClientOptions
from google.api_core.exceptions import BadRequest, NotFound, PreconditionFailed

from vertex_tuning.exceptions import (
    ConfigurationError,
    ContentMismatchError,
    VertexRequestError,
    VertexUnavailableError,
)
from vertex_tuning.hooks.errors import google_errors
from vertex_tuning.hooks.rest import TIMEOUT
from vertex_tuning.hooks.uploads import PARALLEL_FROM, UPLOAD_CHUNK, WORKERS, LocalFile, Progress, Slice, StoredObject
from vertex_tuning.text.plain_text import plain, without_secrets

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

    from vertex_tuning.hooks.connection import GoogleConnection

JSONL: Final = "application/jsonl"
PART_SUFFIX: Final = ".part-"
LISTED_FROM: Final = 20
"""Wanted objects of a folder from which the folder is listed."""


class StorageHook(BaseHook):
    """Uploads files to buckets and reads them.

    :param connection: the Google Cloud connection; its location does not matter
    """

    def __init__(self, connection: GoogleConnection) -> None:
        super().__init__()
        self.connection = connection

    @cached_property
    def storage(self) -> Client:
        """Google's client for Cloud Storage, with the credentials of the connection."""
        from google.cloud.storage import Client

        options = ClientOptions(api_endpoint=self.connection.storage_endpoint or None)
        credentials = self.connection.get_credentials()
        return Client(project=self.connection.project, credentials=credentials, client_options=options)

    # Uploading

    def upload_once(self, path: str, bucket: str, name: str, content_type: str = JSONL) -> str:
        """Upload a file unless the object exists. The name of the object must be derived from its content.

        The upload is atomic: if it is killed, there is no object. An existing object is never overwritten. A checksum
        covers every byte. The service compares it before the object exists, and this method compares it afterwards.

        :param path: path of the local file
        :param bucket: name of the bucket
        :param name: name of the object
        :param content_type: media type of the object
        :returns: `gs://` URI of the object
        :raises ContentMismatchError: the object exists with other content
        :raises VertexUnavailableError: the upload failed, but the next attempt may succeed
        """
        blob = self.storage.bucket(bucket).blob(name)
        with google_errors(f"uploading to gs://{bucket}/{name}"):
            local = LocalFile.read(path)
            if self._is_there(blob, local):
                self.log.info("gs://%s/%s is there already; nothing to upload.", bucket, name)
            else:
                self._send(local, blob, content_type)
                if not self._is_there(blob, local):
                    raise VertexUnavailableError(f"gs://{bucket}/{name} is not there after its upload.")
            if local.size >= PARALLEL_FROM:
                self._remove_parts(blob)
        return f"gs://{bucket}/{name}"

    def _is_there(self, blob: Blob, local: LocalFile) -> bool:
        # A blob with a generation is the service's response to our own upload.
        stored = _stored(blob if blob.generation else blob.bucket.get_blob(blob.name, timeout=TIMEOUT))
        if stored and not local.is_same(stored):
            raise ContentMismatchError(
                f"Found {stored}, expected the content of {local}. The object was not overwritten: delete it, or "
                "upload under another prefix."
            )
        return stored is not None

    def _send(self, local: LocalFile, blob: Blob, content_type: str) -> None:
        progress = Progress(f"gs://{blob.bucket.name}/{blob.name}", local.size, self.log.info)
        send = self._send_parts if local.size >= PARALLEL_FROM else self._send_stream
        try:
            send(local, blob, content_type, progress)
        except BadRequest as error:
            # This is also the error for content that does not match its checksum because it was damaged in transit.
            self.log.warning("%s. Sending it once more.", plain(without_secrets(str(error))))
            send(local, blob, content_type, progress)
        progress.finish()

    def _send_stream(self, local: LocalFile, blob: Blob, content_type: str, progress: Progress) -> None:
        blob.chunk_size = UPLOAD_CHUNK
        # The object exists: from another upload, or from our own if its response was lost. The caller checks it.
        with contextlib.suppress(PreconditionFailed):
            blob.upload_from_file(
                Slice(local, progress),
                size=local.size,
                content_type=content_type,
                if_generation_match=0,
                checksum="crc32c",
                crc32c_checksum_value=local.crc32c,
                timeout=TIMEOUT,
            )

    def _send_parts(self, local: LocalFile, blob: Blob, content_type: str, progress: Progress) -> None:
        """Upload parts in parallel as separate objects, and compose the final object from them.

        `upload_chunks_concurrently` would overwrite an existing object: its XML API has no precondition. An attempt
        uses the parts that a killed attempt left.
        """
        from google.cloud.storage import transfer_manager

        wanted = {f"{blob.name}{PART_SUFFIX}{index:02}": part for index, part in enumerate(local.parts())}
        there = self._good_parts(blob, wanted)
        missing = {name: part for name, part in wanted.items() if name not in there}
        transfer_manager.upload_many(
            [
                (Slice(part, progress), blob.bucket.blob(name, chunk_size=UPLOAD_CHUNK))
                for name, part in missing.items()
            ],
            skip_if_exists=True,
            raise_exception=True,
            worker_type=transfer_manager.THREAD,
            max_workers=WORKERS,
            upload_kwargs={"checksum": "crc32c", "timeout": TIMEOUT},
        )
        there = self._good_parts(blob, wanted)
        self._join(blob, [there.get(name) for name in wanted], content_type)

    def _good_parts(self, blob: Blob, wanted: dict[str, LocalFile]) -> dict[str, Blob]:
        """The parts that exist with the right content. Parts with other content are deleted."""
        good: dict[str, Blob] = {}
        for found in self._parts(blob):
            part, stored = wanted.get(found.name), _stored(found)
            if part and stored and part.is_same(stored):
                good[found.name] = found
            else:
                self._delete(found)
        return good

    def _join(self, blob: Blob, parts: list[Blob | None], content_type: str) -> None:
        blob.content_type = content_type
        present = [part for part in parts if part is not None]
        # If parts are missing or the final object exists, another attempt has composed it.
        if len(present) == len(parts):
            with contextlib.suppress(PreconditionFailed, NotFound):
                generations = [part.generation for part in present]
                blob.compose(present, if_generation_match=0, if_source_generation_match=generations, timeout=TIMEOUT)

    def _remove_parts(self, blob: Blob) -> None:
        for part in self._parts(blob):
            self._delete(part)

    def _parts(self, blob: Blob) -> list[Blob]:
        return list(blob.bucket.list_blobs(prefix=f"{blob.name}{PART_SUFFIX}", timeout=TIMEOUT))

    def _delete(self, blob: Blob) -> None:
        with contextlib.suppress(NotFound, PreconditionFailed):
            blob.delete(if_generation_match=blob.generation, timeout=TIMEOUT)

    # Small objects

    def write_object(self, uri: str, data: bytes, content_type: str) -> str:
        """Write a small object. An existing object is overwritten.

        :param uri: `gs://BUCKET/NAME`
        :param data: content of the object
        :param content_type: media type of the object
        :returns: the URI
        """
        with google_errors(f"writing {uri}"):
            self._blob(uri).upload_from_string(data, content_type, checksum="crc32c", timeout=TIMEOUT)
        return uri

    def replace_object(self, uri: str, data: bytes, content_type: str, generation: int) -> bool:
        """Write a small object, unless another process has written it in the meantime.

        :param uri: `gs://BUCKET/NAME`
        :param data: content of the object
        :param content_type: media type of the object
        :param generation: generation to replace; 0 if the object must not exist
        :returns: whether the object was written
        """
        blob = self._blob(uri)
        with google_errors(f"writing {uri}"):
            try:
                blob.upload_from_string(
                    data, content_type, checksum="crc32c", if_generation_match=generation, timeout=TIMEOUT
                )
            except PreconditionFailed:
                return False
        return True

    def write_file(self, uri: str, path: Path, content_type: str) -> str:
        """Write the content of a local file to an object. An existing object is overwritten.

        :param uri: `gs://BUCKET/NAME`
        :param path: path of the local file
        :param content_type: media type of the object
        :returns: the URI
        """
        blob = self._blob(uri)
        blob.chunk_size = UPLOAD_CHUNK
        with google_errors(f"writing {uri}"):
            blob.upload_from_filename(str(path), content_type, checksum="crc32c", timeout=TIMEOUT)
        return uri

    def delete_object(self, stored: StoredObject) -> None:
        """Delete an object. It is no error if the object is gone, or was replaced since it was found."""
        blob = self._blob(stored.uri)
        with google_errors(f"deleting {stored.uri}"), contextlib.suppress(NotFound, PreconditionFailed):
            blob.delete(if_generation_match=stored.generation, timeout=TIMEOUT)

    def read_object(self, uri: str, limit: int) -> bytes:
        """Read the content of a small object.

        :param uri: `gs://BUCKET/NAME`
        :param limit: largest allowed size in bytes
        :raises NotFoundError: the object does not exist
        :raises VertexRequestError: the object is larger than `limit`
        """
        with google_errors(f"reading {uri}"):
            blob = self._blob(uri)
            blob.reload(timeout=TIMEOUT)
            if blob.size > limit:
                raise VertexRequestError(f"{uri}: found {blob.size} bytes, expected at most {limit}.")
            content: bytes = blob.download_as_bytes(timeout=TIMEOUT)
        return content

    def find_object(self, uri: str) -> StoredObject | None:
        """The metadata of an object; None if the object does not exist.

        :param uri: `gs://BUCKET/NAME`
        """
        blob = self._blob(uri)
        with google_errors(f"looking for {uri}"):
            return _stored(blob.bucket.get_blob(blob.name, timeout=TIMEOUT))

    def find_objects(self, uris: Iterable[str]) -> dict[str, StoredObject | None]:
        """The metadata of many objects by URI; None for an object that does not exist.

        Objects that the credentials may not see are not in the result. A folder of which many objects are wanted is
        listed once.

        :param uris: `gs://BUCKET/NAME` each
        """
        folders: dict[str, list[str]] = defaultdict(list)
        for uri in uris:
            folders[uri.rpartition("/")[0]].append(uri)
        found: dict[str, StoredObject | None] = {}
        for folder, wanted in folders.items():
            try:
                if len(wanted) >= LISTED_FROM:
                    found |= self._listed(folder, wanted)
                else:
                    found |= {uri: self.find_object(uri) for uri in wanted}
            except VertexRequestError as error:
                self.log.warning("Files in %s are not looked up: %s", plain(folder), error)
        return found

    def _listed(self, folder: str, wanted: list[str]) -> dict[str, StoredObject | None]:
        """The wanted objects of a folder, from a listing of the folder."""
        found: dict[str, StoredObject | None] = dict.fromkeys(wanted)
        some = self._blob(wanted[0])
        prefix = some.name.removesuffix(some.name.rpartition("/")[2])
        with google_errors(f"listing {folder}"):
            for stored in map(_stored, some.bucket.list_blobs(prefix=prefix, delimiter="/", timeout=TIMEOUT)):
                if stored and stored.uri in found:
                    found[stored.uri] = stored
        return found

    def list_objects(self, pattern: str) -> list[StoredObject]:
        """Objects whose URI matches a pattern, sorted by name.

        :param pattern: `gs://BUCKET/PATTERN`; `*` stands for any text without a slash, `?` for a character
        """
        blob = self._blob(pattern)
        prefix = re.split(r"[*?\[]", blob.name, maxsplit=1)[0]
        with google_errors(f"listing {pattern}"):
            blobs = list(blob.bucket.list_blobs(prefix=prefix, timeout=TIMEOUT))
        depth = blob.name.count("/")
        fitting = [item for item in blobs if fnmatchcase(item.name, blob.name) and item.name.count("/") == depth]
        return [stored for stored in map(_stored, fitting) if stored]

    @contextlib.contextmanager
    def open_object(self, uri: str, chunk_size: int | None = None) -> Iterator[IO[bytes]]:
        """Open an object for reading as a stream. All bytes are of the same generation.

        :param uri: `gs://BUCKET/NAME`
        :param chunk_size: bytes per request; None for the client's default
        :raises NotFoundError: the object does not exist
        """
        blob = self._blob(uri)
        with google_errors(f"reading {uri}"):
            blob.reload(timeout=TIMEOUT)
            with blob.open("rb", chunk_size=chunk_size, timeout=TIMEOUT) as file:
                yield file

    def _blob(self, uri: str) -> Blob:
        from google.cloud.storage import Blob

        try:
            return Blob.from_uri(uri, client=self.storage)
        except ValueError as error:
            raise ConfigurationError(f"Found {uri!r} as the URI of an object, expected gs://BUCKET/NAME.") from error


def _stored(blob: Blob | None) -> StoredObject | None:
    if blob is None:
        return None
    uri = f"gs://{blob.bucket.name}/{blob.name}"
    content_type = blob.content_type or ""
    return StoredObject(uri, blob.generation, blob.size, blob.crc32c, content_type)
