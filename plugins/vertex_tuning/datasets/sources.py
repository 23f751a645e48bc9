"""Find the files of a dataset: on the local disk, in Cloud Storage, or in a file system of an Airflow connection."""

from __future__ import annotations

import glob
import logging
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any, Final, cast

from vertex_tuning.datasets.lines import os_errors
from vertex_tuning.datasets.prepare import Source
from vertex_tuning.datasets.source_names import OF_THIS_MACHINE, WILDCARD, check_source_name, split_scheme
from vertex_tuning.exceptions import ConfigurationError, ConnectionNotFoundError, DatasetError, TuningError
from vertex_tuning.text.plain_text import plain, without_secrets

if TYPE_CHECKING:
    from vertex_tuning.hooks.storage import StorageHook

_log = logging.getLogger(__name__)

MAX_FILES: Final = 1000
"""Most files of a dataset: more are probably a mistake in a pattern."""

DATA_FILE_ENDINGS: Final = (".jsonl", ".csv", ".jsonl.gz", ".csv.gz")
"""What local files of data are called. Nothing else is opened: names come from a form, and what is wrong with a file is
quoted in logs.
"""
_ENDINGS: Final = ", ".join(DATA_FILE_ENDINGS)


def readable_folders(base_dir: str | Path) -> list[Path]:
    """The folders of local datasets; the first is the base folder of relative paths."""
    # Imported here: local files are checked without Airflow, too.
    from airflow.sdk import conf

    further = conf.get("vertex_tuning", "dataset_dirs", fallback="").split(":")
    return [Path(base_dir).resolve(), *(Path(folder) for folder in further if folder)]


def find_sources(given: str, folders: Sequence[Path], storage: StorageHook) -> list[Source]:
    """The files of a path, pattern or URI, sorted by name.

    :param given: local path or glob (with or without `file://`), `gs://` URI or glob, or a URI of another file system
        that Airflow knows, as `s3://my_connection@bucket/rows.jsonl`
    :param folders: allowed folders of local files; the first is the base folder of relative paths
    :raises ConfigurationError: the source is not allowed, or its file system is unknown
    :raises DatasetError: there is no such file, or the search failed
    """
    check_source_name(given)
    scheme, path = split_scheme(given)
    with os_errors(_shown(given)):
        if scheme in OF_THIS_MACHINE:
            found = _local(given, path, folders)
        elif scheme == "gs":
            found = _in_cloud_storage(given, storage)
        else:
            found = _elsewhere(given)
    if not found:
        raise DatasetError(f"{_shown(given)}: found no file, expected at least one that ends in {_ENDINGS}.")
    if len(found) > MAX_FILES:
        raise DatasetError(f"{_shown(given)}: found more than {MAX_FILES} files.")
    return found


def version(source: Source, storage: StorageHook) -> object:
    """A value that changes with the content of a source; None if it is not known, or if the source is gone."""
    if source.path:
        try:
            with os_errors(source.label):
                status = source.path.stat()
        except DatasetError:
            return None
        return status.st_ino, status.st_size, status.st_mtime_ns
    return storage.find_object(source.name) if source.name.startswith("gs://") else None


def _local(given: str, path: str, folders: Sequence[Path]) -> list[Source]:
    fixed = WILDCARD.split(path, maxsplit=1)[0]
    if fixed != path:
        return _matching(given, path, fixed.rpartition("/")[0], folders)
    return [Source.local(_file_inside(given, path, folders), given)]


def _matching(given: str, pattern: str, start: str, folders: Sequence[Path]) -> list[Source]:
    """The local files that match a pattern.

    :param start: the folder before the first wildcard
    """
    if ".." in PurePath(pattern).parts:
        raise ConfigurationError(f"{_shown(given)}: found '..', expected a pattern without it.")
    _inside(given, start, folders)
    matching = (name for name in glob.iglob(pattern, root_dir=folders[0], recursive=True) if _is_data(name))  # noqa: PTH207 - may be absolute
    files: dict[str, Path] = {}  # With **, glob may return a file several times.
    left_out: list[TuningError] = []
    for name in matching:
        try:
            files[name] = _file_inside(given, name, folders)
        except (ConfigurationError, DatasetError) as error:
            _log.warning("%s: left out %s: %s", _shown(given), _shown(name), error)
            left_out.append(error)
        if len(files) > MAX_FILES:
            break
    if left_out and not files:
        raise left_out[0]
    return [Source.local(file, name) for name, file in sorted(files.items())]


