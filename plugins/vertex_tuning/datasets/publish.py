"""A prepared dataset, put into its folder in Cloud Storage: the files, the report, and at last the manifest."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import pendulum

from vertex_tuning.datasets.lines import os_errors
from vertex_tuning.datasets.manifest import (
    MANIFEST,
    MAX_MANIFEST,
    REPORT,
    Manifest,
    ManifestFile,
    dataset_hash,
    place_key,
)
from vertex_tuning.datasets.prepare import DatasetReport, Prepared, Source, write_report
from vertex_tuning.exceptions import DatasetError, NotFoundError, TransientError, VertexUnavailableError

if TYPE_CHECKING:
    from vertex_tuning.hooks.storage import StorageHook

log = logging.getLogger(__name__)


class Files(msgspec.Struct, frozen=True):
    """One set of a dataset and where its bytes are.

    :param source: its only file, when that is used as it is
    :param tokens: billable, for one epoch; `counted` says how
    """

    report: DatasetReport
    source: Source
    tokens: int
    counted: str

    @property
    def in_place(self) -> bool:
        """Whether a tuning job can read it where it is."""
        name = self.source.name
        return self.report.path is None and name.startswith("gs://") and name.endswith(".jsonl")


class DatasetPublisher:
    """
    :param parent: `gs://` folder that datasets have their folders in
    :param scratch: existing local folder for copies
    """

    def __init__(self, storage: StorageHook, parent: str, scratch: Path) -> None:
        self._storage, self._parent, self._scratch = storage, parent, scratch

    def publish(
        self,
        prepared: Prepared,
        files: Mapping[str, Files],
        dag_id: str,
        run_id: str,
        require_same: Callable[[], None],
    ) -> tuple[str, Manifest]:
        """Upload what is not there yet.

        :returns: the dataset's folder and its manifest
        :param files: `training` and, if there is one, `validation`
        :param require_same: raises when a source has changed; called before the manifest vouches for what was uploaded
        :raises TransientError: a source has changed since it was checked
        """
        hashes = [files[kind].report.sha256 if kind in files else None for kind in ("training", "validation")]
        name = dataset_hash(hashes)
        folder = self._folder(name, files)
        if manifest := self._manifest(folder, files):
            log.info("%s is complete already; nothing to upload.", folder)
            return folder, manifest
        placed = {kind: self._publish_file(kind, one, folder) for kind, one in files.items()}
        require_same()
        manifest = Manifest(
            dataset_hash=name,
            training=placed["training"],
            validation=placed.get("validation"),
            report_uri=self._write_report(prepared, folder),
            created=pendulum.now("UTC").isoformat(),
            dag_id=dag_id,
            run_id=run_id,
        )
        self._storage.write_object(f"{folder}/{MANIFEST}", manifest.encode(), "application/json")
        return folder, manifest

    def _folder(self, name: str, files: Mapping[str, Files]) -> str:
        """By content; of data that is used where it is, by its place as well.

        Else two tunings with copies of the same data would overwrite each other's manifest.
        """
        places = [file.source.name for file in files.values() if file.in_place]
        return f"{self._parent}/{name}-{place_key(places)}" if places else f"{self._parent}/{name}"

    def refuse(self, prepared: Prepared, run: str) -> str:
        """Keep the report on a dataset that is not to be used; its URI.

        :param run: the name of the run's folder
        """
        return self._write_report(prepared, f"{self._parent}/refused/{run}")

    def _write_report(self, prepared: Prepared, folder: str) -> str:
        path = self._scratch / REPORT
        with path.open("wb") as file:
            write_report(prepared, file)
        return self._storage.write_file(f"{folder}/{REPORT}", path, "application/json")

    def _manifest(self, folder: str, files: Mapping[str, Files]) -> Manifest | None:
        """The manifest that is there, when all it says still holds."""
        try:
            manifest = Manifest.parse(self._storage.read_object(f"{folder}/{MANIFEST}", MAX_MANIFEST))
        except NotFoundError:
            return None
        if manifest is None:
            log.warning("%s/%s cannot be read; it is written anew.", folder, MANIFEST)
            return None
        wanted = {self._uri(kind, one, folder): one.report.sha256 for kind, one in files.items()}
        holds = {one.uri: one.sha256 for one in manifest.files} == wanted and all(map(self._is_there, manifest.files))
        if not holds:
            log.warning("%s/%s speaks of objects that are gone or others; it is written anew.", folder, MANIFEST)
        return manifest if holds else None

    def _is_there(self, file: ManifestFile) -> bool:
        found = self._storage.find_object(file.uri)
        return found is not None and (found.generation, found.crc32c) == (file.generation, file.crc32c)

    def _uri(self, kind: str, file: Files, folder: str) -> str:
        return file.source.name if file.in_place else f"{folder}/{kind}.jsonl"

    def _publish_file(self, kind: str, file: Files, folder: str) -> ManifestFile:
        report, uri = file.report, self._uri(kind, file, folder)
        if file.in_place:
            log.info("%s is in Cloud Storage already and used where it is.", uri)
        else:
            bucket, _, name = uri.removeprefix("gs://").partition("/")
            self._storage.upload_once(str(self._local_path(kind, file)), bucket, name)
        stored = self._storage.find_object(uri)
        if stored is None:
            raise VertexUnavailableError(f"{uri} was there and is not any more.")
        return ManifestFile(
            uri=uri,
            generation=stored.generation,
            crc32c=stored.crc32c,
            sha256=report.sha256,
            bytes=report.bytes,
            rows=report.rows,
            tokens=file.tokens,
            format=report.format,
            source=report.name,
        )

    def _local_path(self, kind: str, file: Files) -> Path:
        """The file with the bytes of the dataset; fetched when they are on another machine."""
        if file.report.path or file.source.path:
            return Path(file.report.path or str(file.source.path))
        copy = self._scratch / f"{kind}.copy"
        with os_errors(file.source.label), file.source.open() as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target)
        with copy.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != file.report.sha256:
                raise TransientError(f"{file.source.label} changed while it was read; the next attempt reads it anew.")
        return copy


def require_unchanged(storage: StorageHook, manifest_uri: str, uris: Iterable[str]) -> None:
    """See that a dataset still is what was checked and priced.

    :param uris: the files a job is to be created with
    :raises DatasetError: one of them has other content or is gone, or the manifest does not speak of it (any more)
    """
    manifest = Manifest.parse(storage.read_object(manifest_uri, MAX_MANIFEST))
    checked = {file.uri: file for file in manifest.files} if manifest else {}
    for uri in uris:
        if uri not in checked:
            raise DatasetError(
                f"{manifest_uri}: found nothing about {uri}: it is the manifest of other data, or the manifest "
                f"is none. {_CLEAR}"
            )
        found = storage.find_object(uri)
        # By content: the same data may have been copied there once more.
        if found is None or (found.size, found.crc32c) != (checked[uri].bytes, checked[uri].crc32c):
            raise DatasetError(f"{uri}: found other data than was checked, or none. {_CLEAR}")


_CLEAR: Final = "No job was created. Clear the upload, and what follows it, to check and price what is there now."
