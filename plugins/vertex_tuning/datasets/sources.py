"""Where a dataset's files come from: the local disk, Cloud Storage, or whatever else Airflow has a connection to."""

from __future__ import annotations

import glob
import itertools
import re
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any, Final, cast

from vertex_tuning.datasets.dataset import Source
from vertex_tuning.exceptions import ConfigurationError, DatasetError

if TYPE_CHECKING:
    from vertex_tuning.hooks.storage import StorageHook

MAX_FILES: Final = 1000
"""One dataset has: more are a slip in a pattern."""

ENDINGS: Final = (".jsonl", ".csv", ".jsonl.gz", ".csv.gz")
"""What local files of data are called. Nothing else is opened: names come from a form, and what is wrong with a file is
quoted in logs.
"""

_MAGIC: Final = re.compile(r"[*?\[]")
_OF_THIS_MACHINE: Final = ("file", "local")


def find_sources(given: str, folders: Sequence[Path], storage: StorageHook) -> list[Source]:
    """The files that a text names, by name.

    :param given: local path or glob (with or without `file://`), `gs://` URI or glob, or a URI of another file system
        that Airflow knows, as `s3://my_connection@bucket/rows.jsonl`
    :param folders: local files are read from these alone; relative paths are relative to the first
    :raises ConfigurationError: it is not allowed, or of no file system there is
    :raises DatasetError: there is no such file
    """
    scheme, is_uri, path = given.partition("://")
    scheme = scheme.lower()
    if not is_uri or scheme in _OF_THIS_MACHINE:
        found = _local(given, path if is_uri else given, folders)
    elif scheme == "gs":
        found = _in_cloud_storage(given, storage)
    else:
        found = _elsewhere(given)
    if not found:
        raise DatasetError(f"{given}: found no file, expected one at least.")
    if len(found) > MAX_FILES:
        raise DatasetError(f"{given}: found more than {MAX_FILES} files.")
    return found


def version(source: Source, storage: StorageHook) -> object:
    """Something that changes when the content does; None where nobody can tell."""
    if source.path:
        status = source.path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns
    return storage.find_object(source.name) if source.name.startswith("gs://") else None


def _local(given: str, path: str, folders: Sequence[Path]) -> list[Source]:
    fixed = _MAGIC.split(path, maxsplit=1)[0]
    if fixed != path:
        return _matching(given, path, fixed.rpartition("/")[0], folders)
    file = _inside(given, path, folders)
    if not file.is_file():
        raise DatasetError(f"{given}: found no file at {file}, expected JSON lines or CSV, or a gs:// URI.")
    if not file.name.endswith(ENDINGS):
        raise ConfigurationError(f"{given}: found a file that ends in {file.suffix!r}, expected {', '.join(ENDINGS)}.")
    return [Source.local(file, given)]


def _matching(given: str, pattern: str, start: str, folders: Sequence[Path]) -> list[Source]:
    """
    :param start: the folder before the first wildcard
    """
    if ".." in PurePath(pattern).parts:
        raise ConfigurationError(f"{given}: found '..', expected none in a pattern.")
    _inside(given, start, folders)
    names = itertools.islice(glob.iglob(pattern, root_dir=folders[0], recursive=True), MAX_FILES + 1)  # noqa: PTH207 - may be absolute
    files = [(name, _inside(given, name, folders)) for name in sorted(names)]
    return [Source.local(file, name) for name, file in files if file.name.endswith(ENDINGS) and file.is_file()]


def _inside(given: str, path: str, folders: Sequence[Path]) -> Path:
    """The real path, links followed, of something in one of the folders that may be read."""
    try:
        real = (folders[0] / path).resolve()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{given!r} cannot be a path: {error}.") from error
    allowed = [folder.resolve() for folder in folders]
    inside = [real.relative_to(folder) for folder in allowed if real.is_relative_to(folder)]
    if inside and all(any(part.startswith(".") for part in one.parts) for one in inside):
        raise ConfigurationError(f"{given}: is hidden or lies in a hidden folder; no dataset is read from there.")
    if not inside:
        raise ConfigurationError(
            f"{given}: lies outside the folders datasets are read from ({', '.join(map(str, allowed))}). "
            "Add its folder to [vertex_tuning] dataset_dirs."
        )
    return real


def _in_cloud_storage(given: str, storage: StorageHook) -> list[Source]:
    uris = [one.uri for one in storage.list_objects(given)] if _MAGIC.search(given) else [given]

    def source(uri: str) -> Source:
        # A reader that is a context manager is all that a source is asked for.
        return Source(uri, lambda: cast(IO[bytes], storage.open_object(uri)))

    return [source(uri) for uri in uris[: MAX_FILES + 1]]


def _elsewhere(given: str) -> list[Source]:
    from airflow.sdk import ObjectStoragePath

    try:
        place = ObjectStoragePath(given)
        system = place.fs
    except (ValueError, ImportError) as error:
        raise ConfigurationError(f"{given}: {error}. Install the Airflow provider of that file system.") from error
    # `zip::file:///etc/passwd` and the like: a file system in another one.
    if "::" in given or place.protocol in _OF_THIS_MACHINE:
        raise ConfigurationError(f"{given}: expected the URI of a file or a pattern, and nothing else.")
    paths = sorted(system.glob(place.path)) if _MAGIC.search(given) else [place.path]

    def source(path: str) -> Source:
        return Source(f"{place.protocol}://{path.lstrip('/')}", lambda: _open(given, system, path))

    return [source(str(path)) for path in paths[: MAX_FILES + 1]]


def _open(given: str, system: Any, path: str) -> IO[bytes]:
    try:
        return cast(IO[bytes], system.open(path, "rb"))
    except FileNotFoundError as error:
        raise DatasetError(f"{given}: found no file at {path}.") from error