def _is_data(name: str) -> bool:
    """Whether a pattern that matches a file means it: other files may lie in the same folder."""
    return name.endswith(DATA_FILE_ENDINGS)


def _file_inside(given: str, path: str, folders: Sequence[Path]) -> Path:
    """The real path of a file of data, with links resolved, by `_inside`.

    :raises ConfigurationError: the file may not be read
    :raises DatasetError: there is no file
    """
    file = _inside(given, path, folders)
    with os_errors(_shown(path)):
        is_file = file.is_file()
    if not is_file:
        raise DatasetError(
            f"{_shown(given)}: found no file at {_shown(str(file))}, expected JSON lines or CSV, or a gs:// URI."
        )
    if not _is_data(file.name):
        raise ConfigurationError(f"{_shown(given)}: found a file that ends in {file.suffix!r}, expected {_ENDINGS}.")
    return file


def _inside(given: str, path: str, folders: Sequence[Path]) -> Path:
    """The real path, with links resolved, of a file in one of the allowed folders."""
    try:
        real = (folders[0] / path).resolve()
    except RuntimeError:
        # Python up to 3.12 reports a loop of links so.
        raise DatasetError(f"{_shown(given)}: found a loop of links at {_shown(path)}, expected a file.") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"'{_shown(given)}' cannot be a path: {error}.") from error
    allowed = [folder.resolve() for folder in folders]
    inside = [real.relative_to(folder) for folder in allowed if real.is_relative_to(folder)]
    if inside and all(any(part.startswith(".") for part in path.parts) for path in inside):
        raise ConfigurationError(f"{_shown(given)}: is hidden or in a hidden folder, from which datasets are not read.")
    if not inside:
        raise ConfigurationError(
            f"{_shown(given)}: is outside the allowed folders of datasets ({', '.join(map(str, allowed))}). "
            "Add its folder to [vertex_tuning] dataset_dirs."
        )
    return real


def _in_cloud_storage(given: str, storage: StorageHook) -> list[Source]:
    uris = [given]
    if WILDCARD.search(given):
        uris = [stored.uri for stored in storage.list_objects(given) if _is_data(stored.uri)]

    def source(uri: str) -> Source:
        # The caller needs only a context manager that reads bytes.
        return Source(uri, lambda: cast(IO[bytes], storage.open_object(uri)))

    return [source(uri) for uri in uris[: MAX_FILES + 1]]


def _elsewhere(given: str) -> list[Source]:
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        place = ObjectStoragePath(given)
        system = place.fs
    except AirflowNotFoundException:
        raise ConnectionNotFoundError(
            f"{_shown(given)}: found no Airflow connection of the id before the @, expected {given.partition(':')[0]}"
            "://CONNECTION_ID@BUCKET/PATH. Add the connection under Admin > Connections."
        ) from None
    except (ValueError, ImportError) as error:
        message = f"{given}: {error}. Install the Airflow provider of that file system."
        raise ConfigurationError(_shown(message)) from None
    paths = [place.path]
    if WILDCARD.search(given):
        paths = sorted(filter(_is_data, map(str, system.glob(place.path))))

    def source(path: str) -> Source:
        return Source(f"{place.protocol}://{path.lstrip('/')}", lambda: _open(given, system, path))

    return [source(path) for path in paths[: MAX_FILES + 1]]


def _open(given: str, system: Any, path: str) -> IO[bytes]:
    try:
        return cast(IO[bytes], system.open(path, "rb"))
    except FileNotFoundError:
        raise DatasetError(f"{_shown(given)}: found no file at {_shown(path)}.") from None


def _shown(given: str) -> str:
    return plain(without_secrets(given))
