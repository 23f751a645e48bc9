"""The package's tables of dated facts about Google's offer, and the files that replace them."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from vertex_tuning.config.strict_yaml import MISTAKES_SHOWN, Document, Mistake, NotYamlError, read_yaml_file
from vertex_tuning.exceptions import ConfigurationError
from vertex_tuning.schema import FieldPath, field_name, field_path
from vertex_tuning.text.plain_text import MESSAGE_SHOWN, first_lines, plain

PACKAGE_DATA: Final = Path(__file__).resolve().parent.parent / "data"

_T = TypeVar("_T")


def table_path(name: str) -> Path:
    """The file of a table: `[vertex_tuning] NAME`, or else the one in the package."""
    return Path(_option(name) or PACKAGE_DATA / f"{name}.yaml")


def _option(name: str) -> str:
    """An option of `[vertex_tuning]`. The command line does not start Airflow, and reads environment variables only."""
    try:
        from airflow.sdk import conf
    except ImportError:
        return os.environ.get(f"AIRFLOW__VERTEX_TUNING__{name.upper()}", "")
    return str(conf.get("vertex_tuning", name, fallback=""))


def read_table(
    label: str,
    path: Path,
    form: type[_T],
    *,
    dates: Container[FieldPath] = (),
    first_mistakes: Callable[[Document], Iterable[Mistake]] = lambda _: (),
) -> _T:
    """Read a table as strictly as a tuning.

    :param label: name of the table in messages
    :param path: file of the table
    :param form: type that the table must convert to
    :param dates: fields that are dates, so that they need no quotes
    :param first_mistakes: finds mistakes that the conversion could not name
    :raises ConfigurationError: has a line for every mistake, which names the file, the line and the field
    """
    where = f"{label}: {path.name}"
    try:
        document = read_yaml_file(path, dates=dates)
    except FileNotFoundError as error:
        raise _error(f"{label}: found no file at {path}, expected a table in YAML.") from error
    except NotYamlError as error:
        raise _error(f"{where}, line {error.line}: {error}") from error
    except (ConfigurationError, OSError, ValueError) as error:
        raise _error(f"{where}: {error}") from error
    if mistakes := document.mistakes or list(first_mistakes(document)) or list(_mistakes(document, form)):
        raise _error(*(f"{where}, line {mistake.line}: {mistake.text}" for mistake in mistakes))
    return msgspec.convert(document.content, form)


def conversion_problem(value: Any, form: Any) -> str:
    """The reason why a value does not convert to a type; empty if it does."""
    try:
        msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        return str(error)
    return ""


def _mistakes(document: Document, form: Any) -> Iterator[Mistake]:
    if problem := conversion_problem(document.content, form):
        expected, _, place = problem.partition(" - at `$")
        path = field_path(place)
        field = f"{field_name(path)}: " if path else ""
        yield Mistake(path, document.line(path), f"{field}{expected}.")


def _error(*mistakes: str) -> ConfigurationError:
    """The error with the first mistakes, one per line."""
    return ConfigurationError("\n".join(plain(line, MESSAGE_SHOWN) for line in first_lines(mistakes, MISTAKES_SHOWN)))
