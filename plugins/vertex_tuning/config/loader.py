"""Read the tunings of a folder from their YAML files.

Everything is checked when a file is read, so that a mistake shows in the DAG list and not at night in a run. A mistake
in one file names that file and does not affect the others.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vertex_tuning.config.strict_yaml import (
    MISTAKES_SHOWN,
    Document,
    Mistake,
    NotYamlError,
    read_yaml_file,
)
from vertex_tuning.config.tuning import NAME, Tuning
from vertex_tuning.exceptions import ConfigurationError, RetiredModelWarning, SmallSampleWarning
from vertex_tuning.schema import FROM_FILE, describe_error
from vertex_tuning.text.plain_text import MESSAGE_SHOWN, plain, without_secrets

__all__ = [
    "Tuning",
    "build_tunings",
    "first_mistakes",
    "load_tuning",
    "load_tunings",
    "project_folder",
]

_T = TypeVar("_T")

TUNING_FILE_ENDINGS: Final = (".yaml", ".yml")


def project_folder(dag_file: str) -> Path:
    """The folder that contains `include/`.

    It is the parent of the DAG folder, or the DAG folder itself if a deployment has only `dags/` and `plugins/`.
    """
    dags = Path(dag_file).resolve().parent
    return next((folder for folder in (dags.parent, dags) if (folder / "include").is_dir()), dags.parent)


def build_tunings(folders: Iterable[Path], build: Callable[[Tuning], _T]) -> tuple[dict[str, _T], list[str]]:
    """Build an object, e.g. a DAG, for every tuning of some folders.

    :returns: the built objects, by the name of the tuning; and one line for each mistake in the other files
    """
    tunings, mistakes = load_tunings(*folders)
    built: dict[str, _T] = {}
    for tuning in tunings:
        try:
            built[tuning.name] = build(tuning)
        except Exception as error:  # noqa: BLE001 - no error may affect the other tunings
            mistakes.append(f"tunings/{tuning.name}: no DAG can be made of it: {_describe(error)}")
    return built, mistakes


def load_tunings(*folders: Path) -> tuple[list[Tuning], list[str]]:
    """Read every YAML file of some folders.

    :returns: the valid tunings, and one line for each mistake in the other files
    """
    paths: list[Path] = []
    mistakes: list[str] = []
    for folder in folders:
        try:
            paths += _files(folder)
        except (OSError, ValueError) as error:
            mistakes.append(_folder_mistake(folder, error))
    tunings: dict[str, Tuning] = {}
    for path in paths:
        try:
            tuning = _load(path)
        except ConfigurationError as error:
            mistakes += str(error).splitlines()
        else:
            if tuning.name in tunings:
                mistakes.append(f"{_where(path)}: another file has the tuning {tuning.name}; rename or remove one.")
            tunings.setdefault(tuning.name, tuning)
    return list(tunings.values()), mistakes


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in TUNING_FILE_ENDINGS)


def _folder_mistake(folder: Path, error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        found = (
            "found no such folder, so there are no tunings. Deploy include/tunings and the data "
            "files they name next to dags/ and plugins/, or inside dags/."
        )
    else:
        reason = error.strerror if isinstance(error, OSError) else error
        found = f"cannot be read: {reason}. Expected a folder that Airflow may read, so there are no tunings from it."
    return plain(f"{folder}: {found}", MESSAGE_SHOWN)


def load_tuning(path: Path) -> Tuning:
    """Read one tuning. A retired base model and a sample that is too small are warnings.

    :raises ConfigurationError: has a line for every mistake, which names the file, the line, the field, the value
        found and what is expected
    """
    tuning = _load(path)
    if tuning.retirement_note:
        warnings.warn(f"{_where(path)}: base_model: {tuning.retirement_note}", RetiredModelWarning, stacklevel=2)
    if tuning.sample_note:
        where = f"{_where(path)}: evaluation.sample_size"
        warnings.warn(f"{where}: {tuning.sample_note}", SmallSampleWarning, stacklevel=2)
    return tuning


def first_mistakes(mistakes: Sequence[str]) -> str:
    """The first mistakes, one per line, and the number of further mistakes in each file."""
    shown, rest = mistakes[:MISTAKES_SHOWN], mistakes[MISTAKES_SHOWN:]
    if not rest:
        return "\n".join(shown)
    files = Counter(re.split(r"[,:] ", mistake, maxsplit=1)[0] for mistake in rest)
    listed = ", ".join(f"{file}: {count}" for file, count in list(files.items())[:MISTAKES_SHOWN])
    return "\n".join([*shown, f"and {len(rest)} more mistakes ({listed})."])


def _load(path: Path) -> Tuning:
    """Read and check the file of a tuning.

    :raises ConfigurationError: see `load_tuning`
    """
    where = _where(path)
    try:
        document = read_yaml_file(path)
        mistakes = [*document.mistakes, *_name_mistakes(path, document)]
        tuning = _tuning(path, document, mistakes)
    except NotYamlError as error:
        raise ConfigurationError(_one_line(f"{where}, line {error.line}: {error}")) from error
    except ConfigurationError as error:
        raise ConfigurationError(_one_line(f"{where}: {error}")) from error
    except Exception as error:  # no error may affect the other files
        raise ConfigurationError(f"{where}: cannot be read: {_describe(error)}") from error
    if tuning is None:
        raise ConfigurationError(
            "\n".join(_one_line(f"{where}, line {mistake.line}: {mistake.text}") for mistake in mistakes)
        )
    return tuning


def _where(path: Path) -> str:
    return plain(f"{path.parent.name}/{path.name}")


def _one_line(mistake: str) -> str:
    """A mistake as plain text that is safe to show and store: keys and values can have any characters."""
    return plain(without_secrets(" ".join(mistake[: 2 * MESSAGE_SHOWN].splitlines())), MESSAGE_SHOWN)


def _name_mistakes(path: Path, document: Document) -> Iterator[Mistake]:
    if not re.fullmatch(NAME, path.stem):
        yield Mistake(
            (), 1, f"found the file name {path.stem!r}, expected a lower-case letter, then lower-case letters, digits "
            "and _, at most 63 characters: it is the tuning's name.",
        )  # fmt: skip
    if isinstance(document.content, dict) and "name" in document.content:
        yield Mistake(("name",), document.line(("name",)), "name: unknown field; a tuning is named by its file.")


def _tuning(path: Path, document: Document, mistakes: list[Mistake]) -> Tuning | None:
    """The tuning, or None if the content has mistakes, which are added to `mistakes`."""
    content = document.content
    if not isinstance(content, dict):
        kind = "nothing" if content is None else f"a {'list' if isinstance(content, list) else 'single value'}"
        raise ConfigurationError(f"found {kind}, expected fields such as `base_model:`.")
    known = {(mistake.path, mistake.line) for mistake in mistakes}
    # A wrong file name is already among the mistakes.
    named = {**content, "name": path.stem if re.fullmatch(NAME, path.stem) else "unnamed"}
    try:
        tuning = Tuning.model_validate(named, context=dict(FROM_FILE))
    except ValidationError as error:
        items = error.errors(include_url=False)
        found = (
            mistake
            for number, item in enumerate(items)
            for mistake in _mistakes(item, document, with_advice=number < MISTAKES_SHOWN)
        )
        mistakes += [mistake for mistake in found if (mistake.path, mistake.line) not in known]
    return None if mistakes else tuning


def _mistakes(item: ErrorDetails, document: Document, *, with_advice: bool) -> Iterator[Mistake]:
    """Describe an error of pydantic with its line.

    :param with_advice: whether to look for a similar name, which takes time
    """
    for path, text in describe_error(item, Tuning, hidden=("name",), with_advice=with_advice):
        yield Mistake(path, document.line(path), text)


def _describe(error: Exception) -> str:
    return plain(without_secrets(f"{type(error).__name__}: {error}".splitlines()[0][:300]))
