"""Cloud Storage: where datasets lie."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
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
from vertex_tuning.plain_text import plain, without_secrets

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Client

    from vertex_tuning.hooks.connection import GoogleConnection

JSONL: Final = "application/jsonl"
PART_SUFFIX: Final = ".part-"


class StorageHook(BaseHook):
    """Puts files into buckets and reads them.

    :param connection: the Google Cloud connection; its location does not matter
    """

    def __init__(self, connection: GoogleConnection) -> None:
        super().__init__()
        self.connection = connection

    @cached_property
    def storage(self) -> Client:
        """The official client, with the connection's credentials."""
        from google.cloud.storage import Client

        options = ClientOptions(api_endpoint=self.connection.storage_endpoint or None)
        credentials = self.connection.get_credentials()
        return Client(project=self.connection.project, credentials=credentials, client_options=options)

    # Uploading

    def upload_once(self, path: str, bucket: str, name: str, content_type: str = JSONL) -> str:
        """Upload a file unless the object is there; names are made from the content, so equal is same.

        The object appears whole or not at all, whenever this is killed, and is never overwritten. Every byte is
        covered by a checksum that the service compares before the object is there, and we compare afterwards.

        :returns: the object's URI
        :raises ContentMismatchError: an object of that name holds something else
        :raises VertexUnavailableError: it could not be uploaded, but may be next time
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
        # With a generation it is what the service answered to our own upload.
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
            # Among else what the service says to content that does not fit its checksum: damaged on the way.
            self.log.warning("%s. Sending it once more.", plain(without_secrets(str(error))))
            send(local, blob, content_type, progress)
        progress.finish()

    def _send_stream(self, local: LocalFile, blob: Blob, content_type: str, progress: Progress) -> None:
        blob.chunk_size = UPLOAD_CHUNK
        # Somebody else was faster, or the answer to our own upload was lost: the object is looked at either way.
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
        """Upload parts side by side, as objects of their own, and join them under the final name.

        Not with `upload_chunks_concurrently`: the XML API behind it takes no precondition, so it overwrites. What is
        left of parts by an attempt that was killed is used by the next one.
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
        """The parts that are there; those with other content are deleted."""
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
        # Parts that are gone, or a final object that is there: somebody else has joined them.
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
        """Put a small object, whatever was there before.

        :returns: the URI
        """
        with google_errors(f"writing {uri}"):
            self._blob(uri).upload_from_string(data, content_type, checksum="crc32c", timeout=TIMEOUT)
        return uri

    def write_file(self, uri: str, path: Path, content_type: str) -> str:
        """Put the content of a local file, whatever was there before.

        :returns: the URI
        """
        blob = self._blob(uri)
        blob.chunk_size = UPLOAD_CHUNK
        with google_errors(f"writing {uri}"):
            blob.upload_from_filename(str(path), content_type, checksum="crc32c", timeout=TIMEOUT)
        return uri

    def read_object(self, uri: str, limit: int) -> bytes:
        """The whole of a small object.

        :param limit: most bytes it may have
        :raises VertexRequestError: when there is no such object, or it is larger
        """
        with google_errors(f"reading {uri}"):
            blob = self._blob(uri)
            blob.reload(timeout=TIMEOUT)
            if blob.size > limit:
                raise VertexRequestError(f"{uri}: found {blob.size} bytes, expected at most {limit}.")
            content: bytes = blob.download_as_bytes(timeout=TIMEOUT)
        return content

    def find_object(self, uri: str) -> StoredObject | None:
        """What the service says of an object; None when there is none."""
        blob = self._blob(uri)
        with google_errors(f"looking for {uri}"):
            return _stored(blob.bucket.get_blob(blob.name, timeout=TIMEOUT))

    def list_objects(self, pattern: str) -> list[StoredObject]:
        """Objects whose URI fits a pattern, by name; `*` and `?` stand for anything but a slash."""
        blob = self._blob(pattern)
        prefix = re.split(r"[*?\[]", blob.name, maxsplit=1)[0]
        with google_errors(f"listing {pattern}"):
            found = list(blob.bucket.list_blobs(prefix=prefix, timeout=TIMEOUT))
        depth = blob.name.count("/")
        fitting = [one for one in found if fnmatchcase(one.name, blob.name) and one.name.count("/") == depth]
        return [stored for stored in map(_stored, fitting) if stored]

    @contextlib.contextmanager
    def open_object(self, uri: str) -> Iterator[IO[bytes]]:
        """Read an object as it streams in; always one and the same generation.

        :raises VertexRequestError: when there is no such object
        """
        blob = self._blob(uri)
        with google_errors(f"reading {uri}"):
            blob.reload(timeout=TIMEOUT)
            with blob.open("rb", timeout=TIMEOUT) as file:
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
    return StoredObject(uri=uri, generation=blob.generation, size=blob.size, crc32c=blob.crc32c)
