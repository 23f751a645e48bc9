"""Publish a prepared dataset to its folder in Cloud Storage: the files, the report, and finally the manifest."""

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
    """The training set or the validation set of a dataset, and its file.

    :param report: result of the checks
    :param source: the source, if it is a single file that is used unchanged
    :param tokens: billable tokens of an epoch
    :param counted: method by which the tokens were counted, as text
    """

    report: DatasetReport
    source: Source
    tokens: int
    counted: str

    @property
    def in_place(self) -> bool:
        """Whether a tuning job can read the source itself, without an upload."""
        name = self.source.name
        return self.report.path is None and name.startswith("gs://") and name.endswith(".jsonl")


class DatasetPublisher:
    """Publishes datasets, each to a folder named by its content.

    :param storage: hook for Cloud Storage
    :param parent: `gs://` URI of the folder that contains the folders of datasets
    :param scratch: existing local folder for temporary copies
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
        """Upload the files that are missing in the folder of the dataset, then the report and the manifest.

        :param prepared: result of the checks
        :param files: `training` and, if there are such sets, `validation` and `test`
        :param dag_id: DAG of this run, for the manifest
        :param run_id: this DAG run, for the manifest
        :param require_same: function that raises an error if a source has changed since the check; it is called before
            the manifest is written
        :returns: `gs://` URI of the dataset's folder, and the manifest
        :raises TransientError: a source has changed since the check
        """
        hashes = [files[kind].report.sha256 if kind in files else None for kind in ("training", "validation")]
        hashes += [files["test"].report.sha256] if "test" in files else []
        name = dataset_hash(hashes)
        folder = self._folder(name, files)
        if manifest := self._manifest(folder, files):
            log.info("%s is already complete. Nothing is uploaded.", folder)
            return folder, manifest
        published = {kind: self._publish_file(kind, file, folder) for kind, file in files.items()}
        require_same()
        manifest = Manifest(
            dataset_hash=name,
            training=published["training"],
            validation=published.get("validation"),
            report_uri=self._write_report(prepared, folder),
            created=pendulum.now("UTC").isoformat(),
            dag_id=dag_id,
            run_id=run_id,
            test=published.get("test"),
        )
        self._storage.write_object(f"{folder}/{MANIFEST}", manifest.encode(), "application/json")
        return folder, manifest

    def _folder(self, name: str, files: Mapping[str, Files]) -> str:
        """The folder of a dataset: named by its content, and by the URI of files that are not uploaded.

        Without the URI two tunings with copies of the same data would overwrite each other's manifest.
        """
        places = [file.source.name for file in files.values() if file.in_place]
        return f"{self._parent}/{name}-{place_key(places)}" if places else f"{self._parent}/{name}"

    def refuse(self, prepared: Prepared, run: str) -> str:
        """Upload only the report of a dataset that is refused.

        :param prepared: result of the checks
        :param run: name of the run's folder
        :returns: `gs://` URI of the report
        """
        return self._write_report(prepared, f"{self._parent}/refused/{run}")

    def _write_report(self, prepared: Prepared, folder: str) -> str:
        path = self._scratch / REPORT
        with path.open("wb") as file:
            write_report(prepared, file)
        return self._storage.write_file(f"{folder}/{REPORT}", path, "application/json")

    def _manifest(self, folder: str, files: Mapping[str, Files]) -> Manifest | None:
        """The manifest in the folder if it still describes the files; otherwise None."""
        try:
            manifest = Manifest.parse(self._storage.read_object(f"{folder}/{MANIFEST}", MAX_MANIFEST))
        except NotFoundError:
            return None
        if manifest is None:
            log.warning("%s/%s is not a valid manifest. It is written again.", folder, MANIFEST)
            return None
        wanted = {self._uri(kind, file, folder): file.report.sha256 for kind, file in files.items()}
        listed = {file.uri: file.sha256 for file in manifest.files}
        if listed == wanted and all(map(self._is_there, manifest.files)):
            return manifest
        log.warning("%s/%s lists objects that are missing or have changed. It is written again.", folder, MANIFEST)
        return None

    def _is_there(self, file: ManifestFile) -> bool:
        stored = self._storage.find_object(file.uri)
        return stored is not None and (stored.generation, stored.crc32c) == (file.generation, file.crc32c)

    def _uri(self, kind: str, file: Files, folder: str) -> str:
        return file.source.name if file.in_place else f"{folder}/{kind}.jsonl"

    def _publish_file(self, kind: str, file: Files, folder: str) -> ManifestFile:
        report, uri = file.report, self._uri(kind, file, folder)
        if file.in_place:
            log.info("%s is already in Cloud Storage and is used without a copy.", uri)
        else:
            bucket, _, name = uri.removeprefix("gs://").partition("/")
            self._storage.upload_once(str(self._local_path(kind, file)), bucket, name)
        stored = self._storage.find_object(uri)
        if stored is None:
            raise VertexUnavailableError(f"{uri} is missing after its upload or check. Somebody may have deleted it.")
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
        """Path of a local file with the content; a remote source is downloaded."""
        if file.report.path or file.source.path:
            return Path(file.report.path or str(file.source.path))
        copy = self._scratch / f"{kind}.copy"
        with os_errors(file.source.label), file.source.open() as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target)
        with copy.open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != file.report.sha256:
                raise TransientError(f"{file.source.label} changed while it was read. The next attempt reads it again.")
        return copy


def require_unchanged(storage: StorageHook, manifest_uri: str, uris: Iterable[str]) -> None:
    """Check that the files of a dataset have not changed since they were checked and priced.

    :param storage: hook for Cloud Storage
    :param manifest_uri: `gs://` URI of the dataset's manifest
    :param uris: `gs://` URIs of the files for a tuning job
    :raises DatasetError: a file is missing or has other content, or the manifest does not list it
    """
    manifest = Manifest.parse(storage.read_object(manifest_uri, MAX_MANIFEST))
    checked = {file.uri: file for file in manifest.files} if manifest else {}
    for uri in uris:
        if uri not in checked:
            raise DatasetError(
                f"{manifest_uri}: found nothing about {uri}. The manifest belongs to other data or is not valid. "
                f"{_CLEAR}"
            )
        stored = storage.find_object(uri)
        # By content and not by generation: somebody may have copied the same data there again.
        if stored is None or (stored.size, stored.crc32c) != (checked[uri].bytes, checked[uri].crc32c):
            raise DatasetError(f"{uri}: found other data than was checked, or no data. {_CLEAR}")


_CLEAR: Final = "No job was created. Clear the upload task and all tasks after it to check and price the present data."
