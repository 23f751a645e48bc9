"""Checking a dataset and putting it where a tuning job can read it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
from airflow.sdk import conf

from vertex_tuning.datasets import DatasetReport, inspect
from vertex_tuning.exceptions import ConfigurationError, DatasetError
from vertex_tuning.operators.base import VertexOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class UploadDatasetOperator(VertexOperator):
    """
    Check training and validation data row by row, upload them, and return where they are and what they hold.

    Objects are named by their content, so the same data is uploaded once. Data that is in Cloud Storage already
    (`gs://…`) is checked where it is and not copied.

    :param training_data: local JSONL file or `gs://` URI. (templated)
    :param validation_data: the same; none when empty. (templated)
    :param bucket: bucket to upload to. (templated)
    :param prefix: folder in the bucket. (templated)
    :param base_dir: what relative paths are relative to. Only files in it, or in one of the folders of
        `[vertex_tuning] dataset_dirs` (separated by colons), are read: a path may come from a form.
    """

    template_fields: Sequence[str] = (
        *VertexOperator.template_fields,
        "training_data",
        "validation_data",
        "bucket",
        "prefix",
    )

    def __init__(
        self,
        *,
        training_data: str,
        validation_data: str | None = None,
        bucket: str,
        prefix: str = "datasets",
        base_dir: str = ".",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.training_data = training_data
        self.validation_data = validation_data
        self.bucket = bucket
        self.prefix = prefix
        self.base_dir = base_dir

    def execute(self, context: Context) -> dict[str, Any]:
        sources = {"training": self.training_data}
        if self.validation_data and self.validation_data != "None":
            sources["validation"] = self.validation_data
        # All checks come before the first upload: half a dataset helps nobody.
        reports = {kind: self._inspect(source) for kind, source in sources.items()}
        result: dict[str, Any] = {"validation_uri": None}
        for kind, report in reports.items():
            result[f"{kind}_uri"] = self._upload(kind, sources[kind], report)
            result[kind] = msgspec.to_builtins(report)
        return result

    def _inspect(self, source: str) -> DatasetReport:
        with self._open(source) as file:
            report = inspect(file, source)
        report.require_valid()
        self.log.info("%s: %d rows, %d bytes, sha256 %s", source, report.rows, report.size, report.sha256)
        return report

    def _upload(self, kind: str, source: str, report: DatasetReport) -> str:
        if source.startswith("gs://"):
            self.log.info("%s is in Cloud Storage already and used where it is.", source)
            return source
        name = f"{self.prefix.strip('/')}/{report.sha256}/{kind}.jsonl"
        uri = self.storage.upload_once(str(self._local(source)), self.bucket, name)
        self.log.info("%s is at %s", source, uri)
        return uri

    @contextlib.contextmanager
    def _open(self, source: str) -> Iterator[IO[bytes]]:
        if source.startswith("gs://"):
            with self.storage.open_object(source) as file:
                yield file
        else:
            with self._local(source).open("rb") as file:
                yield file

    def _local(self, source: str) -> Path:
        base = Path(self.base_dir).resolve()
        path = (base / source).resolve()
        further = conf.get("vertex_tuning", "dataset_dirs", fallback="").split(":")
        allowed = [base, *(Path(folder).resolve() for folder in further if folder)]
        if not any(path.is_relative_to(folder) for folder in allowed):
            raise ConfigurationError(
                f"{source}: lies outside the folders datasets are read from ({', '.join(map(str, allowed))}). "
                "Add its folder to [vertex_tuning] dataset_dirs."
            )
        if not path.is_file():
            raise DatasetError(f"{source}: found no file at {path}, expected a JSONL file or a gs:// URI.")
        return path
